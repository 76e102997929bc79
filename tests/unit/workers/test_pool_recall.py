"""Runs called back from a real worker."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest
from workers_harness import Node

from meshq.core.work import WorkerRecalled


@pytest.mark.parametrize("waiter", ["wait_for", "burn_until"])
def test_a_busy_worker_gives_back_what_it_has_not_started(node: Node, tmp_path: Path, waiter: str) -> None:
    """While a task sleeps, or burns the processor in pure Python, the runs behind it come back."""
    gate = tmp_path / "gate"
    first, *rest = node.run([node.make(waiter, str(gate)), *[node.make("echo", n) for n in range(10)]])
    node.pool.recall(0, rest[2:])
    node.until(lambda: node.of(WorkerRecalled))
    assert node.of(WorkerRecalled) == [WorkerRecalled(0, rest[2:], rest[2:])]
    gate.touch()
    node.until(lambda: len(node.dones()) == 3)
    assert list(node.dones()) == [first, *rest[:2]]


def test_what_runs_is_not_given_back(node: Node, tmp_path: Path) -> None:
    """A recall of a run that has started, or is done, gives nothing back."""
    gate = tmp_path / "gate"
    assert node.call("echo", 1) == 1
    (running,) = node.run([node.make("wait_for", str(gate))])
    node.until_started(running)
    node.pool.recall(0, [1, running])
    node.until(lambda: node.of(WorkerRecalled))
    assert node.of(WorkerRecalled) == [WorkerRecalled(0, [1, running], [])]
    gate.touch()
    node.until(lambda: running in node.dones())


@pytest.mark.parametrize("stop", [False, True], ids=["in C", "stopped"])
def test_a_worker_that_cannot_answer_is_not_asked_for_the_run_in_progress(node: Node, stop: bool) -> None:
    """Code in C that keeps the interpreter, or a process that was stopped, holds up no revoke."""
    (running,) = node.run([node.make("hold_the_interpreter", 600)])
    node.until_started(running)
    if stop:
        node.pool.signal(0, signal.SIGSTOP)
    node.pool.recall(0, [running])
    assert node.of(WorkerRecalled) == [WorkerRecalled(0, [running], [])]
    node.pool.signal(0, signal.SIGKILL)
    assert node.gone().started == running


def recall_large_runs(node: Node, gate: Path) -> list[int]:
    """Have large runs wait behind one that waits for the gate, and called back; return their numbers."""
    node.run([node.make("wait_for", str(gate))])
    node.until_started(1)
    large = node.run([node.make("echo", b"x" * 300_000) for _ in range(10)])
    node.pool.recall(0, large)
    node.until(lambda: node.of(WorkerRecalled))
    return large


def test_what_the_worker_has_not_read_comes_back_too(node: Node, tmp_path: Path) -> None:
    """Runs that are still in the socket, or still in the node, are given back at once and never start."""
    gate = tmp_path / "gate"
    large = recall_large_runs(node, gate)
    assert node.recalled() == (large, large)
    gate.touch()
    (last,) = node.run([node.make("echo", 1)])
    node.until(lambda: last in node.dones())
    assert list(node.dones()) == [1, last]


def test_what_was_given_back_takes_no_memory(node: Node, tmp_path: Path) -> None:
    """An idle worker's payloads are let go of, all of them."""
    gate = tmp_path / "gate"
    recall_large_runs(node, gate)
    gate.touch()
    node.until(lambda: 1 in node.dones())
    assert not node.pool._workers[0]._batches


def test_each_run_is_done_or_given_back(node: Node) -> None:
    """In 200 races of batches and recalls each run is done or given back: never both, never neither."""
    chance = random.Random(7)
    sent: list[int] = []
    asked: list[int] = []
    for _ in range(200):
        numbers = node.run([node.make("echo", n) for n in range(chance.randint(1, 60))])
        sent += numbers
        if chance.random() < 0.5:
            node.loop.turn(chance.random() * 0.001)
        chosen = [number for number in numbers if chance.random() < 0.6]
        if chosen:
            asked += chosen
            node.pool.recall(0, chosen)
    node.until(lambda: len(node.recalled()[0]) == len(asked))
    back = node.recalled()[1]
    node.until(lambda: len(node.dones()) + len(back) >= len(sent))
    assert node.call("echo", 1) == 1  # whatever else was under way would be here by now
    sent.append(max(node.dones()))
    assert sorted(node.recalled()[0]) == asked  # that the one in progress stays is answered at once
    assert sorted([*node.dones(), *back]) == sent
