"""One task in the books of a simulation: what was asked of it, and what has become of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owner import MAX_DEATHS
from meshq.protocol.payload import join_payload
from meshq.testing.slots import SimFunction

if TYPE_CHECKING:
    from meshq.testing.client import SimClient

_LAST_LINES = 60


class Record:
    """One task of one client. Where several clients have a key, and so a task id, in common, each has its own.

    ``first`` is that of whoever came first, which has what nodes do with the id; mostly it is the record itself.
    """

    def __init__(self, client: SimClient, task: OwnedTask, first: Record | None = None) -> None:
        self.client = client
        self.task = task
        self.payload = task.payload
        self.first = self if first is None else first
        self.twins: list[Record] = []
        """Of the other clients that have the id too."""
        self.withdraw_asked = False
        self.revoked = False
        self.starts = 0
        self.blames = 0
        """Workers that died under it, and nodes that ended while they held it."""
        self.moves = 0
        """How often its owner took it back from a node that had not answered, or knew nothing of it any more."""
        self.retries = 0
        """How often its owner has planned another try of it."""
        self.spared = 0
        """Runs whose worker was killed for another one's sake."""
        self.outcome: Outcome | None = None
        self.answers = 0
        self.lines: deque[tuple[float, str, str]] = deque(maxlen=_LAST_LINES)

    def reasons(self) -> int:
        """Return how many of its runs there is a reason for."""
        return 1 + self.retries + self.blames + self.moves + self.spared

    def is_discarded(self) -> bool:
        """Whether a purge may have ended it; one that was withdrawn just then counts as discarded all the same."""
        ending = None if self.outcome is None else self.outcome.ending
        return ending is Ending.REVOKED or (ending is Ending.CANCELLED and self.first.revoked)

    def is_counted_twice(self) -> bool:
        """Whether its owner has counted more deaths and failures than there were runs."""
        return self.retries + len(self.task.deaths or ()) > self.first.starts

    def wrong_deaths(self, outcome: Outcome) -> str:
        """Return what is wrong with the deaths that its owner has charged it with, or "" """
        charged = len(self.task.deaths or ())
        if charged > min(MAX_DEATHS, self.first.starts):
            return f"a task that was started {self.first.starts} times is charged with {charged} deaths"
        if outcome.ending is Ending.WORKER_LOST and charged != MAX_DEATHS:
            return f"a task is given up as poison after {charged} deaths"
        return ""

    def may_end(self, outcome: Outcome, function: SimFunction | None) -> bool:
        """Whether there is a reason for this end; that of EXPIRED is the promises' affair."""
        match outcome.ending:
            case Ending.DONE:
                return function is not None and function.ending in ("returns", "flaky") and self._is_own(outcome)
            case Ending.FAILURE:
                return (self._may_fail(function) and self._is_own(outcome)) or (
                    self.task.detached and self._is_worn_out()
                )
            case Ending.TIME_LIMIT:
                return function is not None and "time_limit" in function.options
            case Ending.WORKER_LOST:
                return self._is_worn_out()  # a detached one too: its client has seen three nodes die
            case Ending.LOST:
                return self.task.once
            case Ending.CANCELLED:
                return self.withdraw_asked or self.client.leaving
            case Ending.REVOKED:
                return self.first.revoked
            case _:
                return function is None

    def _may_fail(self, function: SimFunction | None) -> bool:
        if function is None:
            return False
        return function.ending in ("raises", "flaky") or "soft_time_limit" in function.options

    def _is_worn_out(self) -> bool:
        return self.first.blames >= MAX_DEATHS

    def _is_own(self, outcome: Outcome) -> bool:
        """Whether the value is that of this task: its own argument."""
        return join_payload(outcome.payload) == self.payload
