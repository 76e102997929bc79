"""What a worker process runs: ``python -m meshq.workers.child DATA CONTROL SLATE PARENT``.

The arguments are the descriptors of the data pair, the control pair and the slate, and the pid of the node.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import socket
import sys
import traceback

from meshq.core.work import FunctionInfo
from meshq.errors import ConfigError
from meshq.tasks import Function, load_commands, load_functions, running
from meshq.workers.attempt import Attempts
from meshq.workers.backlog import Backlog
from meshq.workers.channel import BlockingChannel
from meshq.workers.control import ControlThread
from meshq.workers.link import BROKEN_EXIT, FAILED, FAILED_EXIT, OUTPUT, READY, WorkerSpec
from meshq.workers.memory import keep_large_blocks
from meshq.workers.output import Output
from meshq.workers.results import Results
from meshq.workers.soft_limit import SoftLimit
from meshq.workers.turning import WorkerLoop

_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29


def main() -> None:
    """Be a worker until the node wants no more of it."""
    data_fd, control_fd, slate_fd, parent = map(int, sys.argv[1:5])
    del sys.argv[1:]
    die_with(parent)
    _set_for_this_process(_PR_SET_TIMERSLACK, 1)  # in ns: by default a sleep may last 50 us longer than asked for
    keep_large_blocks()
    _set_signals()
    _be_the_first_to_go()
    for fd in (data_fd, control_fd, slate_fd):
        os.set_inheritable(fd, False)
    data = BlockingChannel(socket.socket(fileno=data_fd))
    control = BlockingChannel(socket.socket(fileno=control_fd))
    slate = memoryview(mmap.mmap(slate_fd, 8)).cast("Q")
    try:
        _serve(data, control, slate)
    except OSError:  # the pair is closed: nobody is left to hear about it
        os._exit(BROKEN_EXIT)


def _serve(data: BlockingChannel, control: BlockingChannel, slate: memoryview) -> None:
    messages = data.receive()
    if messages is None:
        return
    spec = WorkerSpec(*messages[0].items[0])
    output = Output(lambda task, number, lines: data.send(OUTPUT, [task, number, *lines]))
    output.install()
    functions, commands = _load(spec, data, output)
    backlog = Backlog()
    results = Results(data)
    soft = SoftLimit(slate, output)
    offered = commands if spec.commands else functions
    running.node = None if spec.commands else spec.node
    attempts = Attempts(soft, spec.pickles)
    thread = ControlThread(control, backlog, results, soft, attempts.chunks)
    loop = WorkerLoop(offered, data, backlog, results, thread, output, slate, attempts, spec.max_tasks)
    soft.install()
    thread.start()
    _give_up_in_forks(data, control, backlog, output, soft)
    data.send(READY, [os.getpid(), _describe(offered), list(commands)])
    for message in messages[1:]:
        backlog.add(message.items)
    try:
        loop.turn()
    finally:
        # Whatever hangs from here on, its place goes to the log, and the process ends.
        faulthandler.dump_traceback_later(spec.farewell_s, exit=True, file=2)
    loop.close()


def _describe(offered: dict[str, Function]) -> list[FunctionInfo]:
    """Return what the node is to know of the functions, each with the other names that lead to it."""
    aliases: dict[str, list[str]] = {function.name: [] for function in offered.values()}
    for name, function in offered.items():
        if name != function.name:
            aliases[function.name].append(name)
    named = [offered[name] for name in aliases]
    return [FunctionInfo(f.name, f.source_hash, f.options, aliases[f.name]) for f in named]


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even while a task holds the interpreter lock."""
    _set_for_this_process(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # where it fails, the control pair's end tells
    if os.getppid() != parent:  # it died before the call
        os._exit(BROKEN_EXIT)


def _set_for_this_process(option: int, value: int) -> None:
    """Call ``prctl``, where there is one."""
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass


def _set_signals() -> None:
    """Undo what the node has set for itself, and leave Ctrl-C to it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # SIGHUP is ignored under nohup: that is for the node's terminal, which workers have no part in, and a task
    # is to end by whichever signal it is sent.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    # A handler, not SIG_IGN, which the subprocesses of tasks would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    faulthandler.enable(2)


def _be_the_first_to_go() -> None:
    """When memory runs out, the kernel is to kill the worker, not the node."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _load(
    spec: WorkerSpec, data: BlockingChannel, output: Output
) -> tuple[dict[str, Function], dict[str, Function]]:
    """Import the node's modules; return its task functions and control commands, or say what is wrong and exit."""
    try:
        sys.path[:] = dict.fromkeys([os.getcwd(), *spec.path, *sys.path])
        return load_functions(spec.modules, spec.allow, spec.pickles), load_commands(spec.modules)
    except ConfigError as error:
        text = str(error)
    except BaseException:
        text = traceback.format_exc(limit=-5)
    output.end_run()
    data.send(FAILED, [text])
    os._exit(FAILED_EXIT)


def _give_up_in_forks(
    data: BlockingChannel, control: BlockingChannel, backlog: Backlog, output: Output, soft: SoftLimit
) -> None:
    """See to it that a process forked by a task is no second worker, and does not hide the death of this one."""

    def leave() -> None:
        output.forked = True
        backlog.clear()
        soft.forget()
        data.close()
        control.close()

    os.register_at_fork(after_in_child=leave)


if __name__ == "__main__":
    main()
