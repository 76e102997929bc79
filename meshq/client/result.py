"""The result of a task, by its id, from whichever process."""

from __future__ import annotations

import concurrent.futures
import uuid
from typing import Any, Generic, Protocol, TypeVar, cast

from meshq.client import asking
from meshq.client.asking import AskedMesh, Report
from meshq.client.future import Future
from meshq.client.mapping import check_seconds
from meshq.ids import format_id, parse_task_id
from meshq.protocol.failures import remote_traceback

R = TypeVar("R")


class ResultSource(AskedMesh, Protocol):
    """What an ``AsyncResult`` asks of its mesh."""

    def future_of(self, task_id: bytes) -> Future[Any] | None: ...
    def forget_task(self, task_id: bytes) -> None: ...
    def revoke_tasks(self, task_ids: list[bytes], *, terminate: bool, signal: str) -> Any: ...


class AsyncResult(Generic[R]):
    """What became of a task, by its id: anything that ``uuid.UUID()`` parses. Raises ``ConfigError``.

    What this process has submitted it knows itself; of any other task the nodes are asked, each time until it
    has ended, for at most a second (three, where none is seen yet; then ``NoNodes``). A result that is a pickle
    is loaded only where this process has submitted the task, or says ``serializer="pickle"``. ``source`` is the
    ``Mesh`` to ask, else the default one. It can be pickled, by its id, and is then of the default mesh.
    """

    def __init__(
        self,
        id: str | bytes | uuid.UUID,
        source: ResultSource | None = None,
        future: Future[Any] | None = None,
        *,
        serializer: str = "",
    ) -> None:
        self._task_id = parse_task_id(id)
        self._given_source = source
        self._kept = future
        self._serializer = serializer
        self._ended: Report | None = None
        """What the nodes have said of it when it had ended."""

    @property
    def id(self) -> str:
        """The task's id as text."""
        return format_id(self._task_id)

    task_id = id

    @property
    def status(self) -> str:
        """One of PENDING, QUEUED, STARTED, RETRY, DONE, FAILURE, REVOKED, EXPIRED, LOST, UNKNOWN.

        It is UNKNOWN, too, where its mesh was closed before its end: ``get`` raises ``MeshClosed`` then.
        """
        future = self._future
        if future is None:
            return str(self._ask(value=False).state)
        return asking.UNKNOWN if future.abandoned else str(future.state)

    @property
    def state(self) -> str:
        """The same as ``status``."""
        return self.status

    @property
    def result(self) -> R | BaseException | None:
        """The value of a task that is DONE, the exception of one that failed, None while it is unfinished.

        Raises ``ResultGone`` for a task that has ended, and whose result is not kept.
        """
        value, error = self._value_or_error()
        return value if error is None else error

    @property
    def traceback(self) -> str | None:
        """The remote traceback of a task that failed, as text."""
        error = self._value_or_error()[1] if self.failed() else None
        return None if error is None else remote_traceback(error)

    def get(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Return the task's value, waiting for it for at most ``timeout`` seconds (``TimeoutError``).

        Raises what the task raised; with ``propagate=False`` returns that exception instead. A task that nobody
        knows is waited for for a second at most; then ``ResultGone``, as for one whose result is not kept.
        """
        _check_timeout(timeout)
        future = self._future
        if future is None:
            return self._get_asked(timeout, propagate)
        try:
            return cast(R, future.result(timeout))
        except (Exception, concurrent.futures.CancelledError) as error:
            if propagate or not future.done():
                raise
            return cast(R, error)

    def ready(self) -> bool:
        """Return whether the task has ended, in whichever way, or nothing more will be heard of it."""
        future = self._future
        return self._ask(value=False).has_ended if future is None else future.done()

    def successful(self) -> bool:
        """Return whether the task is DONE."""
        return self.status == "DONE"

    def failed(self) -> bool:
        """Return whether it is ready, and not DONE."""
        return self.ready() and not self.successful()

    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any:
        """Withdraw the task; with ``terminate`` also end it by ``signal`` where it runs."""
        future = self._future
        if future is not None:
            return future.revoke(terminate=terminate, signal=signal)
        return self._source.revoke_tasks([self._task_id], terminate=terminate, signal=signal)

    def forget(self) -> None:
        """Let go of the task's result, here and at the nodes; returns when they have. Raises ``NoNodes``."""
        self._kept = self._ended = None
        self._source.forget_task(self._task_id)
        asking.forget(self._source, self._task_id)

    # ------------------------------------------------------------------ who knows

    @property
    def _source(self) -> ResultSource:
        return self._given_source if self._given_source is not None else _default_source()

    @property
    def _future(self) -> Future[Any] | None:
        return self._kept or self._source.future_of(self._task_id)

    def _ask(self, *, value: bool) -> Report:
        """Return what the nodes know of the task; they are asked no more when it has ended."""
        if self._ended is not None and self._ended.with_value >= value:
            return self._ended
        report = asking.ask(self._source, self._task_id, value=value)
        if report.has_ended:
            self._ended = report
        return report

    def _value_or_error(self) -> tuple[Any, BaseException | None]:
        """Return the value, or the exception, of a task that has ended; neither of one that has not."""
        future = self._future
        if future is None:
            report = self._ask(value=True)
            return report.settle(self._task_id, self._serializer) if report.has_ended else (None, None)
        if not future.done():
            return None, None
        try:
            error = future.exception()
        except concurrent.futures.CancelledError as cancelled:
            error = cancelled
        return (None, error) if error is not None else (future.result(), None)

    def _get_asked(self, timeout: float | None, propagate: bool) -> R:
        if self._ended is None or not self._ended.with_value:
            self._ended = asking.wait_until_ended(self._source, self._task_id, timeout)
        value, error = self._ended.settle(self._task_id, self._serializer)
        if error is None:
            return cast(R, value)
        if propagate:
            raise error
        return cast(R, error)

    # ------------------------------------------------------------------ as a value

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_default_mesh, (self.id, self._serializer)

    def __eq__(self, other: object) -> bool:
        return self._task_id == other._task_id if isinstance(other, AsyncResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._task_id)

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"


def _check_timeout(timeout: float | None) -> None:
    """Raise ``ConfigError`` for what is no number of seconds; less than none is what may be left of some."""
    if timeout is not None and not (isinstance(timeout, int | float) and timeout < 0):
        check_seconds("timeout", timeout)


def _of_default_mesh(id: str, serializer: str) -> AsyncResult[Any]:
    return AsyncResult(id, serializer=serializer)


def _default_source() -> ResultSource:
    from meshq.client.default import default_mesh

    return default_mesh()
