"""A node's slots: which worker runs what, and what is sent a little ahead.

Rules. An idle slot comes first. Beyond that a run goes ahead of a slot only where its function's mean time is
known, and as long as the expected time of all that is ahead there stays within 2 ms: so a long run never has
others waiting behind it while another slot is free.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf

from meshq.core.held import Held
from meshq.core.pace import WORKER_AHEAD_S

# Bounds a worker's batch where runs are so short that 2 ms would hold thousands.
MAX_AHEAD = 512
# A run that lasts this long has the runs behind it called back, and is reported as started.
LONG_RUN_S = 0.010


class Slot:
    """Room for one running attempt: a worker, or the want of one."""

    __slots__ = ("head_since", "load_s", "number", "ready", "runs", "signalled")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.runs: dict[int, Held] = {}
        """Run number → attempt, in the order of their start."""
        self.load_s = 0.0
        self.head_since = -inf
        self.signalled = 0
        """The run that the worker was last sent a signal for; whatever else dies of that is not to blame."""

    def head(self) -> Held | None:
        """Return the attempt that runs, as far as the node knows."""
        return next(iter(self.runs.values()), None)

    def is_long(self, now: float) -> bool:
        """Whether what runs has lasted so long that nothing should wait behind it."""
        return now >= self.head_since + LONG_RUN_S and bool(self.runs)


class Slots:
    """All slots of a node, and the runs that they have."""

    def __init__(self, count: int) -> None:
        self.all = {number: Slot(number) for number in range(count)}
        self._next_run = 1
        self._next_slot = count

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.all.values())

    def add(self) -> Slot:
        """Add a slot, which gets a number that none has had: a worker of old cannot be taken for its own."""
        slot = self.all[self._next_slot] = Slot(self._next_slot)
        self._next_slot += 1
        return slot

    def remove(self, number: int) -> None:
        """Take a slot away that has no runs."""
        del self.all[number]

    def heap(self, now: float) -> list[tuple[float, int]]:
        """Return the slots that may have room, the least loaded first, for ``place`` to keep in order."""
        heap = [(slot.load_s, slot.number) for slot in self.all.values() if slot.ready and not slot.is_long(now)]
        heapq.heapify(heap)
        return heap

    def place(self, held: Held, mean_s: float | None, heap: list[tuple[float, int]], now: float) -> Slot | None:
        """Give an attempt to the slot that gets to it soonest, the heap's first; None where it must wait."""
        slot = self.all[heap[0][1]]
        if slot.runs and not self._fits_ahead(slot, mean_s):
            return None
        if not slot.runs:
            slot.head_since = now
        held.run, held.slot = self._next_run, slot.number
        self._next_run += 1
        # What is not known is taken for endless, so that nothing goes behind it.
        held.expected_s = inf if mean_s is None else mean_s
        slot.runs[held.run] = held
        slot.load_s += held.expected_s
        heapq.heapreplace(heap, (slot.load_s, slot.number))
        return slot

    @staticmethod
    def _fits_ahead(slot: Slot, mean_s: float | None) -> bool:
        return mean_s is not None and slot.load_s + mean_s <= WORKER_AHEAD_S and len(slot.runs) < MAX_AHEAD

    @staticmethod
    def release(slot: Slot, held: Held, now: float) -> None:
        """Take a run off its slot."""
        runs = slot.runs
        if next(iter(runs)) == held.run:
            slot.head_since = now
        del runs[held.run]
        slot.load_s = slot.load_s - held.expected_s if runs else 0.0
