"""Revokes that are under way: which ids still wait for a worker's word, and what became of the others."""

from __future__ import annotations

from typing import Any

from meshq.core.holding import RevokeAnswered
from meshq.core.timers import Timers

UNKNOWN = "unknown, will be refused"
NOT_REMEMBERED = "unknown, and not remembered: too many ids are revoked"
STILL_RUNS = "signalled, still runs"
# Where several attempts of one task are here, the one that matters most to the caller is named.
_RANK = (STILL_RUNS, "terminated", "running", "dropped", "finished", UNKNOWN, NOT_REMEMBERED)
# The threat: signals, without end, for a task that ignores them.
MAX_WAITING = 1_000
ANSWER_SHARE = 0.6
"""Of the time that the caller waits: how long for the ends of runs. Up to 0.3 of it went on the way here."""


class Revoke:
    """One revoke on its way: answered when no run of it is waited for."""

    def __init__(self, token: Any, signal: int, due: float | None = None) -> None:
        self.token = token
        self.signal = signal
        self.due = due
        """When it is answered at the latest; None: whenever all is clear."""
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

    def give_up(self) -> None:
        """Write down what is waited for as things stand."""
        for run in list(self.waiting):
            self.resolve(run, STILL_RUNS if run in self.signalled else "running")


class Recalls:
    """All revokes that wait for workers."""

    def __init__(self) -> None:
        self.has_any = False
        """Whether any is under way; for others to see without a call."""
        self._revokes: list[Revoke] = []
        self.timers: Timers[Revoke] = Timers()

    def add(self, revoke: Revoke) -> None:
        """Take note of a revoke that waits; where too many do, the oldest is answered as things stand."""
        self._revokes.append(revoke)
        self.has_any = True
        if len(self._revokes) > MAX_WAITING:
            self._revokes[0].give_up()
        if revoke.waiting and revoke.due is not None:
            self.timers.set(revoke, revoke.due)

    def tick(self, now: float) -> None:
        """Let those be answered whose time is over."""
        for revoke in self.timers.pop_due(now):
            revoke.give_up()

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
        complete = [revoke for revoke in self._revokes if not revoke.waiting]
        if complete:
            self._revokes = [revoke for revoke in self._revokes if revoke.waiting]
            self.has_any = bool(self._revokes)
        for revoke in complete:
            self.timers.cancel(revoke)
        return [RevokeAnswered(revoke.token, revoke.outcome) for revoke in complete]
