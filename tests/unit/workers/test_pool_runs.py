"""Runs through a real worker: results, failures, payloads, recycling."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from workers_harness import Node, outcome

from meshq.core.work import WorkerDone, WorkerReady
from meshq.errors import EncodingError, UnknownTask
from meshq.protocol.messages import Status
from meshq.tasks import SHIPPED

MakeNode = Callable[..., Node]


def test_a_worker_reports_its_functions(node: Node) -> None:
    """READY names the process and every task function, with its source's hash."""
    ready = node.of(WorkerReady)[0]
    assert ready.pid == node.pool.pid(0)
    functions = {function.name: function for function in ready.functions}
    assert "worker_tasks.echo" in functions
    assert len(functions["worker_tasks.echo"].source_hash) == 8


def test_results_come_back_in_order(node: Node) -> None:
    """5,000 runs are each done once, in the order in which they were handed out, in few batches."""
    runs = [node.make("echo", number) for number in range(5000)]
    for start in range(0, 5000, 500):
        node.run(runs[start : start + 500])
    node.until(lambda: len(node.dones()) == 5000)
    assert list(node.dones()) == [run.run for run in runs]
    assert [outcome(done) for done in node.dones().values()] == list(range(5000))
    assert len(node.of(WorkerDone)) < 2500
    assert all(done.seconds > 0 for done in node.dones().values())


@pytest.mark.parametrize("encoding", ["msgpack", "json", "pickle"])
def test_the_result_travels_as_the_arguments_did(make_node: MakeNode, encoding: str) -> None:
    """A run's result is encoded with the run's own serializer."""
    node = make_node(pickles=encoding == "pickle")
    node.start()
    (number,) = node.run([node.make("echo", [1, "zwei", None], encoding=encoding)])
    node.until(lambda: number in node.dones())
    assert node.dones()[number].serializer == encoding
    assert outcome(node.dones()[number]) == [1, "zwei", None]


def test_an_exception_is_the_task_s_failure(node: Node) -> None:
    """What a task raises comes back with its type, and with a traceback that begins in the task."""
    with pytest.raises(ValueError, match="no good") as caught:
        node.call("fail", "no good")
    text = str(caught.value.__cause__)
    assert "in fail" in text
    assert "meshq" not in text.replace("/unit/workers/", "").split("worker_tasks.py")[0].split('File "')[0]
    assert "attempt.py" not in text


@pytest.mark.parametrize(("function", "args"), [("leave", [7]), ("interrupt", []), ("leave_later", [7])])
def test_no_exception_ends_a_worker(node: Node, function: str, args: list[int]) -> None:
    """SystemExit and KeyboardInterrupt fail the task, and the worker goes on."""
    (number,) = node.run([node.make(function, *args)])
    node.until(lambda: number in node.dones())
    assert node.dones()[number].status == Status.FAILURE
    assert node.call("echo", 1) == 1


def test_a_result_that_cannot_travel_is_a_failure_that_names_the_task(node: Node) -> None:
    """EncodingError names the function whose result does not fit."""
    with pytest.raises(EncodingError, match=r"worker_tasks\.unencodable"):
        node.call("unencodable")


def test_arguments_that_do_not_fit_fail_the_task_alone(node: Node) -> None:
    """Wrong arguments, an unknown function and a malformed payload are failures of their runs."""
    runs = [
        node.make("echo", 1, 2, 3),
        node.make("nowhere"),
        node.make("echo")._replace(payload=b"\xc1"),
        node.make("echo")._replace(serializer="none"),
    ]
    numbers = node.run([*runs, node.make("echo", 5)])
    node.until(lambda: len(node.dones()) == 5)
    dones = [node.dones()[number] for number in numbers]
    assert [done.status for done in dones] == [Status.FAILURE] * 4 + [Status.OK]
    with pytest.raises(UnknownTask, match="nowhere"):
        outcome(dones[1])


def test_async_tasks_share_a_loop(node: Node) -> None:
    """An ``async def`` task gives what it returns; asyncio is loaded by the first of them."""
    assert node.call("loaded", "asyncio") == []
    assert [node.call("add_later", number, 1) for number in range(3)] == [1, 2, 3]
    assert node.call("loaded", "asyncio") == ["asyncio"]


