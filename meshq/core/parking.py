"""Attempts that a node holds and may not start yet: their time has not come, or a rate limit holds them back.

What is parked takes up no slot and no credit, but room in a budget of its own; past that the owner keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.held import ClientAccount, Held
from meshq.core.holding import RateLimitSet
from meshq.core.reporting import Reports


class ParkedView(NamedTuple):
    """A parked attempt as others may see it; ``reason`` is ``countdown`` or ``rate limit``."""

    held: Held
    seconds: float
    """Until it may be queued, as far as that is known now."""
    reason: str


class Parking:
    """All parked attempts, and the rate limits of functions."""

    def __init__(self, dispatch: Dispatch, reports: Reports, endings: Endings) -> None:
        self._dispatch = dispatch
        self._reports = reports
        self._endings = endings

    def declare(self, options: Mapping[str, dict[str, Any]]) -> None:
        """Learn what functions declare of themselves; limits set by command stay."""

    def on_rate_limit_set(self, event: RateLimitSet, now: float) -> None:
        """Change a function's rate limit; it acts at once on what is parked and queued."""

    def rate_of(self, function: str) -> float:
        """Return a function's limit in runs a second, 0 for none."""
        return 0.0

    def is_full(self) -> bool:
        """Whether nothing more is to be parked."""
        return False

    def take(self, held: Held, now: float) -> bool:
        """Deal with an attempt that must wait, or has expired; return False where it is to be queued now."""
        return False

    def remove(self, held: Held) -> None:
        """Take a parked attempt out."""

    def clear(self, client: ClientAccount) -> list[Held]:
        """Take all that is parked of a client out, and return it."""
        return []

    def parked(self, now: float) -> Iterator[ParkedView]:
        """Yield what is parked, the soonest first."""
        yield from ()

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return None

    def tick(self, now: float) -> None:
        """Queue what may start now, and end what has expired."""
