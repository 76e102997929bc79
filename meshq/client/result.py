"""The result of a detached task, by its id."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Generic, Protocol, TypeVar, cast

from meshq.client.future import Future
from meshq.errors import ResultGone
from meshq.ids import format_id, parse_task_id
from meshq.protocol.failures import remote_traceback

R = TypeVar("R")
UNKNOWN = "UNKNOWN"


class ResultSource(Protocol):
    """What an ``AsyncResult`` asks of its mesh."""

    def future_of(self, task_id: bytes) -> Future[Any] | None: ...
    def forget_task(self, task_id: bytes) -> None: ...
    def revoke_task(self, task_id: bytes, *, terminate: bool, signal: str) -> Any: ...


class AsyncResult(Generic[R]):
    """What became of a task, by its id: anything that ``uuid.UUID()`` parses.

    It answers for the tasks that this process has submitted.
    """

    def __init__(self, id: str, source: ResultSource | None = None, future: Future[Any] | None = None) -> None:
        self._task_id = parse_task_id(id)
        self._kept = future
        self._source = source if source is not None else _default_source()

    @property
    def id(self) -> str:
        """The task's id as text."""
        return format_id(self._task_id)

    task_id = id

    @property
    def status(self) -> str:
        """One of PENDING, QUEUED, STARTED, RETRY, DONE, FAILURE, REVOKED, EXPIRED, LOST, UNKNOWN."""
        future = self._future
        return UNKNOWN if future is None else str(future.state)

    @property
    def state(self) -> str:
        """The same as ``status``."""
        return self.status

    @property
    def result(self) -> R | BaseException | None:
        """The value of a task that is DONE, the exception of one that failed, None while it is unfinished."""
        future = self._future
        if future is None or not future.done():
            return None
        error = self._error(future)
        return error if error is not None else cast(R, future.result())

    @property
    def traceback(self) -> str | None:
        """The remote traceback of a task that failed, as text."""
        future = self._future
        error = self._error(future) if future is not None and future.done() else None
        return None if error is None else remote_traceback(error)

    def get(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Return the task's value, waiting for it for at most ``timeout`` seconds (``TimeoutError``).

        Raises what the task raised; with ``propagate=False`` returns that exception instead.
        """
        future = self._required()
        try:
            return cast(R, future.result(timeout))
        except (Exception, concurrent.futures.CancelledError) as error:
            if propagate or not future.done():
                raise
            return cast(R, error)

    def ready(self) -> bool:
        """Return whether the task has ended, in whichever way."""
        future = self._future
        return future is not None and future.done()

    def successful(self) -> bool:
        """Return whether the task is DONE."""
        return self.status == "DONE"

    def failed(self) -> bool:
        """Return whether the task has ended and is not DONE."""
        return self.ready() and not self.successful()

    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any:
        """Withdraw the task; with ``terminate`` also end it by ``signal`` where it runs."""
        return self._source.revoke_task(self._task_id, terminate=terminate, signal=signal)

    def forget(self) -> None:
        """Let go of the task's result here."""
        self._kept = None
        self._source.forget_task(self._task_id)

    @property
    def _future(self) -> Future[Any] | None:
        return self._kept or self._source.future_of(self._task_id)

    def _required(self) -> Future[Any]:
        future = self._future
        if future is None:
            raise ResultGone(f"task {self.id} is not known here: it was submitted elsewhere, or was forgotten")
        return future

    @staticmethod
    def _error(future: Future[Any]) -> BaseException | None:
        try:
            return future.exception()
        except concurrent.futures.CancelledError as error:
            return error

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"


def _default_source() -> ResultSource:
    from meshq.client.default import default_mesh

    return default_mesh()
