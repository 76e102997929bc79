"""What a node remembers of attempts that it no longer holds, so that a late copy of one is not run again."""

from __future__ import annotations

# Some 20 MB. A copy of a SUBMIT can arrive late by the time of a few resends, in which far fewer tasks pass.
LIMIT = 100_000


class Tombs:
    """The last attempt of each task that was finished and acknowledged, withdrawn or refused here."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._attempts: dict[bytes, int] = {}

    def bury(self, task: bytes, attempt: int) -> None:
        """Remember that this attempt, and any earlier one, is over."""
        attempts = self._attempts
        if len(attempts) >= self._limit:
            del attempts[next(iter(attempts))]
        attempts[task] = max(attempt, attempts.pop(task, 0))

    def covers(self, task: bytes, attempt: int) -> bool:
        """Tell whether this attempt is over."""
        buried = self._attempts.get(task)
        return buried is not None and attempt <= buried
