"""What a node asks and tells the nodes whose client it is of revoked ids, so that all come to refuse the same.

On every greeting, soon after it has let others in, and every ten seconds after that, it compares what is refused
here with what its peers refuse. What is learned anew is passed on at once. The other side is that of ``Gossip``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from meshq.core.candidates import Rng
from meshq.core.relaying import revoked_pages
from meshq.core.telling import Telling
from meshq.protocol.messages import Message, RevokedDigest, RevokedIds

SOON_S = 1.0
EVERY_S = 10.0
AT_ONCE = 2
"""After its start, and then so often, a node compares what is refused with this many of its peers."""


class Refused(Protocol):
    """The books of what this node refuses."""

    def revoked(self, now: float) -> list[tuple[bytes, float]]: ...
    def revoked_digest(self, now: float) -> bytes: ...


class Agreeing:
    """With whom of its peers a node compares, and when.

    ``say(node, messages)`` sends to a peer; ``refuse(ids)`` is called with what a peer refuses, and has refused it
    on return. ``nodes`` are always the peers that answer.
    """

    def __init__(
        self,
        refused: Refused,
        rng: Rng,
        say: Callable[[bytes, list[Message]], None],
        refuse: Callable[[Sequence[Sequence[Any]]], None],
    ) -> None:
        self._refused = refused
        self._rng = rng
        self._say = say
        self._refuse = refuse
        self._told: set[bytes] = set()
        """Peers that have told all that they refuse."""
        self._tellings: dict[bytes, Telling] = {}
        """Of all ids, by peer."""
        self._source: bytes | None = None
        """The peer that is just telling something."""
        self._again: set[bytes] = set()
        """Peers to compare with next, besides any others."""
        self._compare_at: float | None = None

    def have_told(self, nodes: Collection[bytes]) -> bool:
        """Whether all of these have told what they refuse."""
        return self._told.issuperset(nodes)

    def opened(self, nodes: Collection[bytes], now: float) -> None:
        """Note that this node lets others in: what was said elsewhere meanwhile is to be heard soon."""
        for node in nodes:
            self.compare(node, now)
            self._again.add(node)
        self._compare_at = now + SOON_S

    def greeted(self, node: bytes, now: float) -> None:
        """Begin to compare with a peer that has answered a greeting, and again soon: it may have told lately."""
        if node in self._tellings:
            self._tellings[node].renew()
        self.compare(node, now)
        self._compare_again(node, now)

    def compare(self, node: bytes, now: float) -> None:
        """Begin to compare with a peer; it may have been silent, and be back."""
        self._say(node, [RevokedDigest(self._refused.revoked_digest(now))])

    def tell(self, ids: Sequence[tuple[bytes, float]], nodes: Collection[bytes]) -> None:
        """Tell all peers, but for the one that told them, of ids that are refused as of now."""
        pages: list[Message] = list(revoked_pages(ids))
        for node in nodes:
            if node != self._source:
                self._say(node, pages)

    def on_said(self, node: bytes, message: RevokedDigest | RevokedIds, now: float) -> None:
        """Take what a peer says."""
        if isinstance(message, RevokedIds):
            self._source = node
            try:
                self._refuse(message.ids)
            finally:
                self._source = None
            return
        self._told.add(node)
        digest = self._refused.revoked_digest(now)
        if digest == message.digest or not self._tellings.setdefault(node, Telling()).begin(digest, now):
            return
        self._say(node, list(revoked_pages(self._refused.revoked(now))))
        # A peer that has told its ids a moment ago does not do so again yet.
        self._compare_again(node, now)

    def _compare_again(self, node: bytes, now: float) -> None:
        self._again.add(node)
        self._compare_at = now + SOON_S if self._compare_at is None else min(self._compare_at, now + SOON_S)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._compare_at

    def tick(self, nodes: Collection[bytes], now: float) -> bool:
        """Compare with some peers, and those with whom there was reason to do so again; return whether it did."""
        if self._compare_at is None or self._compare_at > now:
            return False
        self._compare_at = now + EVERY_S * self._rng.uniform(0.9, 1.1)
        some = sorted(nodes, key=lambda _: self._rng.uniform(0.0, 1.0))[:AT_ONCE]
        for node in dict.fromkeys([*some, *(node for node in nodes if node in self._again)]):
            self.compare(node, now)
        self._again.clear()
        self._told.intersection_update(nodes)
        self._tellings = {node: self._tellings[node] for node in nodes if node in self._tellings}
        return True
