"""When a slot's worker is started, and started again."""

from __future__ import annotations

from collections.abc import Callable

from meshq.core.timers import Timers

FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 30.0


class Restarts:
    """Starts a worker for each slot, and a new one for each that is gone.

    A worker that had been ready is replaced at once; one that never got so far, after a pause that doubles.
    """

    def __init__(self, slots: int, start: Callable[[int], None]) -> None:
        self._start = start
        self._slots = slots
        self._loaded: set[int] = set()
        self._pauses: dict[int, float] = {}
        self._timers: Timers[int] = Timers()

    @property
    def is_ready(self) -> bool:
        """Whether every slot has once had a worker."""
        return len(self._loaded) == self._slots

    def begin(self, now: float) -> None:
        """Start a worker for each slot."""
        for slot in range(self._slots):
            self._start(slot)

    def ready(self, slot: int) -> bool:
        """Note that a slot's worker is ready; return whether with this one the node is."""
        before = self.is_ready
        self._loaded.add(slot)
        self._pauses.pop(slot, None)
        return self.is_ready and not before

    def gone(self, slot: int, now: float) -> None:
        """Replace a worker that was ready."""
        self._timers.set(slot, now)

    def failed(self, slot: int, now: float) -> None:
        """Replace a worker that never was ready, after a while."""
        pause = self._pauses.get(slot, FIRST_PAUSE_S)
        self._pauses[slot] = min(2 * pause, MAX_PAUSE_S)
        self._timers.set(slot, now + pause)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._timers.next_deadline()

    def tick(self, now: float) -> None:
        """Start the workers that are due."""
        for slot in self._timers.pop_due(now):
            self._start(slot)
