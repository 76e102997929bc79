"""From a task's outcome to the value that a caller gets."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from meshq.client.outcomes import decode, error_of
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.errors import RemoteProtocolError, ResultGone, TaskLost, TimeLimitExceeded
from meshq.protocol.codec import serializer


class Trap:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("asked", ["msgpack", "json", "raw"])
def test_a_pickle_that_was_not_asked_for_is_not_loaded(tmp_path: Path, asked: str) -> None:
    """A node cannot have a client run code by answering with a pickle."""
    trap = tmp_path / "sprung"
    with pytest.raises(RemoteProtocolError, match="came as 'pickle'"):
        decode(pickle.dumps(Trap(trap)), "pickle", asked)
    assert not trap.exists()


@pytest.mark.parametrize("asked", ["msgpack", "json", "pickle"])
def test_the_serializer_of_the_call_and_msgpack_are_taken(asked: str) -> None:
    """A result comes in the serializer of its call, and a chunk of results may come in msgpack."""
    assert decode(serializer(asked).dumps([1], "x"), asked, asked) == [1]
    assert decode(serializer("msgpack").dumps([1], "x"), "msgpack", asked) == [1]


def test_a_result_that_gave_way_is_gone() -> None:
    """The task has ended, as a value or a failure that its node had no room to keep."""
    with pytest.raises(ResultGone, match="--hold"):
        decode(b"", "", "msgpack")
    assert isinstance(error_of(OwnedTask(b"t" * 16, "m.f", "msgpack", b""), Outcome(Ending.FAILURE)), ResultGone)


def test_what_expired_says_whether_it_was_tried() -> None:
    """A task that comes back from a lost node too late has a story."""
    task = OwnedTask(b"t" * 16, "m.f", "msgpack", b"")
    plain = str(error_of(task, Outcome(Ending.EXPIRED)))
    assert plain.startswith("task m.f (74747474-")
    assert plain.endswith("expired before it was started")
    tried = str(error_of(task, Outcome(Ending.EXPIRED, text="attempt 1 on node@a: signal 9")))
    assert tried.endswith("expired before it was started again, after attempt 1 on node@a: signal 9")


def test_what_ran_for_too_long_says_for_how_long() -> None:
    """The node's words arrive, as many as a person reads; without them it is said all the same."""
    task = OwnedTask(b"t" * 16, "m.f", "msgpack", b"")
    error = error_of(task, Outcome(Ending.TIME_LIMIT, "", b"m.f ran past its time limit of 2 s"))
    assert isinstance(error, TimeLimitExceeded)
    assert str(error).endswith("was ended: m.f ran past its time limit of 2 s")
    assert len(str(error_of(task, Outcome(Ending.TIME_LIMIT, "", b"\xff" * 100_000)))) < 2_000
    assert "past its time limit" in str(error_of(task, Outcome(Ending.TIME_LIMIT)))


def test_a_task_that_may_have_run() -> None:
    """The error says so, and why it is not tried again."""
    error = error_of(OwnedTask(b"t" * 16, "f", "msgpack", b""), Outcome(Ending.LOST, text="the node was lost"))
    assert isinstance(error, TaskLost)
    assert error.maybe_executed
    assert "must not run twice: the node was lost" in str(error)
