"""The portions in which a ``map`` travels: single calls, and chunks of calls, each one task."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from meshq.client.future import Future
from meshq.client.outcomes import failure_of
from meshq.errors import (
    ChunkRefused,
    RemoteProtocolError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLost,
)
from meshq.protocol.chunks import SPLIT, read_chunk_result
from meshq.protocol.payload import payload_size

ANEW = (ChunkRefused, WorkerLost, TimeLimitExceeded, SoftTimeLimitExceeded, RemoteProtocolError)
"""What became of a chunk that was put together unasked: its calls have a right to ends of their own."""

_APART = 32
_FIXED = frozenset({int, float, complex, bool, str, bytes, tuple, type(None)})
"""Types of items that a generator cannot change once it has yielded them."""


class Calls:
    """The arguments of the calls to come, in columns; ``head`` goes before each item."""

    def __init__(self, head: Sequence[Any], iterables: Sequence[Iterable[Any]]) -> None:
        self.may_change = False
        """Whether an item may be changed when the next one is taken, as by a generator that uses it again."""
        self.error: Exception | None = None
        """What an iterable has raised: nothing more is to come."""
        self._single = not head and len(iterables) == 1
        self._fleeting = [False] * len(head) + [iter(each) is each for each in iterables]
        self._rows: Iterator[Any]
        if self._single:
            self._rows = iter(iterables[0])
        else:
            self._rows = zip(*map(itertools.repeat, head), *iterables, strict=False)

    def take(self, count: int) -> Sequence[list[Any]]:
        """Return the next ``count`` calls, or fewer at the end; nothing where there are none."""
        rows: list[Any] = []
        try:
            rows.extend(itertools.islice(self._rows, count))  # on an error it keeps what there was before
        except Exception as error:
            self.error = error
            self.end()
        if not rows:
            return []
        first = (rows[0],) if self._single else rows[0]
        if any(each and type(item) not in _FIXED for each, item in zip(self._fleeting, first, strict=True)):
            self.may_change = True
        return [rows] if self._single else list(map(list, zip(*rows, strict=True)))

    def end(self) -> None:
        """Take nothing more."""
        self._rows = iter(())


class Ended(NamedTuple):
    """What came of the first calls of a portion: values, and errors by their numbers."""

    values: list[Any]
    errors: dict[int, BaseException]
    seconds: float = 0.0
    singly: bool = False
    """Whether the calls after these are to be sent one by one."""
    for_good: bool = False
    """Whether that holds for all calls to come."""


class Portion:
    """Calls that travel together. ``columns`` has a list for each argument; ``chunk`` is None for one call."""

    __slots__ = ("chunk", "columns", "count", "ended", "future", "size_bytes")

    def __init__(self, columns: Sequence[list[Any]], chunk: bool | str | None) -> None:
        self.columns = columns
        self.chunk = chunk
        self.count = len(columns[0])
        self.future: Future[Any] | None = None
        self.ended: Ended | None = None
        self.size_bytes = 0
        """What its arguments take up, or what came of them where that is more."""

    @property
    def is_split(self) -> bool:
        """Whether it was put together unasked, and what does not come back is to be sent anew."""
        return self.chunk == SPLIT

    def arguments(self) -> tuple[Any, ...]:
        """Return what is to be submitted."""
        return tuple(self.columns if self.chunk is not None else (column[0] for column in self.columns))

    def sent(self, future: Future[Any]) -> None:
        """Take note that it was submitted."""
        self.future = future
        self.size_bytes = payload_size(future.payload)

    def refuse(self, error: BaseException) -> None:
        """End it, as it cannot travel: one call with the error, others to be sent one by one."""
        self.ended = Ended([None], {0: error}) if self.chunk is None else Ended([], {}, singly=True)

    def open(self) -> Ended:
        """Return what has come of it; its future has ended."""
        assert self.future is not None, "a portion that has ended was sent"
        self.size_bytes = max(self.size_bytes, self.future.result_bytes)
        try:
            value = self.future.result(0)
            ended = Ended([value], {}) if self.chunk is None else self._read(value)
        except Exception as error:
            if self.is_split and isinstance(error, ANEW):
                ended = Ended([], {}, 0.0, True, isinstance(error, ChunkRefused))
            else:
                ended = Ended([None] * self.count, dict.fromkeys(range(self.count), error))
        self.ended = ended
        return ended

    def _read(self, value: Any) -> Ended:
        values, failures, seconds, singly = read_chunk_result(value, self.count, self.is_split)
        errors = {number: failure_of(failure) for number, failure in failures}
        return Ended(values, errors, seconds, singly, singly)

    def rest(self, size: int) -> list[Portion]:
        """Return the calls that have not come back, as portions of this size, or of one call each.

        Long calls rarely come alone: where one has held up the others, the next few go apart in any case.
        """
        assert self.ended is not None, "only what has ended is known to be short"
        first = len(self.ended.values)
        last = self.count if self.ended.singly else first + _APART
        apart = portions([column[first:last] for column in self.columns], 1, SPLIT)
        return apart + portions([column[last:] for column in self.columns], size, SPLIT)


def portions(columns: Sequence[list[Any]], size: int, chunk: bool | str) -> list[Portion]:
    """Return calls as portions of ``size`` calls, chunks of this kind; those of one call are none."""
    starts = range(0, len(columns[0]), size)
    kind = None if size == 1 else chunk
    return [Portion([column[start : start + size] for column in columns], kind) for start in starts]
