"""How workers end, and who is to blame."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workers_harness import HERE, PATIENCE_S, Node, outcome

from meshq.core.work import Done, WorkerDone, WorkerReady
from meshq.errors import LocalProtocolError

MakeNode = Callable[..., Node]


def alive(pid: int) -> bool:
    """Say whether a process runs; a zombie that nobody reaps does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_dead(pid: int, seconds: float = PATIENCE_S) -> None:
    """Wait for the end of a process that is not ours."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [("segfault", [], "killed by SIGSEGV"), ("vanish", [7], "exit code 7"), ("vanish", [0], "exit code 0")],
)
def test_a_crash_blames_the_run_that_crashed(node: Node, function: str, args: list[int], reason: str) -> None:
    """In the middle of a batch, the results before the crash arrive, and exactly the crashed run is named."""
    runs = [node.make("echo", n) for n in range(20)]
    runs[12] = runs[12]._replace(function=f"worker_tasks.{function}", payload=node.make(function, *args).payload)
    numbers = node.run(runs)
    gone = node.gone()
    assert list(node.dones()) == numbers[:12]
    assert (gone.started, gone.reason, gone.retired) == (numbers[12], reason, False)
    assert not node.failures


def test_the_log_says_where_it_crashed(node: Node) -> None:
    """A crash in C leaves a traceback in the output, with the id of the task."""
    node.run([node.make("segfault")])
    node.gone()
    assert any(task and "in segfault" in line for task, _, line, _ in node.lines)


def test_a_slot_can_be_started_again_from_the_callback(make_node: MakeNode) -> None:
    """A node that replaces a dead worker as soon as it hears of it can go on at once."""
    node = make_node()
    node.start()

    def on_event(event: Any) -> None:
        node.events.append(event)
        if type(event).__name__ == "WorkerGone":
            node.pool.start(0)

    node.pool.on_event = on_event
    node.pool.kill(0)
    node.until(lambda: len(node.of(WorkerReady)) == 2)
    assert node.gone().reason == "killed by SIGKILL"
    assert node.call("echo", 3) == 3


def test_runs_handed_to_a_dying_worker_are_not_started(node: Node) -> None:
    """A hand-out that crosses the worker's death raises nothing; the end tells that none has started."""
    node.pool.kill(0)
    wait_until_dead(node.pool.pid(0) or 0)
    node.run([node.make("echo", b"x" * 1_000_000) for _ in range(3)])
    node.pool.recall(0, [2])
    gone = node.gone()
    assert (gone.started, gone.reason, gone.retired) == (0, "killed by SIGKILL", False)
    assert node.dones() == {}


def test_a_signal_ends_the_task_s_process(node: Node, tmp_path: Path) -> None:
    """SIGTERM ends a worker; SIGINT, which is for the node, does not."""
    (number,) = node.run([node.make("wait_for", str(tmp_path / "never"))])
    node.until_started(number)
    node.pool.signal(0, signal.SIGINT)
    node.pool.signal(0, signal.SIGTERM)
    gone = node.gone()
    assert (gone.started, gone.reason, gone.retired) == (number, "killed by SIGTERM", False)


