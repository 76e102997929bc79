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
        self._slots = set(range(slots))
        self._awaited = set(self._slots)
        """Slots that have yet to have their first worker, before the node is ready."""
        self._pauses: dict[int, float] = {}
        self._timers: Timers[int] = Timers()

    @property
    def is_ready(self) -> bool:
        """Whether every slot that the node began with has once had a worker."""
        return not self._awaited

    def begin(self, now: float) -> None:
        """Start a worker for each slot."""
        for slot in sorted(self._slots):
            self._start(slot)

    def add(self, slot: int) -> None:
        """Start a worker for a slot that is new."""
        self._slots.add(slot)
        self._start(slot)

    def remove(self, slot: int) -> None:
        """Start no worker any more for a slot that is given up."""
        self._slots.discard(slot)
        self._pauses.pop(slot, None)
        self._timers.cancel(slot)

    def ready(self, slot: int) -> bool:
        """Note that a slot's worker is ready; return whether with this one the node is."""
        before = self.is_ready
        self._awaited.discard(slot)
        self._pauses.pop(slot, None)
        return self.is_ready and not before

    def gone(self, slot: int, now: float) -> None:
        """Replace a worker that was ready."""
        if slot in self._slots:
            self._timers.set(slot, now)

    def failed(self, slot: int, now: float) -> None:
        """Replace a worker that never was ready, after a while."""
        if slot in self._slots:
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
