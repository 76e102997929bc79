"""What nodes say of each other: what is read of it, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.core.candidates import PEER, Candidate
from meshq.core.hints import LONGEST_TEXT, MAX_HINTS, follow_all, hints_of
from meshq.protocol.messages import HelloAck

OTHER = b"o" * 16


def ack(*peers: list[Any]) -> HelloAck:
    """Make the answer to HELLO of a node that knows these."""
    return HelloAck(b"n" * 16, 1, 1, "a", "host", 1, {}, ["msgpack"], [], list(peers), False)


def test_each_node_that_is_named_becomes_a_candidate() -> None:
    """Under its id, with the one address that is known."""
    [hint] = hints_of(ack([OTHER, "b@host", "tcp://10.0.0.2:7700", "and more"]), "tcp://10.0.0.1:7700", follow_all)
    assert hint == Candidate(OTHER.hex(), ("tcp://10.0.0.2:7700",), (), "", PEER, "b@host")


@pytest.mark.parametrize(
    "entry",
    [
        [], [OTHER], [OTHER, "b@host"], [b"short", "b@host", "tcp://h:1"], ["o" * 16, "b@host", "tcp://h:1"],
        [OTHER, None, "tcp://h:1"], [OTHER, "b@host", 7], [OTHER, "", "tcp://h:1"], [OTHER, "b@host", ""],
        [OTHER, "b\x1b[2J", "tcp://h:1"], [OTHER, "b" * (LONGEST_TEXT + 1), "tcp://h:1"],
        [b"n" * 16, "the node itself", "tcp://h:1"],
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_left_out(entry: list[Any]) -> None:
    """A node may say anything; the others that it names count all the same."""
    hints = list(hints_of(ack(entry, [OTHER, "b@host", "tcp://h:2"]), "tcp://h:1", follow_all))
    assert [hint.endpoints for hint in hints] == [("tcp://h:2",)]


def test_what_must_not_be_dialled_is_left_out() -> None:
    """The shell says so, by where the node is that names it."""
    asked: list[tuple[str, str]] = []
    assert not list(
        hints_of(ack([OTHER, "b@h", "tcp://h:2"]), "tcp://h:1", lambda *ways: bool(asked.append(ways)))
    )
    assert asked == [("tcp://h:2", "tcp://h:1")]


def test_one_node_names_so_many_at_most() -> None:
    """The rest of a very long list is not read."""
    peers = [[number.to_bytes(16, "big"), "b@h", "tcp://h:2"] for number in range(1, MAX_HINTS + 2)]
    assert len(list(hints_of(ack(*peers), "tcp://h:1", follow_all))) == MAX_HINTS
