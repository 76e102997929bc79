"""The future of one task: a ``concurrent.futures.Future`` that knows its task, and costs little.

A script may hold a million of them, most of which nobody waits for before they are settled. So the condition
and the lists that the standard future makes at once are made here when they are first asked for, and a future
that nobody has looked at is settled without one. Rule for that: a condition is made, and the lack of one is acted
upon, under one lock; where there is a condition, the state changes only under it.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from meshq.client.outcomes import decode
from meshq.core.owned import Outcome, OwnedTask, TaskState
from meshq.errors import MeshClosed
from meshq.ids import format_id
from meshq.protocol.payload import Payload, payload_size

T = TypeVar("T")
_making = threading.RLock()
"""Whoever holds it may have to do what the garbage collector has found to do, which may be to look at a future."""


def _forked() -> None:
    """Have a lock that nobody holds: another thread of the parent may have held the old one just then."""
    global _making
    _making = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
PENDING, FINISHED, CANCELLED_AND_NOTIFIED = "PENDING", "FINISHED", "CANCELLED_AND_NOTIFIED"
"""The standard future's names of its states."""
_SETTLED = frozenset({FINISHED, "CANCELLED", CANCELLED_AND_NOTIFIED})
_UNFINISHED = frozenset({TaskState.PENDING, TaskState.QUEUED, TaskState.STARTED, TaskState.RETRY})


class TaskHandler(Protocol):
    """What a future asks of the mesh that it belongs to."""

    def withdraw(self, task_id: bytes, timeout: float) -> bool: ...
    def revoke_tasks(self, task_ids: list[bytes], *, terminate: bool, signal: str) -> Any: ...
    def in_loop(self) -> bool: ...
    def turn_until(self, done: Callable[[], bool], timeout: float | None) -> None: ...


WITHDRAW_TIMEOUT_S = 2.0
"""How long ``cancel`` waits for the node's word; a node that is silent for longer is suspect anyway."""


class _Lazy(concurrent.futures.Future[T]):
    """The standard future, with what it rarely needs made on demand."""

    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _lazy_condition: threading.Condition | None = None
    _lazy_waiters: list[Any] | None = None
    _lazy_callbacks: list[Any] | None = None

    def __init__(self) -> None:
        pass  # all is made on demand; the standard one would make it now

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        if self._lazy_condition is None:
            with _making:
                if self._lazy_condition is None:
                    self._lazy_condition = threading.Condition()
        return self._lazy_condition

    # The standard future calls these two with its condition held.

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._lazy_waiters is None:
            self._lazy_waiters = []
        return self._lazy_waiters

    @property
    def _done_callbacks(self) -> list[Any]:
        if self._lazy_callbacks is None:
            self._lazy_callbacks = []
        return self._lazy_callbacks

    def _finish(self, state: str, tell: str) -> None:
        """Take what was just set as final; ``tell`` is the waiters' method for it."""
        with _making:
            if self._lazy_condition is None:
                self._state = state
                return
        with self._lazy_condition:
            self._state = state
            for waiter in self._lazy_waiters or ():
                getattr(waiter, tell)(self)
            self._lazy_condition.notify_all()
        if self._lazy_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined]
            self._lazy_callbacks = None  # what they refer to may well refer to this


