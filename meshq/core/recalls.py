"""Revokes that are under way: which ids still wait for a worker's word, and what became of the others."""

from __future__ import annotations

from typing import Any

from meshq.core.holding import RevokeAnswered

UNKNOWN = "unknown, will be refused"
NOT_REMEMBERED = "unknown, and not remembered: too many ids are revoked"
# Where several attempts of one task are here, the one that matters most to the caller is named.
_RANK = ("terminated", "running", "dropped", "finished", UNKNOWN, NOT_REMEMBERED)
# The threat: signals, without end, for a task that ignores them.
MAX_WAITING = 1_000


class Revoke:
    """One revoke on its way: answered when no run of it is waited for."""

    def __init__(self, token: Any, signal: int) -> None:
        self.token = token
        self.signal = signal
        self.outcome: dict[bytes, str] = {}
        self.waiting: dict[int, bytes] = {}
        """Run → task, of those that a worker has yet to give back or to end."""
        self.signalled: set[int] = set()
        """Those of ``waiting`` that were sent the signal."""

    def note(self, task: bytes, outcome: str) -> None:
        """Write down what became of an attempt of the task."""
        known = self.outcome.get(task, outcome)
        self.outcome[task] = min(known, outcome, key=_RANK.index)

    def resolve(self, run: int, outcome: str) -> None:
        """Write down what became of a run, if it is waited for."""
        task = self.waiting.pop(run, None)
        if task is not None:
            self.note(task, outcome)


class Recalls:
    """All revokes that wait for workers."""

    def __init__(self) -> None:
        self._revokes: list[Revoke] = []

    def add(self, revoke: Revoke) -> None:
        """Take note of a revoke that waits; where too many do, the oldest is answered as things stand."""
        self._revokes.append(revoke)
        if len(self._revokes) > MAX_WAITING:
            oldest = self._revokes[0]
            for run in list(oldest.waiting):
                oldest.resolve(run, "running")

    def started(self, run: int) -> int:
        """A run cannot be given back: answer those who let it run, and return the others' newest signal or 0."""
        signal = 0
        for revoke in self._revokes:
            if not revoke.signal:
                revoke.resolve(run, "running")
            elif run in revoke.waiting and run not in revoke.signalled:
                revoke.signalled.add(run)
                signal = revoke.signal
        return signal

    def waits_for(self, run: int) -> bool:
        """Whether a revoke waits for the run's end."""
        return any(run in revoke.waiting for revoke in self._revokes)

    def resolve(self, run: int, outcome: str) -> None:
        """Say what became of a run."""
        for revoke in self._revokes:
            revoke.resolve(run, outcome)

    def answered(self) -> list[RevokeAnswered]:
        """Return the answers that are complete."""
        if not self._revokes:
            return []
        complete = [revoke for revoke in self._revokes if not revoke.waiting]
        if complete:
            self._revokes = [revoke for revoke in self._revokes if revoke.waiting]
        return [RevokeAnswered(revoke.token, revoke.outcome) for revoke in complete]
