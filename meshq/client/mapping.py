"""``map``: a function over any iterable, as lazily as it is consumed.

Items are taken from the iterable only as far ahead as keeps all slots busy, so that a million of them never sit
in memory, and the results of a slow consumer do not pile up. Where nobody has said how many are to travel
together, the time that calls take says it: those of a cheap function go by the thousand, each of any other alone.
"""

from __future__ import annotations

import queue
import reprlib
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from meshq.client.future import Future, TaskHandler
from meshq.client.handing_out import Results
from meshq.client.portions import Calls, Ended, Portion, portions
from meshq.core.chunking import Chunking
from meshq.core.pace import MAX_CREDIT
from meshq.errors import ConfigError, EncodingError, QueueFull
from meshq.protocol.chunks import SPLIT, WHOLE
from meshq.tasks import TaskOptions

AHEAD = 2 * MAX_CREDIT
"""Single calls submitted and not yet consumed: twice what a node takes at most."""
MOST_AHEAD = 32 * MAX_CREDIT
"""Calls submitted and not yet consumed, where they travel in chunks that were made up here: ten of the largest, so
that two slots have theirs beside what waits to be consumed; with a quarter of it they idled 10 % of the time."""
MOST_BYTES = 64 * 2**20
"""What may come of the calls submitted and not yet consumed, as far as earlier ones tell, with more than a few."""
_NEWEST = 0.1
"""The weight of the newest portion in the mean size of what comes of a call."""
_MIN_PORTIONS = 64
_LOOK_AGAIN_S = 0.5
"""How often it is seen whether there are more slots, while nothing is known of the calls."""
_PORTIONS_EACH = 3
"""Chunks under way for each slot: one runs, one is at the node, one is on its way."""
_PROBE_EVERY = 64
"""Of calls that are not cheap, each so-manieth goes as a chunk, to see whether they still are not."""
LONGEST_S = 1e9
"""Some thirty years; what waits for far more overflows."""

Submit = Callable[[tuple[Any, ...], bool | str | None], "Future[Any]"]


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


