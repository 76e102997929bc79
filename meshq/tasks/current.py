"""``current_task``: what a task can know of itself while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from meshq.ids import format_id


class CurrentTask:
    """The task that runs here. ``id`` is text; ``attempt`` is a number that only grows, whatever was tried before.

    Who writes somewhere with the attempt beside the id can tell what an attempt has written that was given up.
    """

    __slots__ = ("_ends_at", "attempt", "id", "name", "node", "retries")

    def __init__(self, id: str, name: str, attempt: int, retries: int, node: str, ends_at: float | None) -> None:
        self.id = id
        self.name = name
        self.attempt = attempt
        self.retries = retries
        """How many of its attempts have failed and asked for another one."""
        self.node = node
        """NAME@HOST."""
        self._ends_at = ends_at

    @property
    def remaining(self) -> float | None:
        """The seconds that are left until its hard time limit; None where it has none.

        A limit that was set by a control command is not known here, nor the moments that the node has counted
        before the task began.
        """
        return None if self._ends_at is None else max(0.0, self._ends_at - perf_counter())

    def __repr__(self) -> str:
        return f"<CurrentTask {self.name} {self.id}, attempt {self.attempt}>"


class _Running:
    """What the worker of this process runs: set with each run, so it must cost next to nothing."""

    def __init__(self) -> None:
        self.node: str | None = None
        """The node's NAME@HOST; None in a process that is no worker for tasks."""
        self.row: Sequence[Any] | None = None
        """The fields of a ``Run``."""
        self.declared: Mapping[str, Any] = {}
        """The options of its function."""
        self.began = 0.0
        """A reading of ``perf_counter``."""


running = _Running()


def current_task() -> CurrentTask | None:
    """Return the task that runs in this process, also from threads that it has started; None outside of one."""
    row, node = running.row, running.node
    if row is None or node is None:
        return None
    options = row[6] or {}
    limit = options.get("time_limit", running.declared.get("time_limit"))
    ends_at = running.began + limit if isinstance(limit, int | float) else None
    retries = options.get("retries")
    return CurrentTask(format_id(row[1]), row[3], row[2], retries if type(retries) is int else 0, node, ends_at)
