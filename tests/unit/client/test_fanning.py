"""The future of a ``dmap``: what its members make of it."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest
from client_harness import DONE, Handler, make_future

from meshq.client.fanning import Fan, check_calls
from meshq.client.future import Future
from meshq.core.owned import TaskState
from meshq.errors import ConfigError, MeshClosed, MeshqError, TaskRevoked


class Stage:
    """A fan of three members."""

    def __init__(self, count: int = 3) -> None:
        self.handler = Handler()
        self.members: list[Future[int]] = [make_future(self.handler) for _ in range(count)]
        self.fan = Fan(self.members, self.handler)
        self.fan.watch()

    def end(self, index: int, state: TaskState, error: BaseException) -> None:
        """Let a member fail."""
        self.members[index].state = state
        self.members[index].settle_failed(error)

    def ids(self, *indices: int) -> list[bytes]:
        """Return the ids of some members."""
        return [self.members[index].id for index in indices]


@pytest.fixture
def stage() -> Stage:
    """A fan of three members."""
    return Stage()


def test_it_is_done_with_its_last_member(stage: Stage) -> None:
    """The values come in the order of the calls, whatever the order of their ends."""
    for index in (2, 0, 1):
        assert (stage.fan.state, stage.fan.done()) == ("PENDING", False)
        stage.members[index].settle(DONE._replace(payload=bytes([index])))
    assert (stage.fan.state, stage.fan.done(), stage.fan.exception()) == ("DONE", True, None)
    assert stage.fan.result() == [0, 1, 2]
    assert stage.handler.withdrawn == []


def test_no_calls_are_done_at_once() -> None:
    """The list is empty."""
    fan = Stage(0).fan
    assert (fan.state, fan.result()) == ("DONE", [])


def test_members_that_have_ended_before_it_looks(stage: Stage) -> None:
    """They count like the others."""
    for member in stage.members:
        member.settle(DONE)
    late = Fan(stage.members, stage.handler)
    late.watch()
    assert late.result() == [42, 42, 42]


def test_the_first_failure_ends_it_and_the_others_are_withdrawn(stage: Stage) -> None:
    """It does not wait for the rest, and what they come to afterwards changes nothing."""
    stage.members[2].settle(DONE)
    stage.end(1, TaskState.FAILURE, KeyError("first"))
    assert stage.fan.state == "FAILURE"
    with pytest.raises(KeyError, match="first"):
        stage.fan.result()
    assert stage.handler.withdrawn == stage.ids(0)
    stage.end(0, TaskState.FAILURE, ValueError("second"))
    assert isinstance(stage.fan.exception(), KeyError)
    assert stage.handler.withdrawn == stage.ids(0)


@pytest.mark.parametrize(
    ("state", "error", "shown"),
    [
        (TaskState.REVOKED, TaskRevoked("x"), "REVOKED"),
        (TaskState.EXPIRED, TaskRevoked("x"), "EXPIRED"),
        (TaskState.QUEUED, MeshClosed("x"), "FAILURE"),
    ],
)
def test_its_state_is_that_of_the_member_that_has_ended_it(
    stage: Stage, state: TaskState, error: Exception, shown: str
) -> None:
    """Revoked, expired and lost members are told apart; where the mesh was closed it has failed."""
    stage.end(0, state, error)
    assert stage.fan.state == shown
    assert stage.fan.exception() is error


def test_a_member_that_is_withdrawn_ends_it(stage: Stage) -> None:
    """As when the mesh is left with an exception."""
    stage.members[0].state = TaskState.REVOKED
    stage.members[0].settle_cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        stage.fan.result()
    assert stage.fan.state == "REVOKED"


def test_its_timeout_ends_it(stage: Stage) -> None:
    """What is unfinished is counted, and withdrawn."""
    stage.members[0].settle(DONE)
    stage.fan.time_out()
    assert stage.fan.state == "FAILURE"
    with pytest.raises(TimeoutError, match="2 of the calls are unfinished"):
        stage.fan.result()
    assert stage.handler.withdrawn == stage.ids(1, 2)


def test_a_timeout_after_the_end_changes_nothing(stage: Stage) -> None:
    """The value stays."""
    for member in stage.members:
        member.settle(DONE)
    stage.fan.time_out()
    assert stage.fan.result() == [42, 42, 42]


def test_revoke_is_for_all_that_is_unfinished(stage: Stage) -> None:
    """In one command; it cannot be cancelled."""
    stage.members[1].settle(DONE)
    assert stage.fan.revoke(terminate=True, signal="KILL") == [True, "KILL"]
    assert stage.handler.revoked == stage.ids(0, 2)
    assert not stage.fan.cancel()
    assert not stage.fan.running()


def test_a_callback_must_not_wait_for_it(stage: Stage) -> None:
    """But can read it once it is done."""
    stage.handler.turns_here = True
    with pytest.raises(MeshqError, match="callback"):
        stage.fan.result()
    for member in stage.members:
        member.settle(DONE)
    assert stage.fan.result() == [42, 42, 42]


def test_calls_are_lists_or_tuples() -> None:
    """Any iterable of them will do."""
    assert check_calls(iter([[1, 2], (3,), []])) == [(1, 2), (3,), ()]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([[2, 2], 4], r"args\[1\] must be a list or tuple of arguments \(got 4\)"),
        ("ab", r"args\[0\] .*'a'"),
        ([[1], "x" * 500], r"args\[1\] .{0,150}$"),
        (7, r"args must be a list of lists of arguments, as \[\[2, 2\], \[4, 4\]\] \(got 7\)"),
    ],
)
def test_wrong_calls_are_named(args: Any, text: str) -> None:
    """By the index of the first one that is wrong."""
    with pytest.raises(ConfigError, match=text):
        check_calls(args)
