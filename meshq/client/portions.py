"""The portions in which a ``map`` travels: single calls, and chunks of calls, each one task."""

from __future__ import annotations

from collections.abc import Sequence
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
