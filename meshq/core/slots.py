"""A node's slots: which worker runs what, and what is sent a little ahead.

Rules. An idle slot comes first. Beyond that a run goes ahead of a slot only where its function's mean time is
known, and as long as the expected time of all that is ahead there stays within 2 ms: so a long run never has
others waiting behind it while another slot is free. Where all slots are busy one run of up to 20 ms is at hand
behind each, until a slot is free; but not one that has terms of its own, a rate limit say.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heapreplace
from math import inf
from typing import TypeAlias

from meshq.core.held import Held
from meshq.core.pace import AT_HAND_S, WORKER_AHEAD_S

# Bounds a worker's batch where runs are so short that 2 ms would hold thousands.
MAX_AHEAD = 512
# A run that lasts this long has the runs behind it called back, and is reported as started.
LONG_RUN_S = 0.010
# Where it was expected to last some while, others behind it are called back when it has lasted so many times that.
PATIENCE = 3.0


class Slot:
    """Room for one running attempt: a worker, or the want of one."""

    __slots__ = ("called_back", "head_since", "load_s", "number", "ready", "runs", "signalled")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.runs: dict[int, Held] = {}
        """Run number → attempt, in the order of their start."""
        self.load_s = 0.0
        self.head_since = -inf
        self.called_back = 0
        """The run that was found to last too long for others to wait behind it."""
        self.signalled = 0
        """The run that the worker was last sent a signal for; whatever else dies of that is not to blame."""

    def head(self) -> Held | None:
        """Return the attempt that runs, as far as the node knows."""
        return next(iter(self.runs.values()), None)

    def is_long(self, now: float) -> bool:
        """Whether what runs has lasted so long that nothing should wait behind it."""
        return now >= self.head_since + LONG_RUN_S and bool(self.runs)

    def recall_at(self) -> float:
        """Return when what waits behind the first run is to be called back; infinite: never, or it has been."""
        head = self.head()
        if head is None or len(self.runs) == 1 or head.run == self.called_back:
            return inf
        return self.head_since + max(LONG_RUN_S, PATIENCE * head.expected_s)


Candidate: TypeAlias = tuple[float, int, Slot]
"""A slot behind its load and its number, which order it among others."""


class Slots:
    """All slots of a node, and the runs that they have."""

    def __init__(self, count: int) -> None:
        self.all = {number: Slot(number) for number in range(count)}
        self.long: set[int] = set()
        """The numbers of those that were seen to be at a long run."""
        self.at_hand = False
        """Whether a run may be at hand somewhere that is to be called back for a slot that is free."""
        self._next_run = 1
        self._next_slot = count

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.all.values())

    def at_long_runs(self) -> int:
        """Return how many of those that are given runs are at a long one."""
        return sum(self.all[number].ready for number in self.long)

    def add(self) -> Slot:
        """Add a slot, which gets a number that none has had: a worker of old cannot be taken for its own."""
        slot = self.all[self._next_slot] = Slot(self._next_slot)
        self._next_slot += 1
        return slot

    def remove(self, number: int) -> None:
        """Take a slot away that has no runs."""
        del self.all[number]

    def heap(self, now: float) -> list[Candidate]:
        """Return the slots that may have room, the least loaded first, for ``place`` to keep in order."""
        heap: list[Candidate] = []
        for number, slot in self.all.items():
            if slot.ready and not (slot.runs and now >= slot.head_since + LONG_RUN_S):  # as is_long has it
                heap.append((slot.load_s, number, slot))
        heapify(heap)
        return heap

    def place(
        self, held: Held, mean_s: float | None, heap: list[Candidate], now: float, in_turn: bool = False
    ) -> Slot | None:
        """Give an attempt to the slot that gets to it soonest, the heap's first; None where it must wait.

        With ``in_turn`` it is its client's turn, so that it may be the one that is at hand there.
        """
        load_s, number, slot = heap[0]
        runs = slot.runs
        if not runs:
            slot.head_since = now
        elif mean_s is None:
            return None
        elif load_s + mean_s > WORKER_AHEAD_S or len(runs) >= MAX_AHEAD:
            if not (in_turn and _may_be_at_hand(slot, held, mean_s)):
                return None
            self.at_hand = True
        held.run = run = self._next_run
        self._next_run = run + 1
        held.slot = number
        # What is not known is taken for endless, so that nothing goes behind it.
        held.expected_s = expected_s = inf if mean_s is None else mean_s
        runs[run] = held
        slot.load_s = load_s = load_s + expected_s
        heapreplace(heap, (load_s, number, slot))
        return slot

    def release(self, held: Held, now: float) -> None:
        """Take an attempt off its slot."""
        slot = self.all[held.slot]
        head = next(iter(slot.runs))
        del slot.runs[held.run]
        slot.load_s -= held.expected_s
        self.relieved(slot, head, now)

    def relieved(self, slot: Slot, head: int, now: float) -> None:
        """Take note that runs were taken off a slot, whose first one was ``head``, 0 for none."""
        if head and head not in slot.runs:
            slot.head_since = now
        if not slot.runs:
            slot.load_s = 0.0
        if slot.number in self.long and not slot.is_long(now):
            self.long.discard(slot.number)


def at_hand(slot: Slot) -> Held | None:
    """Return the run that waits at a slot although it takes longer than what goes ahead."""
    return list(slot.runs.values())[1] if len(slot.runs) == 2 and slot.load_s > WORKER_AHEAD_S else None


def _may_be_at_hand(slot: Slot, held: Held, mean_s: float) -> bool:
    """Whether a run that takes longer than others that go ahead is to wait behind the slot's only one.

    Not behind one that takes far longer: another slot is free sooner, as a rule. And not if its terms count from
    when it is given to the worker: its token is spent then (held back, it would start beside later ones), and
    it expires no more.
    """
    if held.terms is not None or len(slot.runs) > 1:
        return False
    return mean_s <= AT_HAND_S and slot.load_s <= min(AT_HAND_S, PATIENCE * mean_s)
