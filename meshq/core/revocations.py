"""The ids of tasks that a node refuses to run.

When the table is full of ids that have not expired, a new one is refused, and the caller told: a revoke that
was acknowledged is never forgotten in favour of a later one. Only remaining seconds leave this module, since
an instant of one host's clock means nothing on another, or after a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from meshq.core.timers import Timers

# Longer than any task waits or is kept, so that none can outlive its revoke. Celery: 3 h and 50,000 ids,
# after which a parked task of a later hour runs although it was revoked.
TTL_S = 86_400.0
# Some 30 MB. The threat: a client that revokes ids without end.
LIMIT = 100_000
_DIGEST_BYTES = 16


class Added(NamedTuple):
    """What became of ids that were to be remembered; those known before are in neither list."""

    new: list[bytes]
    refused: list[bytes]
    """No room: the caller must tell whoever asked that these may still run."""


class Revocations:
    """At most ``limit`` revoked ids, each kept for ``ttl_s`` seconds after it was last revoked."""

    def __init__(self, limit: int = LIMIT, ttl_s: float = TTL_S) -> None:
        self._limit = limit
        self._ttl_s = ttl_s
        self._expiry: Timers[bytes] = Timers()
        self.live = self._expiry.live
        """What is remembered; for others to see, without a call, whether anything is."""
        self._sum = 0

    def add(self, tasks: Iterable[bytes], now: float) -> Added:
        """Remember these ids from now on; a known one is kept for longer."""
        return self.merge(((task, self._ttl_s) for task in tasks), now)

    def contains(self, task: bytes, now: float) -> bool:
        """Tell whether the task is to be refused."""
        at = self._expiry.get(task)
        return at is not None and now < at

    def remaining(self, tasks: Iterable[bytes], now: float) -> list[tuple[bytes, float]]:
        """Return those of the tasks that are to be refused, each with the seconds for which."""
        pairs = ((task, self._expiry.get(task)) for task in tasks)
        return [(task, at - now) for task, at in pairs if at is not None and now < at]

    def dump(self, now: float) -> list[tuple[bytes, float]]:
        """Return each id with the seconds for which it is still to be refused, the shortest first."""
        self._expire(now)
        return sorted(((task, at - now) for task, at in self._expiry.items()), key=lambda pair: pair[1])

    def merge(self, pairs: Iterable[tuple[bytes, float]], now: float) -> Added:
        """Remember what another ``dump`` says; no id is kept for less time than before, or past the ttl."""
        self._expire(now)
        added = Added([], [])
        for task, remaining_s in pairs:
            # In this order a NaN from a peer means the whole ttl.
            at = now + min(self._ttl_s, remaining_s)
            known = self._expiry.get(task)
            if known is not None:
                self._expiry.set(task, max(known, at))
            elif at <= now:
                continue
            elif len(self._expiry) >= self._limit:
                added.refused.append(task)
            else:
                added.new.append(task)
                self._sum += _mix(task)
                self._expiry.set(task, at)
        return added

    def digest(self, now: float) -> bytes:
        """Return 16 bytes that are equal where the same ids are refused, in whatever order they came."""
        self._expire(now)
        return (self._sum % (1 << 8 * _DIGEST_BYTES)).to_bytes(_DIGEST_BYTES, "big")

    def _expire(self, now: float) -> None:
        for task in self._expiry.pop_due(now):
            self._sum -= _mix(task)


def _mix(task: bytes) -> int:
    # Hashed, since the ids of one process are a run of numbers, whose plain sums would meet by chance.
    return int.from_bytes(hashlib.blake2b(task, digest_size=_DIGEST_BYTES).digest(), "big")
