"""What is delivered of tasks, and whether anything is left of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from score_tasks import value_of

from meshq import Mesh, TaskLost


class Deliveries:
    """Counts how often each future's end is told, and what it was."""

    def __init__(self) -> None:
        self._told: Counter[int] = Counter()
        self._lock = threading.Lock()
        self.ends: dict[int, Any] = {}

    def watch(self, number: int, future: Future[Any]) -> Future[Any]:
        """Count the ends of a future."""
        future.add_done_callback(lambda done: self._note(number, done))
        return future

    def _note(self, number: int, future: Future[Any]) -> None:
        end = future.exception() or future.result()
        with self._lock:
            self._told[number] += 1
            self.ends[number] = end

    def count(self) -> int:
        """Return how many futures have ended."""
        return len(self.ends)

    def twice(self) -> int:
        """Return how many futures have ended more than once."""
        return sum(count > 1 for count in self._told.values())

    def wrong(self, numbers: Iterable[int]) -> int:
        """Return how many of these have not ended with what their tasks return."""
        return sum(self.ends.get(number) != value_of(number) for number in numbers)

    def lost(self) -> set[int]:
        """Return the numbers of those that were given up, and say that they may have run."""
        return {number for number, end in self.ends.items() if isinstance(end, TaskLost) and end.maybe_executed}


def nothing_is_held(mesh: Mesh, nodes: int) -> bool:
    """Whether all nodes answer and none holds anything: nothing queued, running, or to be acknowledged."""
    states = mesh.control.ping(timeout=2).by_node().values()
    held = sum(state[name] for state in states for name in ("queued", "running", "parked", "finished"))
    return len(states) == nodes and held == 0
