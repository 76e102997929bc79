"""The soft time limit in a real worker: raised in the run that is meant, wherever that is, and in no other."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workers_harness import Node, outcome

from meshq.core.work import WorkerGone
from meshq.errors import SoftTimeLimitExceeded
from meshq.protocol.codec import serializer
from meshq.protocol.failures import load_failure, remote_traceback
from meshq.protocol.messages import Status

LONG_S = 30.0


def interrupted(node: Node, function: str, *args: Any) -> Any:
    """Return what a run comes to that is interrupted once it has started, or raise its failure."""
    (number,) = node.run([node.make(function, *args)])
    node.until_started(number)
    node.pool.soft_limit(0, number)
    node.until(lambda: number in node.dones())
    assert not node.of(WorkerGone)
    return outcome(node.dones()[number])


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("sleep_until_told", "told: the task has run past its soft time limit"),
        ("wait_for_thread", "told"),
        ("sleep_async", "told"),
        ("burn_async", "told"),
        ("sleep_twice", "cleaned up"),
    ],
)
def test_a_task_may_catch_the_soft_limit_and_clean_up(node: Node, function: str, result: str) -> None:
    """It comes to whatever waits, in a coroutine too, and only once."""
    assert interrupted(node, function, LONG_S) == result
    assert node.call("echo", 1) == 1


@pytest.mark.parametrize("function", ["sleep", "burn", "gather_async", "talk_for_ever"])
def test_a_task_that_does_not_catch_it_fails_with_it(node: Node, function: str) -> None:
    """The failure names where the task was; the worker goes on, and its link is whole."""
    args = [] if function == "talk_for_ever" else [LONG_S]
    with pytest.raises((SoftTimeLimitExceeded, Exception)) as caught:
        interrupted(node, function, *args)
    text = remote_traceback(caught.value) or ""
    assert "SoftTimeLimitExceeded" in text
    assert f"in {function}" in text
    assert not any(ours in text for ours in ("attempt.py", "coroutines.py"))
    assert "base_events" not in text.split(function)[0]
    assert function == "gather_async" or isinstance(caught.value, SoftTimeLimitExceeded)
    assert node.call("echo", "x" * 100_000) == "x" * 100_000


def test_what_an_interrupted_coroutine_waited_for_ends_with_it(node: Node) -> None:
    """The event loop of the next task has nothing of it left."""
    with pytest.raises(Exception, match=r"TaskGroup|soft time limit"):
        interrupted(node, "gather_async", LONG_S)
    assert node.call("left_behind") == 1


def test_a_coroutine_that_is_cancelled_otherwise_is_just_that(node: Node) -> None:
    """Only our own cancellation stands for the limit."""
    with pytest.raises(Exception, match="Cancelled"):
        node.call("cancel_itself")
    assert node.call("add_later", 1, 2) == 3


def test_a_limit_that_comes_early_waits_for_the_run_to_begin(node: Node, tmp_path: Path) -> None:
    """The word may overtake the run itself, which goes another way."""
    gate = tmp_path / "gate"
    first = node.make("wait_for", str(gate))
    second = node.make("sleep", LONG_S)
    node.run([first, second])
    node.until_started(first.run)
    node.pool.soft_limit(0, second.run)
    gate.touch()
    node.until(lambda: second.run in node.dones())
    assert outcome(node.dones()[first.run]) == str(gate)
    with pytest.raises(SoftTimeLimitExceeded):
        outcome(node.dones()[second.run])


def test_a_limit_that_comes_late_harms_nobody(node: Node) -> None:
    """Neither the run that has ended, nor the one after, nor an idle worker that then sleeps on."""
    (first,) = node.run([node.make("echo", 1)])
    node.until(lambda: first in node.dones())
    node.pool.soft_limit(0, first)
    assert node.call("sleep_until_told", 0.2) == "not told"
    node.pool.soft_limit(0, first)
    assert [node.call("echo", number) for number in range(100)] == list(range(100))


def test_in_whatever_moment_it_comes_the_right_run_is_told(node: Node) -> None:
    """Of hundreds of short runs, each interrupted at a random moment, none fails in another's stead."""
    rng = random.Random(7)
    asked: set[int] = set()
    for _ in range(300):
        kinds = rng.choices(["sleep", "burn", "sleep_async", "talk"], k=3)
        runs = [node.make(kind, rng.random() * 0.002) for kind in kinds]
        node.run(runs)
        target = rng.choice(runs).run
        for _ in range(rng.randrange(4)):
            node.loop.turn(rng.random() * 0.002)
        node.pool.soft_limit(0, target)
        asked.add(target)
        node.until(lambda last=runs[-1].run: last in node.dones())
    dones = node.dones()
    failed = {run for run, done in dones.items() if done.status == Status.FAILURE}
    told = {run for run, done in dones.items() if run not in failed and outcome(done) == "told"}
    assert failed | told <= asked
    assert all(isinstance(load_failure(dones[run].payload), SoftTimeLimitExceeded) for run in failed)
    assert min(len(failed), len(told)) > 5, "some must have been caught in the act"
    assert not node.of(WorkerGone)


