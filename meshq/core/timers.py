"""Deadlines by key: which one is next, and which are due.

A heap of (deadline, number, key). Moving or cancelling a deadline leaves its old heap entry behind, *stale*.
Stale entries are dropped when they surface, and all at once when they are more than half of the heap: every
call costs O(log n), amortised, and memory stays within twice what is set.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Below this size a heap is not worth tidying.
_SMALL = 16


class Timers(Generic[K]):
    """One deadline at most for each key; deadlines are monotonic instants in seconds."""

    def __init__(self) -> None:
        # The number breaks ties in the order of setting, and keeps keys from being compared.
        self._heap: list[tuple[float, int, K]] = []
        self.live: dict[K, tuple[float, int, K]] = {}
        """What is set; for others to see, without a call, whether anything is."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.live)

    def get(self, key: K) -> float | None:
        """Return the key's deadline, or None where it has none."""
        entry = self.live.get(key)
        return None if entry is None else entry[0]

    def items(self) -> Iterator[tuple[K, float]]:
        """Yield each key with its deadline, in no particular order."""
        return ((key, entry[0]) for key, entry in self.live.items())

    def set(self, key: K, at: float) -> None:
        """Give the key this deadline, in place of any earlier one."""
        entry = (at, next(self._numbers), key)
        self.live[key] = entry
        heapq.heappush(self._heap, entry)
        self._tidy()

    def cancel(self, key: K) -> None:
        """Take the key's deadline away, if it has one."""
        if self.live.pop(key, None) is not None:
            self._tidy()

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, or None where none is set."""
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[K]:
        """Take out the keys whose deadline has come, earliest first; ties in the order of setting."""
        due: list[K] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if not self._is_stale(entry):
                del self.live[entry[2]]
                due.append(entry[2])
        self._tidy()
        return due

    def _is_stale(self, entry: tuple[float, int, K]) -> bool:
        return self.live.get(entry[2]) is not entry

    def _tidy(self) -> None:
        if not self.live:
            self._heap.clear()  # nobody asks for the next deadline then, and a stale entry keeps its key alive
        elif len(self._heap) > max(_SMALL, 2 * len(self.live)):
            self._heap = list(self.live.values())
            heapq.heapify(self._heap)


def earliest(*deadlines: float | None) -> float | None:
    """Return the earliest of these deadlines, None standing for never."""
    first = None
    for at in deadlines:
        if at is not None and (first is None or at < first):
            first = at
    return first