class Mapping:
    """One ``map`` under way; the first calls are on their way when it is made.

    ``chunksize`` None stands for as many as are worth it. ``submit`` takes the arguments of a call, or the columns
    of a chunk and of which kind that is; ``cancel`` takes what is not wanted, ``slots`` says how many there are.
    """

    def __init__(
        self,
        handler: TaskHandler,
        submit: Submit,
        cancel: Callable[[list[Any]], None],
        slots: Callable[[], int],
        calls: Calls,
        *,
        chunksize: int | None,
        ordered: bool,
        return_exceptions: bool,
        timeout: float | None,
    ) -> None:
        self._handler = handler
        self._submit = submit
        self._cancel = cancel
        self._slots = slots
        self._calls = calls
        self._chunksize = chunksize
        self._chunking = Chunking()
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._end_at = None if timeout is None else time.monotonic() + timeout
        self._ahead = 0
        """Calls submitted and not yet consumed."""
        self._mean_bytes: float | None = None
        """What a call takes up, its arguments or what came of it."""
        self._in_hand = False
        """Whether results are about to be handed out."""
        self._sent = 0
        self._line: deque[Portion] = deque()
        """What is to be consumed: the portions in their order, or those that have ended as they did."""
        self._to_send: deque[Portion] = deque()
        """What there was no room for yet."""
        self._under_way: dict[Any, Portion] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """Futures that have ended, until they are looked at."""
        self._refill()

    def results(self) -> Iterator[Any]:
        """Return what comes of the calls, one by one; what is not consumed when it is closed is withdrawn."""
        return Results(self._handed_out())

    def _handed_out(self) -> Generator[Sequence[Any], None, None]:
        try:
            while (ended := self._next()) is not None:
                self._ahead -= len(ended.values)
                self._in_hand = True
                self._refill()
                self._in_hand = False
                yield from self._with_errors(ended) if ended.errors else (ended.values,)
            if self._calls.error is not None:
                raise self._calls.error
        finally:
            self._give_up()

    def __del__(self) -> None:
        if getattr(self, "_under_way", None):  # nobody has asked for a result
            self._give_up()

    # ------------------------------------------------------------------ what comes back

    def _next(self) -> Ended | None:
        """Return what came of the next portion, waiting for it; None at the end."""
        while self._line or self._under_way or self._to_send:
            if self._has_next():
                return self._line.popleft().ended
            if self._under_way:
                self._wait()
            self._refill()
        return None

    def _has_next(self) -> bool:
        return bool(self._line) and self._line[0].ended is not None

    def _wait(self) -> None:
        """Wait until something has ended, and take all in that has; while nothing has, look for new slots too."""
        left = self._left()
        looks_again = self._mean_bytes is None and (left is None or left > _LOOK_AGAIN_S)
        timeout = _LOOK_AGAIN_S if looks_again else left
        if self._done.empty():
            self._handler.turn_until(lambda: not self._done.empty(), timeout)
        try:
            future = self._done.get(timeout=timeout)
        except queue.Empty:
            if looks_again:
                return
            raise TimeoutError("map: the timeout is over, and tasks are unfinished") from None
        self._take_in(self._under_way.pop(future))
        for _ in range(self._done.qsize()):
            self._take_in(self._under_way.pop(self._done.get()))

    def _take_in(self, portion: Portion) -> None:
        ended = portion.open()
        each = portion.size_bytes / portion.count
        mean = self._mean_bytes
        self._mean_bytes = each if mean is None else mean + _NEWEST * (each - mean)
        if ended.for_good:
            self._chunksize = 1
        elif portion.is_split and ended.values:
            self._chunking.observe(len(ended.values), ended.seconds, portion.size_bytes)
        self._replace(portion)

    def _replace(self, portion: Portion) -> None:
        """Have consumed what came of a portion, and send the rest anew."""
        rest = portion.rest(self._chunking.size)
        if not self._ordered:
            self._line.append(portion)
        elif rest:
            place = self._line.index(portion) + 1
            for number, each in enumerate(rest, place):
                self._line.insert(number, each)
        self._to_send.extendleft(reversed(rest))

    def _with_errors(self, ended: Ended) -> Iterator[Sequence[Any]]:
        if self._return_exceptions:
            yield [ended.errors.get(number, value) for number, value in enumerate(ended.values)]
            return
        first = min(ended.errors)
        yield ended.values[:first]
        raise ended.errors[first]

    def _give_up(self) -> None:
        """Withdraw what has not been consumed."""
        self._calls.end()
        self._line.clear()
        self._to_send.clear()
        if self._under_way:
            self._cancel(list(self._under_way))
            self._under_way.clear()

    def _left(self) -> float | None:
        return None if self._end_at is None else max(0.0, self._end_at - time.monotonic())

    # ------------------------------------------------------------------ what goes out

    def _refill(self) -> None:
        """Submit more, as far as there is room."""
        while self._send_all() and (size := self._room()) > 0:
            columns = self._calls.take(size)
            if not columns:
                return
            self._ahead += len(columns[0])
            more = self._portions(columns)
            self._to_send.extend(more)
            if self._ordered:
                self._line.extend(more)

    def _send_all(self) -> bool:
        """Submit what is to be sent; return False where the outbox has no room for it now."""
        while self._to_send:
            portion = self._to_send.popleft()
            try:
                self._send(portion)
            except QueueFull:
                self._to_send.appendleft(portion)
                if not (self._under_way or self._has_next() or self._in_hand):
                    raise  # nothing will be consumed, which could make room
                return False
        return True

    def _room(self) -> int:
        """Return how many calls are to be the next portion; 0 while enough are under way."""
        size = self._next_size()
        return size if self._is_light(size) else 0

    def _is_light(self, size: int) -> bool:
        """Whether what comes of the calls ahead fits in memory, with another portion of ``size`` calls."""
        mean = self._mean_bytes
        most = _MIN_PORTIONS * size if mean is None else MOST_BYTES / max(mean, 1.0)
        return self._ahead < most or self._ahead < _PORTIONS_EACH * max(2, self._slots()) * size

    def _next_size(self) -> int:
        fixed, chunking = self._chunksize, self._chunking
        if fixed is not None:
            return fixed if self._ahead < max(AHEAD, _MIN_PORTIONS * fixed) else 0
        if self._calls.may_change or (chunking.is_known and not chunking.is_cheap):
            return int(self._ahead < AHEAD)
        slots = self._slots()
        most = _PORTIONS_EACH * max(2, slots) if chunking.is_known else max(_MIN_PORTIONS, 2 * slots)
        return chunking.size if len(self._under_way) < most and self._ahead < MOST_AHEAD else 0

    def _portions(self, columns: Sequence[list[Any]]) -> list[Portion]:
        self._sent += 1
        if self._chunksize is not None:
            return portions(columns, self._chunksize, WHOLE)
        if self._chunking.is_known and not self._chunking.is_cheap and self._sent % _PROBE_EVERY:
            return portions(columns, 1, SPLIT)
        return [Portion(columns, SPLIT)]

    def _send(self, portion: Portion) -> None:
        """Submit a portion; of one that cannot travel each call goes, or fails, for itself."""
        try:
            future = self._submit(portion.arguments(), portion.chunk)
        except EncodingError as error:
            portion.refuse(error)
            self._replace(portion)
            return
        portion.sent(future)
        self._under_way[future] = portion
        future.add_done_callback(self._done.put)
