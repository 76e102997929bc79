"""What a node does about control commands, apart from the network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshq.config import load_settings
from meshq.control.asking import PurgeOutcome
from meshq.core.events import Received
from meshq.core.holding import (
    ClientGreeted,
    FunctionsKnown,
    HolderEvent,
    PurgeAnswered,
    PurgeAsked,
    RateLimitSet,
    RevokeAsked,
    TimeLimitSet,
)
from meshq.errors import ConfigError
from meshq.node.node import Node
from meshq.node.steering import Steering
from meshq.protocol.messages import Bye, Submit


class FakeEntrusted:
    """The node's own owner, which answers a purge when it is told to."""

    def __init__(self) -> None:
        self.revoked: list[bytes] = []
        self.answer: Callable[[int], None] = print

    def revoke(self, tasks: list[bytes], now: float) -> None:
        self.revoked += tasks

    def purge(self, command: bytes, answer: Callable[[int], None], now: float) -> None:
        self.answer = answer


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Return a node that does not run."""
    flags = {"mesh": "steered", "slots": 3, "mdns": False, "state": str(tmp_path), "name": "east"}
    made = Node(load_settings(flags, environ={}, cwd=tmp_path))
    yield made
    made._close()


@pytest.fixture
def entrusted() -> FakeEntrusted:
    """Return an owner of detached tasks that has none."""
    return FakeEntrusted()


@pytest.fixture
def told() -> list[HolderEvent]:
    """Return what the holder is told."""
    return []


@pytest.fixture
def steering(node: Node, entrusted: FakeEntrusted, told: list[HolderEvent]) -> Steering:
    """Return the control side of the node."""
    return Steering(node, node._holder, node._pool, entrusted, told.append)  # type: ignore[arg-type]


def test_the_holder_is_told_what_to_do(steering: Steering, entrusted: FakeEntrusted, told: list[Any]) -> None:
    """A revoke reaches the node's own detached tasks, too."""
    steering.rate_limit("f", 2.0)
    steering.time_limit("f", 1.0, None)
    steering.revoke([b"t" * 16], 9, b"k" * 16, 2.0, print)
    assert told == [
        RateLimitSet("f", 2.0),
        TimeLimitSet("f", 1.0, None),
        RevokeAsked(print, [b"t" * 16], 9, b"k" * 16, 2.0),
    ]
    assert entrusted.revoked == [b"t" * 16]


@pytest.mark.parametrize("own_first", [True, False])
def test_a_purge_is_answered_when_both_counts_are_there(
    steering: Steering, entrusted: FakeEntrusted, told: list[Any], own_first: bool
) -> None:
    """That of the node's own detached tasks, and that of what it holds for others."""
    answers: list[PurgeOutcome] = []
    steering.purge(b"k" * 16, 2.0, answers.append)
    (asked,) = told
    assert asked == PurgeAsked(asked.token, b"k" * 16, 2.0)
    answered = PurgeAnswered(asked.token, 3, {b"a" * 16: 4}, ["pid 7 on h"])
    steps = [lambda: entrusted.answer(5), lambda: asked.token(answered)]
    for step in steps if own_first else steps[::-1]:
        assert answers == []
        step()
    assert answers == [PurgeOutcome(8, {b"a" * 16: 4}, ["pid 7 on h"])]


def test_a_node_describes_itself(steering: Steering, node: Node) -> None:
    """Shortly for a ping, at length for ``stats`` and ``report``."""
    assert steering.name == node.name
    said = steering.describe()
    assert (said["slots"], said["pid"], said["draining"], said["queued"]) == (3, os.getpid(), False, 0)
    stats = steering.stats()
    assert (stats["slots"], stats["workers"], stats["totals"], stats["peers"]) == (3, [], {}, [])
    assert stats["counts"]["running"] == 0
    assert stats["uptime_s"] >= 0
    assert steering.conf()["name"] == "east"
    assert f"node {node.name} of mesh steered" in steering.report()


def test_a_node_without_tasks_has_none_to_show(steering: Steering) -> None:
    """Nor does it know any."""
    task = b"t" * 16
    assert [list(steering.views(state)) for state in ("active", "reserved", "scheduled")] == [[], [], []]
    assert (steering.find(task), steering.result(task), steering.forget(task)) == (None, None, False)
    assert (steering.revoked(), steering.pid(0), list(steering.functions())) == ([], None, [])
    assert steering.limits_of("f") == (0.0, None, None)


