"""What a node keeps of tasks that are over: the state for an hour, small results as long as there is room.

So that ``is_done`` and ``AsyncResult(id)`` answer from any process, long after the owner has its result.

Every task passes here, so none is looked at again to make room: what is kept stands in *generations*, plain
dicts, of which the newest is closed when it is full or has lasted its time, and the oldest goes in one piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Generic, TypeAlias, TypeVar

from meshq.core.budget import SMALL_BYTES
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import Payload, join_payload, payload_size

KEPT_S = 3600.0
"""For how long a state is kept, where there is room."""
MAX_STATES = 200_000
"""Some 40 MB, up to twice that as the heap gets holes. The threat: 20,000 tasks a second, day and night."""
MAX_PAYLOAD_BYTES = 64 * 1024
"""The largest result that is kept with its value."""
MAX_BYTES = 64 * 1024**2
"""What all values may take up."""
_OVERHEAD = 128
"""A value of one byte takes memory as well."""
_SMALL_WEIGHT = SMALL_BYTES + _OVERHEAD
"""The most that a small value takes up."""
_GENERATIONS = 20
"""So few that a search is quick, so many that letting go of one takes no more than a millisecond."""
_LOST = int(Status.WORKER_LOST)  # looked up once: a member of an enum takes longer to find than to compare

_State: TypeAlias = tuple[int, int, str]
"""Attempt, status and serializer."""
V = TypeVar("V")


class _Generations(Generic[V]):
    """Values by task, the newest generation apart from the older ones; all together weigh at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self.newest: dict[bytes, V] = {}
        self.share = limit // _GENERATIONS
        """What the newest may weigh before it is closed."""
        self._room = limit - self.share
        self._older: deque[tuple[float, int, dict[bytes, V]]] = deque()
        """Each with the instant when it was closed, and its weight; the newest first."""

    def turn(self, now: float, weight: int) -> None:
        """Begin a new generation: ``weight`` is that of the one before; the oldest make room for it."""
        self._older.appendleft((now, weight, self.newest))
        self.newest = {}
        self._room -= weight
        while self._room < 0:
            self._drop()
        self.expire(now)

    def expire(self, now: float) -> None:
        """Let go of the generations in which all has had its time."""
        while self._older and self._older[-1][0] + KEPT_S <= now:
            self._drop()

    def _drop(self) -> None:
        self._room += self._older.pop()[1]

    def find(self, task: bytes) -> V | None:
        """Return the newest value of a task."""
        if task in self.newest:
            return self.newest[task]
        return next((values[task] for _, _, values in self._older if task in values), None)

    def forget(self, task: bytes) -> bool:
        """Let go of a task's values; tell whether there was one."""
        found = [values.pop(task, None) for values in (self.newest, *(values for _, _, values in self._older))]
        return any(value is not None for value in found)


class Kept:
    """The results of tasks that have been acknowledged, or whose owner has left."""

    def __init__(self) -> None:
        self._states: _Generations[_State] = _Generations(MAX_STATES)
        self._values: _Generations[bytes] = _Generations(MAX_BYTES)
        """The payloads of those that are small."""
        self._bytes = 0
        """What the newest of these take up."""
        self._shared: dict[_State, _State] = {}
        """Each state that came since the last turn, so that thousands of tasks have one tuple between them."""
        self._most_bytes = self._values.share - MAX_PAYLOAD_BYTES - _OVERHEAD
        """So that the last value to come does not take the generation over its share."""
        self._turn_at = -inf
        """When the newest generations have lasted their time."""

    def put(self, result: Result, now: float) -> None:
        """Keep a result, in place of an earlier one of its task; without its payload where that is large."""
        task, attempt, status, serializer, whole, _ = result
        if status == _LOST and self._is_told_already(task):
            return
        payload = _small(whole)
        if payload is None:
            self._values.forget(task)
        else:
            self._values.newest[task] = payload
            self._bytes += len(payload) + _OVERHEAD
        state = attempt, status, serializer
        states = self._states.newest
        states[task] = self._shared.setdefault(state, state)
        if len(states) >= self._states.share or self._bytes > self._most_bytes or now >= self._turn_at:
            self._turn(now)

    def put_all(self, results: Sequence[Result], now: float) -> None:
        """Keep results of several tasks, each as ``put`` does; where they are small at half of its cost."""
        room = self._states.share - len(self._states.newest)
        room = min(room, (self._most_bytes - self._bytes) // _SMALL_WEIGHT)
        is_quick = len(results) < room and now < self._turn_at
        for result in self._put_small(results) if is_quick else results:
            self.put(result, now)

    def _put_small(self, results: Sequence[Result]) -> list[Result]:
        """Keep the small results, for which there is room, of tasks that have ended; return the others."""
        values, states, shared = self._values.newest, self._states.newest, self._shared
        size = 0
        others: list[Result] = []
        for result in results:
            task, attempt, status, serializer, payload, _ = result
            if type(payload) is not bytes or len(payload) > SMALL_BYTES or status == _LOST:
                others.append(result)
                continue
            values[task] = payload
            size += len(payload) + _OVERHEAD
            state = attempt, status, serializer
            states[task] = shared.setdefault(state, state)
        self._bytes += size
        return others

    def find(self, task: bytes, now: float) -> Result | None:
        """Return what is kept of a task; ``serializer`` is "" where its payload is not."""
        self._states.expire(now)
        self._values.expire(now)
        state, payload = self._states.find(task), self._values.find(task)
        if state is None:
            return None
        attempt, status, serializer = state
        return Result(task, attempt, status, "" if payload is None else serializer, payload or b"")

    def forget(self, task: bytes) -> bool:
        """Let go of a task's result; tell whether there was one."""
        self._values.forget(task)
        return self._states.forget(task)

    def _is_told_already(self, task: bytes) -> bool:
        """Whether something better is known of a task than that its worker was lost once."""
        state = self._states.find(task)
        return state is not None and state[1] != _LOST

    def _turn(self, now: float) -> None:
        """Begin new generations where that is due."""
        is_late = now >= self._turn_at
        if is_late or len(self._states.newest) >= self._states.share:
            self._states.turn(now, len(self._states.newest))
            self._shared.clear()
        if is_late or self._bytes > self._most_bytes:
            self._values.turn(now, self._bytes)
            self._bytes = 0
        if is_late:
            self._turn_at = now + KEPT_S / _GENERATIONS


def _small(payload: Payload) -> bytes | None:
    """Return a payload as bytes of its own, which keep no larger buffer alive; None where it is large."""
    return join_payload(payload) if payload_size(payload) <= MAX_PAYLOAD_BYTES else None