def test_a_chunk_goes_on_with_its_next_call(node: Node, tmp_path: Path) -> None:
    """The limit is that of the chunk; the call that it comes to fails, and no other."""
    codec = serializer("msgpack")
    mark = tmp_path / "mark"
    payload = codec.dumps_call(([0.0, LONG_S, 0.0], ["", str(mark), ""]), {})
    run = node.make("sleep")._replace(payload=payload, options={"chunk": True})
    node.run([run])
    node.until_polled(mark.exists, "the second call has not begun")
    node.pool.soft_limit(0, run.run)
    node.until(lambda: run.run in node.dones())
    values, failures = outcome(node.dones()[run.run])[:2]
    assert len(values) == 3
    assert [number for number, _ in failures] == [1]
    assert isinstance(load_failure(failures[0][1]), SoftTimeLimitExceeded)


def test_subprocesses_and_forks_of_a_task_are_left_alone(node: Node) -> None:
    """A program that a task starts has no handler of ours, and a fork does nothing with the signal."""
    assert node.call("disposition") == ("True", 0)
    assert node.call("fork_and_signal") == 7
    os.kill(node.pool.pid(0) or 0, signal.SIGURG)
    assert node.call("sleep_until_told", 0.05) == "not told"


def test_a_limit_of_a_worker_that_is_gone_is_nobodys(make_node: Callable[..., Node]) -> None:
    """Nothing happens."""
    make_node().pool.soft_limit(0, 1)


@pytest.mark.parametrize(
    ("function", "options", "result"),
    [
        ("ignored", None, None),
        ("ignored", {"ignore_result": False}, "value"),
        ("echo", {"ignore_result": True}, None),
        ("echo", {"priority": 3}, "value"),
    ],
)
def test_a_result_that_nobody_wants_stays_there(
    node: Node, function: str, options: dict[str, Any] | None, result: Any
) -> None:
    """None comes instead, whatever the value; what the call says counts more than what the function declares."""
    run = node.make(function, "value")._replace(options=options)
    node.run([run])
    node.until(lambda: run.run in node.dones())
    assert outcome(node.dones()[run.run]) == result


def test_a_failure_travels_though_nobody_wants_the_result(node: Node) -> None:
    """And a chunk has None for each value."""
    with pytest.raises(ValueError, match="fail"):
        node.call("ignored", "fail")
    payload = serializer("msgpack").dumps_call((["a", "fail"],), {})
    run = node.make("ignored")._replace(payload=payload, options={"chunk": True})
    node.run([run])
    node.until(lambda: run.run in node.dones())
    values, failures = outcome(node.dones()[run.run])[:2]
    assert (values, failures[0][0]) == ([None, None], 1)


def test_bytes_that_nobody_wants_need_no_form(node: Node) -> None:
    """The raw serializer has no form for None, and need not carry it."""
    run = node.make("ignored", b"data", encoding="raw")
    node.run([run])
    node.until(lambda: run.run in node.dones())
    assert outcome(node.dones()[run.run]) is None