class Future(_Lazy[T], OwnedTask):
    """The future of a task of this process, and that task itself. ``task_id`` is the task's id as text.

    It behaves as the standard one. ``cancel`` asks the node where the task was sent already, and returns True
    only if the task was withdrawn before it started. One object for both, since a script may hold a million, and
    the garbage collector looks at each of them again and again.
    """

    # In a dict, made when the first of them is set late, these would take 200 bytes more.
    __slots__ = ("_encoded", "_encoding", "_handler", "_lazy_condition", "_result", "_state")
    _encoded: Payload | None
    """The value that nobody has asked for yet."""
    _encoding: str

    def __init__(
        self,
        handler: TaskHandler,
        id: bytes,
        function: str = "",
        serializer: str = "",
        payload: Payload = b"",
        detached: bool = False,
    ) -> None:
        OwnedTask.__init__(self, id, function, serializer, payload, detached)
        self._handler = handler
        self._state = PENDING
        self._result = self._encoded = self._lazy_condition = None
        self._encoding = ""

    @property
    def task_id(self) -> str:
        """The task's id as text."""
        return format_id(self.id)

    def running(self) -> bool:
        """Return True while a worker runs the task, as far as is known here."""
        return self.state is TaskState.STARTED

    def cancel(self) -> bool:
        """Withdraw the task unless it runs; return whether that was done."""
        if self.cancelled():
            return True
        if self.done() or self.running():
            return False
        return self._handler.withdraw(self.id, WITHDRAW_TIMEOUT_S)

    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any:
        """Withdraw the task; with ``terminate`` also end it by ``signal`` where it runs.

        Returns the nodes' replies; see ``Control.revoke``.
        """
        return self._handler.revoke_tasks([self.id], terminate=terminate, signal=signal)

    def result(self, timeout: float | None = None) -> T:
        """Return the task's value, or raise what it raised; ``TimeoutError`` after ``timeout`` seconds."""
        if self._state != FINISHED:
            timeout = self._wait(timeout)
        encoded = self._encoded
        if self._state != FINISHED or (encoded is None and self._exception is not None):
            super().result(timeout)
            encoded = self._encoded
        if encoded is not None:
            # Decoded by whoever asks, not by the thread of the sockets. Two threads may both do it; they get
            # equal values, and one of them stays.
            self._result = decode(encoded, self._encoding, self.serializer)
            self._encoded = None
        result: T = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None; ``TimeoutError`` after ``timeout`` seconds."""
        return super().exception(self._wait(timeout))

    @property
    def abandoned(self) -> bool:
        """Whether its mesh was closed before the end of its task was known."""
        return isinstance(self._exception, MeshClosed) and self.state in _UNFINISHED

    def __repr__(self) -> str:
        return f"<Future {self.task_id} {self._description()}>"

    def _description(self) -> str:
        if self._exception is not None:
            return f"finished raised {type(self._exception).__name__}"
        if self._is_settled():
            return "finished" if self._state == FINISHED else "cancelled"
        return "running" if self.running() else "pending"

    @property
    def result_bytes(self) -> int:
        """What the value takes up as it came, while nobody has asked for it; 0 where that is not known."""
        encoded = self._encoded
        return 0 if encoded is None else payload_size(encoded)

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of a task that is DONE. For the mesh alone."""
        self._encoded, self._encoding = outcome.payload, outcome.serializer
        self._finish(FINISHED, "add_result")

    def settle_failed(self, error: BaseException) -> None:
        """Take the exception of a task that is not DONE. For the mesh alone."""
        self._exception = error
        self._finish(FINISHED, "add_exception")

    def settle_cancelled(self) -> None:
        """Take note that the task was withdrawn. For the mesh alone."""
        self._finish(CANCELLED_AND_NOTIFIED, "add_cancelled")

    def _wait(self, timeout: float | None) -> float | None:
        """Help to bring the result about; return what is left of the timeout."""
        if self._state in _SETTLED:
            return timeout
        if timeout is None:
            self._handler.turn_until(self._is_settled, None)
            return None
        began_at = time.monotonic()
        self._handler.turn_until(self._is_settled, timeout)
        return max(0.0, timeout - (time.monotonic() - began_at))

    def _is_settled(self) -> bool:
        return self._state in _SETTLED


Ended = list[tuple[Future[Any], Outcome]]
"""Futures whose tasks are DONE."""


def settle_all(ended: Ended) -> None:
    """Settle futures, those that nobody has looked at under one lock. For the mesh alone.

    All are settled, even if a callback raises what ends a thread, ``SystemExit`` say; that is raised in the end.
    """
    looked_at = []
    fatal: BaseException | None = None
    with _making:
        for each in ended:
            future, outcome = each
            if future._lazy_condition is None:
                _, future._encoding, future._encoded, _ = outcome
                future._state = FINISHED
            else:
                looked_at.append(each)
    for future, outcome in looked_at:
        try:
            future.settle(outcome)
        except BaseException as error:
            fatal = fatal or error
    if fatal is not None:
        raise fatal
