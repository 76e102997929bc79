"""Revoked ids that nodes tell each other: a node that was away when a task was revoked learns of it all the same.

New ids are told at once. For what got lost, a node sends its peers a digest of its ids now and then; where
theirs differ, both tell all that they refuse. Only what is new is told on, so that nothing goes round for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from meshq.core.held import NODE, ClientAccount
from meshq.core.holding import RevocationsHeard
from meshq.core.relaying import Relaying, revoked_pages
from meshq.core.reporting import Reports
from meshq.core.withdrawals import Withdrawals
from meshq.ids import ID_BYTES
from meshq.protocol.messages import RevokedDigest, RevokedIds

_HARDLY_S = 60.0
"""An id with less time left is not learned: one that expires here would come back from a peer where it has not."""


class Gossip:
    """Answers the digests of peers that are clients of this node, and takes in what peers refuse."""

    def __init__(self, withdrawals: Withdrawals, relaying: Relaying, reports: Reports) -> None:
        self._withdrawals = withdrawals
        self._revocations = withdrawals.revocations
        self._relaying = relaying
        self._reports = reports

    def on_digest(self, client: ClientAccount, message: RevokedDigest, now: float) -> None:
        """Tell a peer what is refused here, if that is something else, and in any case that this is all."""
        if client.role != NODE:
            return
        digest = self._revocations.digest(now)
        if message.digest != digest and client.telling.begin(digest, now):
            for page in revoked_pages(self._revocations.dump(now)):
                self._reports.say(client, page)
        self._reports.say(client, RevokedDigest(digest))

    def on_ids(self, client: ClientAccount, message: RevokedIds, now: float) -> None:
        """Refuse what a peer refuses."""
        if client.role == NODE:
            self._learn(message.ids, client, now)

    def on_heard(self, event: RevocationsHeard, now: float) -> None:
        """Refuse what a peer refuses, or this node in an earlier life."""
        if event.stored:
            self._revocations.merge(_sound(event.ids, 0.0), now)
        else:
            self._learn(event.ids, None, now)

    def _learn(self, rows: Sequence[Sequence[Any]], source: ClientAccount | None, now: float) -> None:
        # A known one is left as it is: each telling would add its time on the way, and it would never expire.
        ids = [pair for pair in _sound(rows, _HARDLY_S) if not self._revocations.contains(pair[0], now)]
        new = self._withdrawals.learn(ids, now)
        self._relaying.revoke(b"", new)
        self._relaying.refused(self._revocations.remaining(new, now), source)


def _sound(rows: Sequence[Sequence[Any]], least_s: float) -> Iterator[tuple[bytes, float]]:
    """Yield the rows that are an id and more than ``least_s`` seconds; the threat: a peer that sends anything."""
    for row in rows:
        if len(row) < 2 or type(row[0]) is not bytes or len(row[0]) != ID_BYTES:
            continue
        if type(row[1]) in (int, float) and row[1] > least_s:
            yield row[0], row[1]