def drained(node: Node) -> Node:
    """Let a node do what was posted to it, until nothing changes."""
    for _ in range(3):
        node._loop.turn(min(node._step() or 0.0, 0.005))
    return node


def test_a_busy_node_asks_for_deadlines_once_a_millisecond(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for less than that ago is taken for true, for another millisecond or so."""
    asked: list[float] = []
    monkeypatch.setattr(node._holder, "next_deadline", lambda: asked.append(1.0) or 1000.5)
    assert node._wait_s(1000.0) == pytest.approx(0.5)
    assert node._wait_s(1000.0005) == pytest.approx(0.0015)
    assert len(asked) == 1
    assert node._wait_s(1000.0012) == pytest.approx(0.4988)
    assert len(asked) == 2


def test_a_node_that_is_drained_stays_until_it_is_shut_down(steering: Steering, node: Node) -> None:
    """It says that it is draining meanwhile; one that is to leave is not kept by a later drain."""
    for slot in range(3):
        node._restarts.ready(slot)
    steering.drain()
    assert not drained(node)._stopping
    assert node.is_draining
    assert node.ack.draining
    assert steering.describe()["draining"]
    steering.shutdown()
    steering.drain()
    assert drained(node)._stopping


def entrust(node: Node, **options: Any) -> None:
    """Let a client that has left have given the node a detached task."""
    task = Submit(b"t" * 16, 1, "f", "msgpack", b"", True, options)
    node._inbox.append(FunctionsKnown(frozenset("f"), frozenset({"msgpack"})))
    node._inbox.append(ClientGreeted(b"c" * 16))
    node._inbox.append(Received(b"c" * 16, [task, Bye()]))
    node._run_inbox()


@pytest.mark.parametrize("second", ["shutdown", "signal"])
def test_a_node_that_drains_says_what_it_waits_for(
    steering: Steering, node: Node, caplog: pytest.LogCaptureFixture, second: str
) -> None:
    """Its detached tasks, which may be for tomorrow; told once more to end, it waits no longer."""
    for slot in range(3):
        node._restarts.ready(slot)
    entrust(node, countdown=3600.0)
    steering.drain()
    drained(node)
    assert "waiting for 1 detached task," in caplog.text
    assert "the last may start in 3600 s" in caplog.text
    assert "lose them: 'meshq ctl shutdown', and then 'meshq ctl shutdown' again" in caplog.text
    steering.shutdown()
    assert not drained(node)._stopping
    assert "lose them: a second signal, or 'meshq ctl shutdown' again" in caplog.text
    if second == "shutdown":
        steering.shutdown()
    else:
        node.stop()
    assert drained(node)._stopping


def test_a_grace_that_is_over_is_said(steering: Steering, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Once, and with what is left to the node all the same."""
    for slot in range(3):
        node._restarts.ready(slot)
    node.settings = dataclasses.replace(node.settings, grace=0.0)
    entrust(node, countdown=3600.0)
    steering.shutdown()
    assert not drained(node)._stopping
    drained(node)
    said = "0 s of grace are over: ending what still runs, but for 1 detached task that no other node can take"
    assert caplog.text.count(said) == 1


def test_a_node_without_detached_tasks_drains_without_another_word(
    steering: Steering, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """What else it holds is handed back, or runs."""
    for slot in range(3):
        node._restarts.ready(slot)
    steering.shutdown()
    drained(node)
    assert "waiting for" not in caplog.text


def test_a_node_that_has_not_loaded_ends_at_once(steering: Steering, node: Node) -> None:
    """There is nothing to finish."""
    steering.shutdown()
    assert drained(node)._stopping


def test_a_node_that_drains_is_given_no_other_number_of_slots(steering: Steering, node: Node) -> None:
    """Nor one that starts; the error says which."""
    with pytest.raises(ConfigError, match="still starting"):
        steering.resize(4)
    for slot in range(3):
        node._restarts.ready(slot)
    steering.drain()
    drained(node)
    with pytest.raises(ConfigError, match="draining"):
        steering.resize(4)
    assert steering.describe()["slots"] == 3
