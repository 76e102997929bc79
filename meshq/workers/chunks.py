"""The calls of a chunk, made one after the other as fast as Python can.

A chunk that may come back short is ended by the control thread when it takes too long, so that others can help
with the rest: that thread empties the list which the calls are taken from, and the loop, which is C, finds it at
its end after the call in progress. So no call pays for the chance of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from meshq.errors import Retry
from meshq.protocol.chunks import ChunkResult
from meshq.workers.soft_limit import SoftLimit

LATE_S = 0.02
"""How long a chunk that was expected to take some 5 ms may last."""


class Chunks:
    """Makes the calls. ``rouse`` has the control thread ask ``look_in_ms`` anew."""

    def __init__(self, soft: SoftLimit) -> None:
        self._soft = soft
        soft.chunk = Chunks.make_calls.__code__
        self.rouse: Callable[[], None] = lambda: None
        self._current: tuple[list[Any], float] | None = None
        """The first column of the chunk that may be cut short, and when that is to happen."""
        self._is_awaited = False
        """Whether the control thread looks by itself before a chunk that begins now is late: to rouse it for each
        took 4 % of the time."""

    def make_calls(
        self,
        call: Callable[..., Any],
        columns: Sequence[list[Any]],
        describe: Callable[[BaseException], bytes],
        is_split: bool,
    ) -> ChunkResult:
        """Call ``call`` with each row of the columns; ``describe`` makes a failure of what a call raises."""
        values: list[Any] = []
        failures: list[list[Any]] = []
        singly, soft = False, self._soft
        count = min(map(len, columns), default=0)
        began = perf_counter()
        if is_split and count > 1:
            self._current = columns[0], began + LATE_S
            if not self._is_awaited:
                self.rouse()
        rows = map(call, *columns)
        while not singly:
            try:
                soft.inside = True
                values.extend(rows)
                soft.inside = False
                if len(values) == count or not columns[0]:
                    break  # all were made, or the chunk was ended
                raise StopIteration  # a call has raised it, which a map takes for its end
            except BaseException as error:
                soft.inside = False
                singly = is_split and isinstance(error, Retry)
                # What was raised between two calls, as by a signal's handler, is none of theirs.
                if len(values) < count and not singly:
                    failures.append([len(values), describe(error)])
                    values.append(None)
        self._current = None
        return ChunkResult(values, failures, perf_counter() - began, singly)

    # ---- for the control thread

    def look_in_ms(self) -> int | None:
        """Return in how long the thread must look again, as a chunk is late then; None: there is none."""
        # First say that it may not look, then see: a chunk that begins after that finds this said, and rouses it.
        self._is_awaited = False
        current = self._current
        if current is None or not current[0]:
            return None  # there is none, or it was ended, and its last call is still being made
        self._is_awaited = True
        return max(1, int((current[1] - perf_counter()) * 1000) + 1)

    def remind(self) -> None:
        """End a chunk that is late; one that has just ended takes no harm."""
        current = self._current
        if current is not None and perf_counter() >= current[1]:
            current[0].clear()  # whatever chunk is current now, this one is late
