"""The tasks that the tests of the workers run."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from meshq import Retry, SoftTimeLimitExceeded, current_task, task

_buffer: Any = None


@task
def echo(value: Any = None) -> Any:
    return value


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task(retry_for=OSError)
def again(delay: float | None) -> None:
    if delay is not None:
        raise Retry("not yet", delay=delay)
    raise ConnectionError("no line")


@task(time_limit=60)
def who(threaded: bool = False) -> Any:
    told: list[Any] = []

    def tell() -> None:
        me = current_task()
        assert me is not None
        left = me.remaining
        told.extend((me.id, me.name, me.attempt, me.retries, me.node, left is not None and 59 < left <= 60))

    if threaded:
        thread = threading.Thread(target=tell)
        thread.start()
        thread.join()
    else:
        tell()
    return told


@task
def leave(code: int) -> None:
    sys.exit(code)


@task
def interrupt() -> None:
    raise KeyboardInterrupt


@task
def segfault() -> None:
    ctypes.string_at(0)


@task
def vanish(code: int) -> None:
    os._exit(code)


@task
def unencodable() -> Any:
    return object()


@task
def sleep(seconds: float, mark: str = "") -> None:
    if mark:
        open(mark, "w").close()
    time.sleep(seconds)


@task
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.001)
    return path


@task
def burn_until(path: str, first: float = 0.0) -> None:
    while not os.path.exists(path):
        sum(range(1000))


@task
def echo_or_wait(path: str = "") -> None:
    while path and not os.path.exists(path):
        time.sleep(0.001)


@task
def say(*lines: str, end: str = "\n", err: bool = False) -> None:
    for line in lines:
        print(line, end=end, file=sys.stderr if err else sys.stdout)


@task
def say_below(text: str) -> None:
    import subprocess

    os.write(1, f"{text} from C\n".encode())
    subprocess.run([sys.executable, "-c", f"print({text!r}, 'from a child')"], check=True)


@task
def chatter(count: int) -> int:
    for number in range(count):
        print(f"line {number} {'x' * 100}")
    return count


@task
def say_in_handler(count: int) -> int:
    heard = []

    def handler(*_: Any) -> None:
        heard.append(1)
        print("handled")

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(count):
        print(f"line {number}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
    return len(heard)


@task
def say_in_threads(threads: int, count: int) -> None:
    def talk(name: int) -> None:
        for number in range(count):
            print(f"thread {name} line {number}")

    talkers = [threading.Thread(target=talk, args=(name,)) for name in range(threads)]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join()


@task
async def add_later(x: int, y: int) -> int:
    import asyncio

    await asyncio.sleep(0)
    return x + y


@task
async def leave_later(code: int) -> None:
    import asyncio

    await asyncio.sleep(0)
    sys.exit(code)


@task
def double_in_place(array: Any) -> Any:
    assert array.flags.writeable
    assert not array.flags.owndata  # it lies in the buffer that came from the socket
    array *= 2
    return array


@task
def fill_shared(value: int) -> Any:
    global _buffer
    import numpy

    if _buffer is None:
        _buffer = numpy.zeros(100_000, dtype="u1")
    _buffer[:] = value
    return _buffer


@task
def loaded(*names: str) -> list[str]:
    return [name for name in names if name in sys.modules]


@task
def facts() -> dict[str, Any]:
    stdin = os.readlink("/proc/self/fd/0")
    with open("/proc/self/oom_score_adj") as file:
        oom = int(file.read())
    return {
        "pid": os.getpid(), "session": os.getsid(0), "cwd": os.getcwd(), "stdin": stdin, "oom": oom,
        "worker": os.environ.get("MESHQ_WORKER"), "extra": os.environ.get("EXTRA"), "argv": sys.argv[1:],
        "isatty": sys.stdout.isatty(), "fileno": sys.stdout.fileno(),
    }  # fmt: skip


@task
def spawn_sleeper() -> int:
    import subprocess

    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid


@task
def fork_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        print("in the fork")
        time.sleep(600)
        os._exit(0)
    return pid


@task
def fork_and_return() -> str:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return "parent"
    return "child"


@task
def close_the_link() -> None:
    os.closerange(3, 64)
    time.sleep(600)


@task
def corrupt_the_link() -> None:
    _say_to_the_node(b"\xff" * 64)


@task
def send_half_a_result() -> None:
    _tell_of_runs([[1, 0]])


@task
def send_rows(rows: list[Any]) -> None:
    _tell_of_runs(rows)
    time.sleep(600)


def _tell_of_runs(rows: list[Any]) -> None:
    from meshq.workers import link
    from meshq.workers.framing import Packer

    _say_to_the_node(b"".join(Packer().pack(link.DONES, rows)))


def _say_to_the_node(data: bytes) -> None:
    import socket

    for fd in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_UNIX:
                    sock.sendall(data)
        except OSError:
            pass
    time.sleep(600)


@task
def hold_the_interpreter(seconds: int) -> None:
    ctypes.PyDLL(None).sleep(seconds)


@task
def stay_after_exit() -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()


@task
def sleep_until_told(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded as error:
        return f"told: {error}"
    return "not told"


@task
def burn(seconds: float) -> str:
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        pass
    return "burnt"


@task
def wait_for_thread(seconds: float) -> str:
    done = threading.Event()
    try:
        done.wait(seconds)
    except SoftTimeLimitExceeded:
        return "told"
    return "not told"


@task
def sleep_twice(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        time.sleep(0.3)  # nobody tells twice
    return "cleaned up"


@task
def talk_for_ever() -> None:
    while True:
        print("line " + "x" * 200)


@task
def talk(seconds: float) -> None:
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        print("line " + "x" * 200)
        time.sleep(0.0001)


@task
async def sleep_async(seconds: float) -> str:
    import asyncio

    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "told"
    return "not told"


@task
async def burn_async(seconds: float) -> str:
    end_at = time.monotonic() + seconds
    try:
        while time.monotonic() < end_at:
            pass
    except SoftTimeLimitExceeded:
        return "told"
    return "burnt"


@task
async def gather_async(seconds: float) -> None:
    import asyncio

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(seconds))
        group.create_task(asyncio.sleep(seconds))


@task
async def left_behind() -> int:
    import asyncio

    return len(asyncio.all_tasks())


@task
async def cancel_itself() -> None:
    import asyncio

    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@task
def disposition() -> tuple[str, int]:
    import subprocess

    program = "import signal; print(signal.getsignal(signal.SIGURG) is signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip(), 0


@task
def fork_and_signal() -> int:
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGURG)
        time.sleep(0.01)
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@task(ignore_result=True)
def ignored(value: Any) -> Any:
    if value == "fail":
        raise ValueError(value)
    return value


@task
def wait_or_fail(value: str) -> str:
    """Fail where that is asked for."""
    if value == "fail":
        raise ValueError(value)
    return value


@task
def maybe_unencodable(strange: bool) -> Any:
    """Return what cannot travel, if asked to."""
    return object() if strange else 1


@task(max_retries=2, retry_for=ValueError)
def tried_again(value: Any) -> Any:
    """Be tried again on failure."""
    return value


@task
def again_if(value: int) -> int:
    """Ask for another try, if asked to."""
    if value:
        raise Retry()
    return value


@task
def stop_if(value: int) -> int:
    """Raise what ends an iteration, if asked to."""
    if value:
        next(iter(()))
    return value


@task
def timer_slack_ns() -> int:
    return ctypes.CDLL(None).prctl(30, 0, 0, 0, 0)  # PR_GET_TIMERSLACK
