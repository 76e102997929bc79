"""The future of one task: a ``concurrent.futures.Future`` that knows its task."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Protocol, TypeVar, cast

from meshq.client.outcomes import decode
from meshq.core.owned import Outcome, OwnedTask, TaskState
from meshq.errors import MeshqError
from meshq.ids import format_id

T = TypeVar("T")


class _Undecoded:
    """A result as it came over the wire: decoded by whoever asks for it, not by the thread of the sockets."""

    __slots__ = ("outcome",)

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class TaskHandler(Protocol):
    """What a future asks of the mesh that it belongs to."""

    def withdraw(self, task_id: bytes, timeout: float) -> bool: ...
    def revoke_task(self, task_id: bytes, *, terminate: bool, signal: str) -> Any: ...
    def in_loop(self) -> bool: ...


WITHDRAW_TIMEOUT_S = 2.0
"""How long ``cancel`` waits for the node's word; a node that is silent for longer is suspect anyway."""


class Future(concurrent.futures.Future[T]):
    """The future of a task of this process. ``task_id`` is the task's id as text.

    It behaves as the standard one. ``cancel`` asks the node where the task was sent already, and returns True
    only if the task was withdrawn before it started.
    """

    def __init__(self, task: OwnedTask, handler: TaskHandler) -> None:
        super().__init__()
        self._task = task
        self._handler = handler

    @property
    def id(self) -> bytes:
        """The task's id as its 16 bytes."""
        return self._task.id

    @property
    def task_id(self) -> str:
        """The task's id as text."""
        return format_id(self._task.id)

    @property
    def is_detached(self) -> bool:
        """Whether the task outlives this process, once a node has accepted it."""
        return self._task.detached

    @property
    def is_accepted(self) -> bool:
        """Whether a node has accepted the task."""
        return self._task.accepted

    @property
    def state(self) -> TaskState:
        """Where the task is, as far as is known here."""
        return self._task.state

    def running(self) -> bool:
        """Return True while a worker runs the task, as far as is known here."""
        return self._task.state is TaskState.STARTED

    def cancel(self) -> bool:
        """Withdraw the task unless it runs; return whether that was done."""
        if self.cancelled():
            return True
        if self.done() or self.running():
            return False
        return self._handler.withdraw(self._task.id, WITHDRAW_TIMEOUT_S)

    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any:
        """Withdraw the task; with ``terminate`` also end it by ``signal`` where it runs.

        Returns the nodes' replies; see ``Control.revoke``.
        """
        return self._handler.revoke_task(self._task.id, terminate=terminate, signal=signal)

    def result(self, timeout: float | None = None) -> T:
        """Return the task's value, or raise what it raised; ``TimeoutError`` after ``timeout`` seconds."""
        if not self.done() and self._handler.in_loop():
            raise MeshqError(
                "a callback of a future must not wait for another one: it runs in the thread that would settle it"
            )
        value: Any = super().result(timeout)
        if type(value) is _Undecoded:
            # Two threads may both do this; they get equal values, and one of them stays.
            value = self._result = decode(value.outcome)
        return cast(T, value)

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of a task that is DONE. For the mesh alone."""
        self.set_result(_Undecoded(outcome))  # type: ignore[arg-type]

    def settle_cancelled(self) -> None:
        """Take note that the task was withdrawn. For the mesh alone."""
        if super().cancel():
            self.set_running_or_notify_cancel()
