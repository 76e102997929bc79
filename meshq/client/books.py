"""What a client has submitted and not yet heard the end of: its futures, and the room that their tasks take."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

from meshq.client.future import Future, settle_all
from meshq.client.outcomes import error_of
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.errors import ConfigError
from meshq.ids import format_id
from meshq.protocol.payload import payload_size

TASK_OVERHEAD = 600
"""What a queued task takes besides its arguments, for the budget's sake."""
_HOLES = 16
"""One part in so many is added for the holes that the heap gets, and for what is just being sent: 1 GiB of tasks
with 10 KB of arguments each took 62 MB more than these and the overhead."""
MAX_RECENT = 10_000
"""Detached tasks that have ended, and ``dmap``s, that are found by their id; the oldest are forgotten first."""
KEY_S = 3600.0
"""How long the key of a task that has ended stands for it."""
_DONE = Ending.DONE  # at hand: to look up a member of an enum takes 60 ns
_HAS_RUN = frozenset({Ending.DONE, Ending.FAILURE, Ending.TIME_LIMIT, Ending.WORKER_LOST, Ending.LOST})
"""Of a task that has ended otherwise the key is free for another try."""


def size_of(task: OwnedTask) -> int:
    """Return the room that a task takes, in bytes."""
    payload = task.payload
    size = len(payload) if type(payload) is bytes else payload_size(payload)
    return size + size // _HOLES + TASK_OVERHEAD


class Books:
    """The futures of one mesh. Any thread opens entries; the loop's thread or the end of the mesh settles them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attached: dict[bytes, Future[Any]] = {}
        self._detached: dict[bytes, Future[Any]] = {}
        self._recent: OrderedDict[bytes, Future[Any]] = OrderedDict()
        self._keyed: OrderedDict[bytes, tuple[float, Future[Any]]] = OrderedDict()
        """Tasks with an idempotency key that have ended, each with when its key no longer stands for it."""
        self.bytes = 0
        """The room that unfinished tasks take, arguments included."""

    def open(self, task: Future[Any], size: int) -> Future[Any]:
        """Note a new task, which takes up ``size`` bytes, and return it, or an earlier one with the same key.

        Raises ``ConfigError`` for an id that is in use.
        """
        id, books = task.id, self._detached if task.detached else self._attached
        with self._lock:
            if task.options is not None and _is_keyed(task):
                earlier = self._with_same_key(task)
                if earlier is not None:
                    return earlier
            if id in self._attached or id in self._detached:
                raise ConfigError(f"task id {format_id(id)} is in use: a task of that id is unfinished here")
            self.bytes += size
            books[id] = task
        return task

    def take_back(self, task: Future[Any], size: int) -> None:
        """Forget a task that was opened, if it was, and not handed over."""
        books = self._detached if task.detached else self._attached
        with self._lock:
            if books.get(task.id) is task:
                del books[task.id]
                self.bytes -= size

    def _with_same_key(self, task: Future[Any]) -> Future[Any] | None:
        """Return the task that the key of this one stands for already, if there is one."""
        unfinished = self._attached.get(task.id) or self._detached.get(task.id)
        until, ended = self._keyed.get(task.id, (0.0, None))
        if unfinished is not None or ended is None:
            return unfinished
        if time.monotonic() < until:
            return ended
        task.attempt = ended.attempt  # or nodes would take it for a late copy
        return None

    def attached(self) -> int:
        """Return how many tasks that belong to this process are unfinished."""
        return len(self._attached)

    def unaccepted(self) -> int:
        """Return how many detached tasks no node has accepted yet."""
        return sum(not future.accepted for future in list(self._detached.values()))

    def find(self, task_id: bytes) -> Future[Any] | None:
        """Return the future of a task: of any that is unfinished, or of a detached one that has ended lately."""
        return self._attached.get(task_id) or self._detached.get(task_id) or self._recent.get(task_id)

    def find_ended(self, task_id: bytes) -> Future[Any] | None:
        """Return the future of a task with an idempotency key that has ended, as long as its key is remembered."""
        return self._keyed.get(task_id, (0.0, None))[1]

    def note(self, future: Future[Any]) -> None:
        """Have a future found by its id, as long as those of detached tasks that have ended are."""
        with self._lock:
            self._remember(future)

    def forget(self, task_id: bytes) -> None:
        """Let go of the result of a detached task."""
        self._recent.pop(task_id, None)

    def settle(self, ended: list[tuple[OwnedTask, Outcome]], explain: Callable[[OwnedTask, Outcome], str]) -> None:
        """Settle the futures of tasks that have ended; ``explain`` says more of why some were given up."""
        freed = 0
        for task, _ in ended:
            freed += size_of(task)
        with self._lock:
            self.bytes -= freed  # first: whoever wakes up may want the room
        done: list[tuple[Any, Outcome]] = []
        close = self._attached.pop
        for entry in ended:
            task, outcome = entry
            task.payload = b""  # the future keeps the task, but nobody needs its arguments any more
            if outcome[0] is _DONE and not task.detached and task.options is None:
                if close(task.id, None) is not None:
                    done.append(entry)
            else:
                if done:
                    settle_all(done)
                    done.clear()
                self._settle(task, outcome, explain)
        settle_all(done)

    def _settle(self, task: OwnedTask, outcome: Outcome, explain: Callable[[OwnedTask, Outcome], str]) -> None:
        if _is_keyed(task):
            self._remember_keyed(cast("Future[Any]", task), outcome.ending)  # first: so it is always found
        future = self._close(task)
        if future is None:
            return
        if outcome.ending is Ending.DONE:
            future.settle(outcome)
        elif outcome.ending is Ending.CANCELLED:
            future.settle_cancelled()
        else:
            future.settle_failed(error_of(task, outcome, explain(task, outcome)))

    def _close(self, task: OwnedTask) -> Future[Any] | None:
        if not task.detached:
            return self._attached.pop(task.id, None)
        future = self._detached.get(task.id)
        if future is not None:
            with self._lock:
                self._remember(future)
            self._detached.pop(task.id, None)  # last, so that it is found at every moment
        return future

    def _remember_keyed(self, future: Future[Any], ending: Ending) -> None:
        until = time.monotonic() + KEY_S if ending in _HAS_RUN else 0.0
        with self._lock:
            self._keyed.pop(future.id, None)
            if len(self._keyed) >= MAX_RECENT:
                self._keyed.popitem(last=False)
            self._keyed[future.id] = until, future

    def _remember(self, future: Future[Any]) -> None:
        if len(self._recent) >= MAX_RECENT:
            self._recent.popitem(last=False)
        self._recent[future.id] = future

    def abandon(self, error: BaseException) -> None:
        """Settle all that is left with an error, as nobody will hear of its end."""
        with self._lock:
            left = [*self._attached.values(), *self._detached.values()]
            self._attached.clear()
            self._detached.clear()
            self.bytes = 0
        for future in left:
            future.settle_failed(error)


def _is_keyed(task: OwnedTask) -> bool:
    return task.options is not None and "key" in task.options