@pytest.mark.parametrize("encoding", ["raw", "msgpack"])
def test_large_payloads_go_both_ways(node: Node, encoding: str) -> None:
    """32 MiB come back as they went."""
    data = os.urandom(2**20) * 32
    assert node.call("echo", data, encoding=encoding) == data


def test_an_array_arrives_writable_and_uncopied(node: Node) -> None:
    """A task gets its array in the buffer that came from the socket, and may change it in place."""
    array = numpy.arange(1_000_000, dtype="f8")
    assert (node.call("double_in_place", array) == array * 2).all()


def test_a_result_is_what_it_was_when_the_task_returned(node: Node) -> None:
    """A task that returns one array again and again, changed, does not spoil results that have not left yet."""
    node.call("fill_shared", 0)
    numbers = node.run([node.make("fill_shared", number) for number in range(50)])
    node.until(lambda: len(node.dones()) == 51)
    assert [int(outcome(node.dones()[number]).max()) for number in numbers] == list(range(50))


def test_no_result_waits_behind_a_long_run(node: Node, tmp_path: Path) -> None:
    """Results leave before a run that is known, or feared, to be long."""
    gate = tmp_path / "gate"
    numbers = node.run([*[node.make("echo", n) for n in range(20)], node.make("wait_for", str(gate))])
    node.until(lambda: len(node.dones()) == 20)
    gate.touch()
    node.until(lambda: numbers[-1] in node.dones())


@pytest.mark.parametrize("waiter", ["echo_or_wait", "burn_until"])
def test_no_result_waits_behind_a_run_that_turns_out_to_be_long(node: Node, tmp_path: Path, waiter: str) -> None:
    """A function that was always quick and now is not does not hold the results before it back."""
    gate, open_gate = tmp_path / "gate", tmp_path / "open"
    open_gate.touch()
    quick = [node.make(waiter, str(open_gate)) for _ in range(50)]
    node.run(quick)
    node.until(lambda: len(node.dones()) == 50)
    for _ in range(3):
        done = len(node.dones())
        node.run([*[node.make(waiter, str(open_gate)) for _ in range(5)], node.make(waiter, str(gate))])
        node.until(lambda: len(node.dones()) == done + 5)  # noqa: B023
        gate.touch()
        node.until(lambda: len(node.dones()) == done + 6)  # noqa: B023
        gate.unlink()


def test_a_worker_retires_after_its_runs(make_node: MakeNode) -> None:
    """With ``max_tasks`` a worker runs that many, ends well, and what it has not started stays undone."""
    node = make_node(max_tasks=3)
    node.start()
    numbers = node.run([node.make("echo", number) for number in range(10)])
    gone = node.gone()
    assert list(node.dones()) == numbers[:3]
    assert gone.retired
    assert (gone.started, gone.reason) == (numbers[2], "exit code 0")
    node.start()
    assert node.pool.pid(0) != node.of(WorkerReady)[0].pid


def test_slots_are_separate(make_node: MakeNode, tmp_path: Path) -> None:
    """A busy worker does not hold another up."""
    node = make_node()
    node.start(0)
    node.start(1)
    gate = tmp_path / "gate"
    node.run([node.make("wait_for", str(gate))], slot=0)
    node.run([node.make("echo", 1)], slot=1)
    node.until(lambda: node.of(WorkerDone, 1))
    assert not node.of(WorkerDone, 0)
    gate.touch()
    node.until(lambda: node.of(WorkerDone, 0))


class Touches:
    """What leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("pickles", [True, False])
def test_a_pickle_is_loaded_only_where_that_is_allowed(make_node: MakeNode, tmp_path: Path, pickles: bool) -> None:
    """Else a run that comes as one fails before anything of it is run, though the node has let it through."""
    node = make_node(pickles=pickles)
    assert any(info.name == SHIPPED for info in node.start().functions) is pickles
    (number,) = node.run([node.make("echo", Touches(tmp_path / "loaded"), encoding="pickle")])
    node.until(lambda: number in node.dones())
    assert (tmp_path / "loaded").exists() is pickles
    if not pickles:
        with pytest.raises(EncodingError, match="--allow-pickle"):
            outcome(node.dones()[number])
