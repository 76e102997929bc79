"""The future of a task that another process has submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from meshq.client.future import Future, TaskHandler

_TOO_LATE = frozenset({"running", "terminated", "finished", "signalled, still runs"})
"""What nodes may say of a task that was revoked and is not withdrawn."""


class AttachingMesh(TaskHandler, Protocol):
    """The mesh that follows the task, which is not its own."""

    def has_nodes(self) -> bool: ...
    def explain_absence(self) -> str: ...
    def on_attached_settled(self) -> None: ...


class Attached(Future[Any]):
    """What nodes know of the task, and at last how it ended.

    ``serializer`` is the one that it was submitted with, "" where that is not known; ``settle_withdrawn`` settles
    this future as cancelled, unless it has ended, and tells whether it is.
    """

    def __init__(
        self,
        mesh: AttachingMesh,
        task_id: bytes,
        serializer: str,
        settle_withdrawn: Callable[[Attached], bool],
    ) -> None:
        super().__init__(mesh, task_id, "", serializer)
        self._settle_withdrawn = settle_withdrawn

    def cancel(self) -> bool:
        """Revoke the task unless it runs; return whether all nodes have said that it never will.

        A callback of a future cannot do this: there it is False.
        """
        if self.cancelled():
            return True
        if self.done() or self.running() or self._handler.in_loop():
            return False
        replies = self.revoke()
        said = {(reply.get("ok") or {}).get(self.task_id) for reply in replies.by_node().values()}
        is_withdrawn = "dropped" in said and not said & _TOO_LATE and not replies.missing
        return is_withdrawn and self._settle_withdrawn(self)
