"""What a node remembers of attempts that it no longer holds, so that a late copy of one is not run again."""

from __future__ import annotations

from collections import OrderedDict

# Some 20 MB. A copy of a SUBMIT can arrive late by the time of a few resends, in which far fewer tasks pass.
LIMIT = 100_000


class Tombs:
    """The last attempt of each client's task that was acknowledged or withdrawn here.

    By client, since owners number attempts each for themselves: a node that was entrusted with a task counts
    anew, and its numbers say nothing about those of the task's first owner.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # Not a plain dict, which looks past all that was taken from its front to find the oldest: 30 µs each here.
        self._attempts: OrderedDict[bytes, int] = OrderedDict()
        """Client id + task id → attempt; both of 16 bytes, and joined cheaper to keep than a tuple."""

    def __len__(self) -> int:
        return len(self._attempts)

    def bury(self, client: bytes, task: bytes, attempt: int) -> None:
        """Remember that this attempt, and any earlier one, is over."""
        attempts, key = self._attempts, client + task
        last = attempts.pop(key, attempt)
        if len(attempts) >= self._limit:
            attempts.popitem(last=False)
        attempts[key] = attempt if attempt > last else last

    def covers(self, client: bytes, task: bytes, attempt: int) -> bool:
        """Tell whether this attempt is over."""
        buried = self._attempts.get(client + task)
        return buried is not None and attempt <= buried
