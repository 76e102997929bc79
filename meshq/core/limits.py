"""How long runs may take: past the soft limit a run is told so, past the hard one its worker is killed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshq.core.dispatch import Dispatch
from meshq.core.holding import HolderEffect, TimeLimitSet


class Limits:
    """The time limits of functions and of runs; ``effects`` is where the holder gathers what it asks for."""

    def __init__(self, dispatch: Dispatch, effects: list[HolderEffect]) -> None:
        self._dispatch = dispatch
        self._effects = effects

    def declare(self, options: Mapping[str, dict[str, Any]]) -> None:
        """Learn what functions declare of themselves; limits set by command stay."""

    def on_time_limit_set(self, event: TimeLimitSet, now: float) -> None:
        """Change a function's limits, for all runs that have not started."""

    def limits_of(self, function: str) -> tuple[float | None, float | None]:
        """Return a function's soft and hard limit in seconds."""
        return None, None

    def watch(self, now: float) -> None:
        """Set the clock for the runs that have come to the head of their slots; forget those that ended."""

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return None

    def tick(self, now: float) -> None:
        """End, or warn, the runs whose time is over."""
