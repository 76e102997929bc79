"""What a node keeps of tasks that are over: the state for an hour, small results as long as there is room.

So that ``is_done`` and ``AsyncResult(id)`` answer from any process, long after the owner has its result.
"""

from __future__ import annotations

from meshq.protocol.messages import Result


class Kept:
    """The results of tasks that have been acknowledged, or whose owner has left."""

    def put(self, result: Result, now: float) -> None:
        """Keep a result; without its payload where that is large."""

    def find(self, task: bytes, now: float) -> Result | None:
        """Return what is kept of a task; ``serializer`` is "" where its payload is not."""
        return None

    def forget(self, task: bytes) -> None:
        """Let go of a task's result."""
