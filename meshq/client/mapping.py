"""``map``: a function over any iterable, as lazily as it is consumed.

Items are taken from the iterable only as far ahead as keeps all slots busy, so that a million of them never sit
in memory, and the results of a slow consumer do not pile up.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import queue
import reprlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from meshq.client.future import Future
from meshq.core.pace import MAX_CREDIT
from meshq.errors import ConfigError, EncodingError, QueueFull, RemoteProtocolError
from meshq.protocol.failures import load_failure
from meshq.tasks import TaskOptions

AHEAD = 2 * MAX_CREDIT
"""Items submitted and not yet consumed: twice what a node takes at most."""
_MIN_TASKS_AHEAD = 64
LONGEST_S = 1e9
"""Some thirty years; what waits for far more overflows."""

Submit = Callable[[tuple[Any, ...], bool], "Future[Any]"]
Pending = concurrent.futures.Future[Any]
Cancel = Callable[["list[Pending]"], None]


def check(chunksize: int | None, timeout: float | None) -> None:
    """Raise ``ConfigError`` for arguments that make no sense."""
    if chunksize is not None and (not isinstance(chunksize, int) or chunksize < 1):
        raise ConfigError(f"chunksize must be a whole number from 1, or None (got {chunksize!r})")
    if timeout is not None:
        check_seconds("timeout", timeout)


def check_seconds(what: str, value: object) -> None:
    """Raise ``ConfigError`` for what is not a number of seconds, or more than can be waited for."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_S:
        shown = reprlib.repr(value)
        raise ConfigError(f"{what} must be a number of seconds, from 0 to {LONGEST_S:g} (got {shown})")


def check_keyless(what: str, options: TaskOptions) -> None:
    """Raise ``ConfigError`` for an idempotency key, which would make all calls one task."""
    if options.idempotency_key is not None:
        raise ConfigError(f"{what}: an idempotency_key is for one call, as calls with the same key are one task")


class Mapping(Iterator[Any]):
    """The iterator that ``map`` returns; the first calls are on their way when it is made.

    ``submit`` takes the arguments of a call, or with True a chunk of them; ``cancel`` takes what is not wanted.
    """

    def __init__(
        self,
        submit: Submit,
        cancel: Cancel,
        calls: Iterable[tuple[Any, ...]],
        *,
        chunksize: int,
        ordered: bool,
        return_exceptions: bool,
        timeout: float | None,
    ) -> None:
        self._submit = submit
        self._cancel = cancel
        self._calls = iter(calls)
        self._chunksize = chunksize
        self._ahead = max(AHEAD // chunksize, _MIN_TASKS_AHEAD)
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._end_at = None if timeout is None else time.monotonic() + timeout
        self._pending: dict[Pending, int] = {}
        """What is submitted and not consumed, in order, with the number of items of each."""
        self._order: deque[Pending] = deque()
        """The same in the order of the items, where that counts; a dict would be slow to find its oldest."""
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._chunk: deque[tuple[bool, Any]] = deque()
        """What is left of the chunk being consumed: whether it is a failure as data, and the value, of each."""
        self._refill()

    def __next__(self) -> Any:
        try:
            if self._chunk:
                return self._item(*self._chunk.popleft())
            if not self._pending:
                self._refill()  # for which there may have been no room
            if not self._pending:
                raise StopIteration
            future, count = self._next_future()
            self._refill(in_hand=True)
            self._chunk.extend(self._values(future, count))
            return self._item(*self._chunk.popleft())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Withdraw what has not been consumed."""
        self._calls = iter(())
        self._chunk.clear()
        self._cancel(list(self._pending))
        self._pending.clear()

    def __del__(self) -> None:
        if getattr(self, "_pending", None):
            self.close()

    def _refill(self, *, in_hand: bool = False) -> None:
        """Submit more, as far as there is room; ``in_hand``: one no longer pending may be unfinished."""
        while len(self._pending) < self._ahead:
            batch = tuple(itertools.islice(self._calls, self._chunksize))
            if not batch:
                return
            try:
                self._add(
                    self._submit(batch[0], False) if self._chunksize == 1 else self._submit(batch, True),
                    len(batch),
                )
            except QueueFull:
                if not (self._pending or in_hand):
                    raise
                self._calls = itertools.chain(batch, self._calls)  # when some are consumed there is room
                return
            except EncodingError as error:
                if not self._return_exceptions:
                    raise
                self._add_each(batch, error)

    def _add(self, future: Pending, count: int) -> None:
        self._pending[future] = count
        if self._ordered:
            self._order.append(future)
        else:
            future.add_done_callback(self._done.put)

    def _add_each(self, batch: tuple[Any, ...], error: EncodingError) -> None:
        """Submit the items of a chunk on their own, as one of them cannot travel: its error takes its place."""
        for item in batch:
            try:
                if len(batch) == 1:
                    raise error
                self._add(self._submit((item,), True), 1)
            except EncodingError as own_error:
                failed: Pending = concurrent.futures.Future()
                failed.set_exception(own_error)
                self._add(failed, 1)

    def _left(self) -> float | None:
        return None if self._end_at is None else max(0.0, self._end_at - time.monotonic())

    def _next_future(self) -> tuple[Pending, int]:
        if self._ordered:
            future = self._order.popleft()
        else:
            try:
                future = self._done.get(timeout=self._left())
            except queue.Empty:
                raise self._over() from None
        return future, self._pending.pop(future)

    def _values(self, future: Pending, count: int) -> list[tuple[bool, Any]]:
        try:
            value = future.result(self._left())
        except Exception as error:
            if not future.done():
                self._pending[future] = count  # to be withdrawn with the rest
                if isinstance(error, TimeoutError):
                    raise self._over() from None
                raise
            if not self._return_exceptions:
                raise
            return [(False, error)] * count
        if self._chunksize == 1:
            return [(False, value)]
        if not isinstance(value, list) or len(value) != count:
            raise RemoteProtocolError(f"a chunk of {count} items came back with another shape")
        return [(bool(failed), item) for failed, item in value]

    def _item(self, failed: bool, value: Any) -> Any:
        if not failed:
            return value
        error = load_failure(value)
        if self._return_exceptions:
            return error
        raise error

    @staticmethod
    def _over() -> TimeoutError:
        return TimeoutError("map: the timeout is over, and tasks are unfinished")