def test_a_signal_that_the_node_ignores_ends_a_task_all_the_same(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """As SIGHUP under nohup, which is about the node's terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        node = make_node()
        node.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    (number,) = node.run([node.make("wait_for", str(tmp_path / "never"))])
    node.until_started(number)
    node.pool.signal(0, signal.SIGHUP)
    assert node.gone().reason == "killed by SIGHUP"


def test_kill_takes_what_a_task_has_started_along(node: Node) -> None:
    """Processes that a task has left running die with a worker that is killed."""
    pid = node.call("spawn_sleeper")
    assert alive(pid)
    node.pool.kill(0)
    node.gone()
    wait_until_dead(pid)


def test_a_fork_does_not_hide_the_worker_s_death(node: Node) -> None:
    """A process that a task has forked holds neither link nor pool back; its prints are told."""
    pid = node.call("fork_sleeper")
    node.until(lambda: any(line == "in the fork" for _, _, line, _ in node.lines))
    assert alive(pid)
    node.run([node.make("vanish", 5)])
    assert node.gone().reason == "exit code 5"
    wait_until_dead(pid)


def test_a_fork_that_returns_is_no_second_worker(node: Node) -> None:
    """A task that forks and returns twice has one result."""
    assert node.call("fork_and_return") == "parent"
    assert node.call("echo", 1) == 1


def test_what_a_task_leaves_running_ends_with_a_worker_that_retires(make_node: MakeNode) -> None:
    """A planned end leaves no orphans either."""
    node = make_node(max_tasks=1)
    node.start()
    node.run([node.make("spawn_sleeper")])
    node.gone()
    wait_until_dead(outcome(Done(*node.of(WorkerDone)[0].dones[0])))


@pytest.mark.parametrize("function", ["close_the_link", "corrupt_the_link", "send_half_a_result"])
def test_a_task_that_breaks_the_link_loses_its_worker(node: Node, function: str) -> None:
    """A worker that can no longer be heard, or talks rubbish, is killed."""
    (number,) = node.run([node.make(function)])
    gone = node.gone()
    assert gone.started == number
    # Its own thread may find the link broken before the node does.
    assert gone.reason in ("killed by SIGKILL", "exit code 70")


NO_ROWS = [
    [[[1], 0, "", b"", 0.0], [1, 0, "", b"", 0.0]],
    [[2**40, 0, "", b"", 0.0]],
    [[1, 0, "", b"", "soon"]],
    [[1, 0, "", b"", -1.0]],
    [[1, 0, "", b"", math.inf]],
    [[1, 0, "", b"", math.nan]],
    [[1, 0, "", b"", True]],
    [[1, True, "", b"", 0.0]],
    [[1, 99, "", b"", 0.0]],
    [[1, [], "", b"", 0.0]],
    [[1, 0, 5, b"", 0.0]],
    [[1, 0, "x" * 1_001, b"", 0.0]],
    [[1, 0, "", 7, 0.0]],
    [[1, 0, "", None, 0.0]],
    [[1, 0, "", [7, 8], 0.0]],
    [[1, 0, ""]],
    [b"\1\0\0\7\5"],
    [7],
    [],
]


@pytest.mark.parametrize("rows", NO_ROWS, ids=repr)
def test_a_worker_that_tells_of_what_cannot_be_is_killed(node: Node, rows: list[object]) -> None:
    """No number of a run, one of a run that it was never given, or what no client could make something of."""
    (number,) = node.run([node.make("send_rows", rows)])
    assert node.gone().started == number
    assert node.of(WorkerDone) == []


def test_stop_lets_the_run_finish(node: Node, tmp_path: Path) -> None:
    """A worker that is asked to stop finishes its run and starts no other."""
    gate = tmp_path / "gate"
    first, second = node.run([node.make("wait_for", str(gate)), node.make("echo", 1)])
    node.until_started(first)
    node.pool.stop(0)
    gate.touch()
    gone = node.gone()
    assert (gone.started, gone.reason, gone.retired) == (first, "exit code 0", True)
    assert list(node.dones()) == [first]
    assert second


def test_a_stopped_worker_can_be_started_twice(node: Node) -> None:
    """Starting an occupied slot is refused; a free one can be started again."""
    with pytest.raises(LocalProtocolError, match="slot 0"):
        node.pool.start(0)
    node.pool.stop(0)
    node.gone()
    assert node.pool.pid(0) is None
    node.start()
    assert node.call("echo", 1) == 1


def test_close_lets_work_finish_in_time(node: Node) -> None:
    """Within the grace a run finishes, and its result is delivered."""
    (number,) = node.run([node.make("sleep", 0.05)])
    node.until_started(number)
    pid = node.pool.pid(0)
    node.pool.close(PATIENCE_S)
    assert list(node.dones()) == [number]
    assert node.gone().retired
    assert not os.path.exists(f"/proc/{pid}")


def test_close_kills_what_does_not_end(node: Node, tmp_path: Path) -> None:
    """After the grace, everything is killed and reaped."""
    (number,) = node.run([node.make("wait_for", str(tmp_path / "never"))])
    node.until_started(number)
    pid = node.pool.pid(0)
    began = time.monotonic()
    node.pool.close(0.05)
    assert time.monotonic() - began < 2
    assert (node.gone().reason, node.gone().retired) == ("killed by SIGKILL", True)
    assert not os.path.exists(f"/proc/{pid}")


def test_a_module_that_cannot_be_loaded_is_told(make_node: MakeNode, tmp_path: Path) -> None:
    """The reason why a worker cannot start is reported once, with the error's own text."""
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('not today')\n")
    for module, text in [("broken_module", "not today"), ("no_such_module", "no_such_module")]:
        node = make_node(modules=[module], path=[str(tmp_path)])
        node.pool.start(0)
        node.until(lambda: node.failures)  # noqa: B023
        ((slot, reason),) = node.failures
        assert slot == 0
        assert text in reason
        assert node.events == []


def test_a_worker_that_dies_while_it_loads_is_told(make_node: MakeNode, tmp_path: Path) -> None:
    """A crash during the import is a failure to start, not a loss of runs."""
    (tmp_path / "crashing_module.py").write_text("import os\nos._exit(9)\n")
    node = make_node(modules=["crashing_module"], path=[str(tmp_path)])
    node.pool.start(0)
    node.until(lambda: node.failures)
    assert node.failures == [(0, "the worker died while it loaded its modules: exit code 9")]


def test_a_worker_that_cannot_be_spawned_is_told(make_node: MakeNode, tmp_path: Path) -> None:
    """Where no process can be started, the pool says so and lives on."""
    node = make_node(cwd=str(tmp_path / "missing"))
    node.pool.start(0)
    assert "missing" in node.failures[0][1]
    assert node.pool.pid(0) is None


def test_a_worker_stopped_while_it_loads_goes_quietly(make_node: MakeNode) -> None:
    """A stop that comes before READY is a planned end."""
    node = make_node()
    node.pool.start(0)
    node.pool.stop(0)
    assert node.gone().retired
    assert not node.failures


NODE = textwrap.dedent("""
    import sys, time
    sys.path.insert(0, {here!r})
    from workers_harness import Node
    node = Node()
    for slot in range(2):
        node.start(slot)
    node.until_started(*node.run([node.make({task!r}, *{args!r})]))
    print(node.pool.pid(0), node.pool.pid(1), flush=True)
    time.sleep(600)
""")


@pytest.mark.parametrize(("task", "args"), [("sleep", [600]), ("hold_the_interpreter", [600])])
def test_no_worker_outlives_a_killed_node(task: str, args: list[int]) -> None:
    """Within 1 s of a node's SIGKILL its workers are gone: idle, busy, or holding the interpreter lock in C."""
    script = NODE.format(here=HERE, task=task, args=args)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        process.kill()
        for pid in pids:
            wait_until_dead(pid, 1.0)


def test_a_thread_left_behind_does_not_keep_a_worker(make_node: MakeNode) -> None:
    """A worker that retires ends in time, even where a task has left a thread that does not; the log says so."""
    node = make_node(max_tasks=1, farewell_s=0.2)
    node.start()
    node.run([node.make("stay_after_exit")])
    gone = node.gone()
    assert gone.retired
    assert outcome(Done(*node.of(WorkerDone)[0].dones[0])) is None
    assert any("Timeout" in line for _, _, line, _ in node.lines)


def test_callbacks_without_cause_do_nothing(node: Node) -> None:
    """A loop may call back for a descriptor whose number was used anew; a healthy worker survives it."""
    for callback in list(node.loop._read.values()):
        callback()
    assert node.call("echo", 1) == 1


def test_a_slot_without_a_worker_takes_orders_and_does_nothing(node: Node) -> None:
    """Orders that cross the end of a worker are no error."""
    node.pool.kill(0)
    node.gone()
    events = len(node.events)
    node.run([node.make("echo", 1)])
    node.pool.recall(0, [1])
    node.pool.signal(0, signal.SIGTERM)
    node.pool.kill(0)
    node.pool.stop(0)
    assert len(node.events) == events
