"""From a task's outcome to the value that a caller gets."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from meshq.client.outcomes import decode
from meshq.core.owned import Ending, Outcome
from meshq.errors import RemoteProtocolError
from meshq.protocol.codec import serializer
from meshq.protocol.payload import Payload


class Trap:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def outcome(name: str, payload: Payload) -> Outcome:
    """Return the outcome of a task that is done."""
    return Outcome(Ending.DONE, name, payload)


@pytest.mark.parametrize("asked", ["msgpack", "json", "raw"])
def test_a_pickle_that_was_not_asked_for_is_not_loaded(tmp_path: Path, asked: str) -> None:
    """A node cannot have a client run code by answering with a pickle."""
    trap = tmp_path / "sprung"
    with pytest.raises(RemoteProtocolError, match="came as 'pickle'"):
        decode(outcome("pickle", pickle.dumps(Trap(trap))), asked)
    assert not trap.exists()


@pytest.mark.parametrize("asked", ["msgpack", "json", "pickle"])
def test_the_serializer_of_the_call_and_msgpack_are_taken(asked: str) -> None:
    """A result comes in the serializer of its call, and a chunk of results may come in msgpack."""
    assert decode(outcome(asked, serializer(asked).dumps([1], "x")), asked) == [1]
    assert decode(outcome("msgpack", serializer("msgpack").dumps([1], "x")), asked) == [1]
