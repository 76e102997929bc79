"""How nodes come to refuse the same: with whom one compares, when, and what it tells whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from meshq.core.agreeing import AT_ONCE, EVERY_S, SOON_S, Agreeing
from meshq.protocol.messages import Message, RevokedDigest, RevokedIds

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
TASK, OTHER = b"t" * 16, b"u" * 16


class Down:
    """Randomness whose numbers fall, so that those who come last are drawn first."""

    def __init__(self) -> None:
        self._last = 1.0

    def uniform(self, a: float, b: float, /) -> float:
        """Return less than the last time."""
        self._last *= 0.9
        return a + (b - a) * self._last


class Node:
    """The books of a node, and what it has said to whom."""

    def __init__(self) -> None:
        self.ids: dict[bytes, float] = {}
        self.said: list[tuple[bytes, Message]] = []
        self.agreeing = Agreeing(self, Down(), self._say, self._refuse)

    def revoked(self, now: float) -> list[tuple[bytes, float]]:
        """Return what is refused here."""
        return list(self.ids.items())

    def revoked_digest(self, now: float) -> bytes:
        """Return what stands for that."""
        return b"".join(sorted(self.ids)).ljust(16)[:16]

    def _say(self, node: bytes, messages: list[Message]) -> None:
        self.said += [(node, message) for message in messages]

    def _refuse(self, ids: Sequence[Sequence[Any]]) -> None:
        new = [(task, seconds) for task, seconds in ids if task not in self.ids]
        self.ids.update(new)
        self.agreeing.tell(new, [A, B, C])

    def take(self) -> list[tuple[bytes, Message]]:
        """Return what was said since last asked."""
        said, self.said = self.said, []
        return said

    def digest(self) -> RevokedDigest:
        """Return its question."""
        return RevokedDigest(self.revoked_digest(0.0))


@pytest.fixture
def node() -> Node:
    """A node that refuses one task."""
    made = Node()
    made.ids[TASK] = 60.0
    return made


def test_a_peer_that_is_there_is_asked_at_once(node: Node) -> None:
    """With the digest of what is refused here; where its own is the same nothing more is said."""
    node.agreeing.compare(A, 0.0)
    assert node.take() == [(A, node.digest())]
    assert not node.agreeing.have_told([A])
    node.agreeing.on_said(A, node.digest(), 0.0)
    assert node.agreeing.have_told([A])
    assert (node.take(), node.agreeing.next_deadline()) == ([], None)


def test_a_peer_that_refuses_something_else_is_told_all(node: Node) -> None:
    """Once a second at most, and compared with again a second later, as it may hold back its own ids till then."""
    for now in (5.0, 5.1):
        node.agreeing.on_said(A, RevokedDigest(b"d" * 16), now)
    assert node.take() == [(A, RevokedIds([[TASK, 60.0]]))]
    assert node.agreeing.next_deadline() == 5.0 + SOON_S
    assert not node.agreeing.tick([A], 5.5)
    assert node.agreeing.tick([A], 6.0)
    assert node.take() == [(A, node.digest())]
    node.agreeing.on_said(B, RevokedDigest(b"d" * 16), 7.0)
    assert node.agreeing.next_deadline() == 7.0 + SOON_S


def test_a_peer_that_is_back_is_told_again(node: Node) -> None:
    """What it was told over an earlier connection may have been lost with that."""
    for _ in range(2):
        node.agreeing.greeted(A, 0.5)
        assert node.take() == [(A, node.digest())]
        node.agreeing.on_said(A, RevokedDigest(b"another"), 0.5)
        assert [type(message) for _, message in node.take()] == [RevokedIds]


def test_a_peer_that_has_greeted_is_asked_twice(node: Node) -> None:
    """It may have told somebody all its ids a moment ago, though not over this connection."""
    node.agreeing.greeted(A, 0.5)
    node.take()
    assert node.agreeing.next_deadline() == 0.5 + SOON_S
    node.agreeing.tick([A, B, C], 0.5 + SOON_S)
    assert (A, node.digest()) in node.take()


def test_what_a_peer_tells_is_passed_on_to_the_others(node: Node) -> None:
    """And not back to it; what is revoked here goes to all."""
    node.agreeing.on_said(B, RevokedIds([[OTHER, 9.0], [TASK, 9.0]]), 0.0)
    assert node.take() == [(A, RevokedIds([[OTHER, 9.0]])), (C, RevokedIds([[OTHER, 9.0]]))]
    node.agreeing.tell([(TASK, 60.0)], [A, B])
    assert [to for to, _ in node.take()] == [A, B]


def test_a_fault_in_the_books_does_not_silence_a_peer_for_good(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next id goes to it as to all others."""
    with monkeypatch.context() as patch:
        patch.setattr(node, "ids", None)
        with pytest.raises(TypeError):
            node.agreeing.on_said(B, RevokedIds([[OTHER, 9.0]]), 0.0)
    node.agreeing.tell([(TASK, 60.0)], [B])
    assert [to for to, _ in node.take()] == [B]


def test_two_peers_are_compared_with_every_ten_seconds(node: Node) -> None:
    """Drawn by lot, besides those with whom there was reason to; of those that are gone nothing is remembered."""
    node.agreeing.opened([A, B, C], 0.0)
    assert [to for to, _ in node.take()] == [A, B, C]
    node.agreeing.on_said(A, node.digest(), 0.5)
    assert node.agreeing.next_deadline() == SOON_S
    assert node.agreeing.tick([B, C], SOON_S)
    assert [to for to, _ in node.take()] == [C, B]
    assert not node.agreeing.have_told([A])
    due = node.agreeing.next_deadline()
    assert due is not None
    assert 0.9 * EVERY_S <= due - SOON_S <= 1.1 * EVERY_S
    assert node.agreeing.tick([A, B, C], due)
    assert [to for to, _ in node.take()] == [C, B]
    assert AT_ONCE == 2


def test_those_it_has_reason_to_ask_come_on_top(node: Node) -> None:
    """Each once, whether drawn or not; and what it has told a peer that is still there is remembered."""
    for each in (A, C):
        node.agreeing.on_said(each, RevokedDigest(b"d" * 16), 0.0)
    node.take()
    assert node.agreeing.tick([A, B, C], SOON_S)
    assert [to for to, _ in node.take()] == [C, B, A]
    node.agreeing.on_said(A, RevokedDigest(b"d" * 16), 1.5)
    node.agreeing.on_said(A, RevokedDigest(b"d" * 16), 2.5)
    assert [to for to, _ in node.take()] == [A]
