"""What a node remembers of attempts that it no longer holds, so that a late copy of one is not run again.

Every task ends here, so none is looked at again to make room: what is remembered stands in two generations, plain
dicts for each client. The newer one is closed when it is full, and the older one goes in one piece. That is a
quarter of the cost of one table in the order of burial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

# Some 10 MB, twice that at most. A copy of a SUBMIT can arrive late by the time of a few resends, in which far
# fewer tasks pass.
LIMIT = 100_000

_Graves: TypeAlias = dict[bytes, dict[bytes, int]]
"""Client → task → attempt."""
NO_GRAVES: dict[bytes, int] = {}


class Tombs:
    """The last attempt of each client's task that was acknowledged or withdrawn here: the last ``limit`` of them.

    By client, since owners number attempts each for themselves: a node that was entrusted with a task counts
    anew, and its numbers say nothing about those of the task's first owner.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self.newer: _Graves = {}
        """Empty as long as nothing was buried."""
        self.older: _Graves = {}
        """Both to be read by whoever would have to call ``of`` for each task that comes."""
        self._count = 0
        """How many tasks the newer generation has."""

    def __len__(self) -> int:
        return sum(len(tasks) for graves in (self.newer, self.older) for tasks in graves.values())

    def bury(self, client: bytes, task: bytes, attempt: int) -> None:
        """Remember that this attempt, and any earlier one, is over."""
        last = max((tasks[task] for tasks in self.of(client) if task in tasks), default=attempt)
        self.bury_all(client, [(task, max(last, attempt))])

    def bury_all(self, client: bytes, attempts: Sequence[tuple[bytes, int]]) -> None:
        """Remember these as (task, attempt); each was held here, so none was over before."""
        if self._count + len(attempts) > self._limit:
            self.older, self.newer, self._count = self.newer, {}, 0
        tasks = self.newer.setdefault(client, {})
        before = len(tasks)
        for task, attempt in attempts:
            tasks[task] = attempt
        self._count += len(tasks) - before

    def covers(self, client: bytes, task: bytes, attempt: int) -> bool:
        """Tell whether this attempt is over."""
        return any(task in tasks and attempt <= tasks[task] for tasks in self.of(client))

    def of(self, client: bytes) -> tuple[dict[bytes, int], dict[bytes, int]]:
        """Return what is remembered of a client, by task, in two parts, to be read at once, and not changed."""
        return self.newer.get(client, NO_GRAVES), self.older.get(client, NO_GRAVES)
