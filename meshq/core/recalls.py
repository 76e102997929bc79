"""Revokes that are under way: which ids still wait for a worker's word, and what became of the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshq.core.holding import RevokeAnswered

UNKNOWN = "unknown, will be refused"
NOT_REMEMBERED = "unknown, and not remembered: too many ids are revoked"
# Where several attempts of one task are here, the one that matters most to the caller is named.
_RANK = ("terminated", "running", "dropped", "finished", UNKNOWN, NOT_REMEMBERED)


class Revoke:
    """One revoke on its way: answered when no run of it is waited for."""

    def __init__(self, token: Any, signal: int) -> None:
        self.token = token
        self.signal = signal
        self.outcome: dict[bytes, str] = {}
        self.waiting: set[int] = set()

    def note(self, task: bytes, outcome: str) -> None:
        """Write down what became of an attempt of the task."""
        known = self.outcome.get(task, outcome)
        self.outcome[task] = min(known, outcome, key=_RANK.index)


class Recalls:
    """All revokes that wait for workers."""

    def __init__(self) -> None:
        self._revokes: list[Revoke] = []

    def add(self, revoke: Revoke) -> None:
        """Take note of a revoke that waits."""
        self._revokes.append(revoke)

    def signal_for(self, run: int) -> int:
        """Return the signal that a waiting revoke wants the run to be ended with, or 0."""
        return max((revoke.signal for revoke in self._revokes if run in revoke.waiting), default=0)

    def resolve(self, run: int, task: bytes, outcome: str) -> None:
        """Say what became of a run."""
        for revoke in self._revokes:
            if run in revoke.waiting:
                revoke.waiting.discard(run)
                revoke.note(task, outcome)

    def answered(self) -> Iterator[RevokeAnswered]:
        """Yield the answers that are complete."""
        complete = [revoke for revoke in self._revokes if not revoke.waiting]
        if complete:
            self._revokes = [revoke for revoke in self._revokes if revoke.waiting]
        return (RevokeAnswered(revoke.token, revoke.outcome) for revoke in complete)
