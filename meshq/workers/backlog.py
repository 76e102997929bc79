"""The runs that a worker has and has not started, shared between its main thread and its control thread.

Rule: a run belongs to whoever takes it out of the table, and taking it out is one atomic operation. So it is
either started or given back, never both, and the main thread needs no lock to start one.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

Row = list[Any]
"""The fields of a Run, in order."""


class Backlog:
    """Runs in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self.order: deque[int] = deque()
        """The numbers of the runs, and of some that were recalled."""
        # Between reading a batch and answering a recall: what is on its way here is refused when it comes.
        self._arrival = threading.Lock()
        self._last = 0
        self._refused: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, rows: list[Row]) -> None:
        """Take in a batch, without the runs that were recalled before it was read."""
        with self._arrival:
            if rows:
                self._last = rows[-1][0]
            if self._refused:
                rows = [row for row in rows if not self._was_refused(row[0])]
            for row in rows:
                self._rows[row[0]] = row
                self.order.append(row[0])  # last: what is found here is in the table, unless it was recalled

    def _was_refused(self, run: int) -> bool:
        """Say whether a run was recalled before it was read, which settles that."""
        if run not in self._refused:
            return False
        self._refused.discard(run)
        return True

    def take(self) -> Row | None:
        """Return the run to start now, None where there is none. For the main thread."""
        order = self.order
        while order:
            row = self._rows.pop(order.popleft(), None)
            if row is not None:
                return row
        return None

    def recall(self, asked: list[int]) -> list[int]:
        """Return those of the runs asked for that will not be started here. For the control thread."""
        with self._arrival:
            return [run for run in asked if self._rows.pop(run, None) is not None or self._refuse(run)]

    def _refuse(self, run: int) -> bool:
        """Note a run that is still on its way; numbers only grow, so what is read is known by its number."""
        if run <= self._last or run in self._refused:
            return False
        self._refused.add(run)
        return True

    def clear(self) -> None:
        """Forget everything: a task has forked, and this is the copy."""
        self.order.clear()
        self._rows.clear()
