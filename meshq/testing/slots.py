"""Workers without processes: each runs what it is given, one run at a time, for a virtual while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from random import Random
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from zlib import crc32

from meshq.core.work import (
    Done,
    FunctionInfo,
    Run,
    WorkerDone,
    WorkerEvent,
    WorkerGone,
    WorkerReady,
    WorkerRecalled,
)
from meshq.protocol.messages import Status
from meshq.protocol.payload import join_payload
from meshq.protocol.retries import RetryAsked, dump_retry
from meshq.testing.agenda import Clock
from meshq.workers.backlog import Backlog, Row


class SimFunction(NamedTuple):
    """A function that tasks may call: how many seconds it takes, how that ends, and what it declares.

    What is ``flaky`` returns or asks for another try, by chance; its options, and those of the call, say how many
    it may have.
    """

    shortest_s: float = 0.01
    longest_s: float = 0.01
    ending: Literal["returns", "raises", "kills", "flaky"] = "returns"
    options: Mapping[str, Any] = MappingProxyType({})


class Observer:
    """Who is told what workers do; this one does not mind."""

    def started(self, slot: int, run: int) -> None:
        """A worker begins with a run."""

    def killed(self, slot: int, run: int) -> None:
        """A worker dies under a run."""

    def ended(self, task: bytes, status: int) -> None:
        """A worker says what has come of a run."""


_BOOT_S = (0.05, 0.3)
_PIPE_S = (0.00002, 0.0002)
_REAP_S = (0.0005, 0.003)
_FAILS = 0.6
"""The probability that a run of what is flaky asks for another."""
_DELAYS_S = (None, None, 0.0, 0.7)
"""The pause that it asks for itself, if it does."""


class SimWorker:
    """One worker: what it was given, and what it runs."""

    def __init__(self, left: int) -> None:
        self.backlog = Backlog()
        self.current: Row | None = None
        self.started = 0
        self.alive = True
        self.ready = False
        self.left = left
        """Runs until it retires."""
        self.given_at = -inf


class SimWorkers:
    """The workers of one node; ``tell`` gets their events. One is replaced after ``max_tasks`` runs."""

    def __init__(
        self,
        agenda: Clock,
        rng: Random,
        functions: dict[str, SimFunction],
        tell: Callable[[WorkerEvent], None],
        observer: Observer,
        max_tasks: int = 0,
    ) -> None:
        self._agenda = agenda
        self._rng = rng
        self._functions = functions
        self._tell = tell
        self._observer = observer
        self._max_tasks = max_tasks
        self.all: dict[int, SimWorker] = {}

    def start(self, slot: int) -> None:
        """Start a worker, which is ready after a while."""
        worker = self.all[slot] = SimWorker(self._max_tasks or 1 << 60)
        self._agenda.later(self._rng.uniform(*_BOOT_S), lambda: self._ready(slot, worker))

    def run(self, slot: int, runs: list[Run]) -> None:
        """Send runs to a worker."""
        worker = self.all[slot]
        worker.given_at = max(worker.given_at, self._agenda.now + self._rng.uniform(*_PIPE_S))
        self._agenda.at(worker.given_at, lambda: self._given(slot, worker, runs))

    def recall(self, slot: int, runs: list[int]) -> None:
        """Ask a worker for runs; the question may overtake the runs themselves."""
        worker = self.all[slot]
        self._agenda.later(self._rng.uniform(*_PIPE_S), lambda: self._recalled(slot, worker, runs))

    def kill(self, slot: int, reason: str = "killed by signal 9") -> None:
        """Kill a worker."""
        worker = self.all[slot]
        if worker.alive and worker.ready:
            if worker.current is not None:
                self._observer.killed(slot, worker.current[0])
            self._end(slot, worker, WorkerGone(slot, worker.started, reason))

    def soft_limit(self, slot: int, run: int) -> None:
        """Have a run raise, if it is still the one that runs when its worker hears of it."""
        worker = self.all[slot]

        def interrupt() -> None:
            row = worker.current
            if worker.alive and row is not None and row[0] == run:
                self._done(slot, worker, row, Status.FAILURE, 0.0)

        self._agenda.later(self._rng.uniform(*_PIPE_S), interrupt)

    def stop(self, slot: int) -> None:
        """Let a worker end after its run."""
        worker = self.all[slot]
        worker.left = 0
        if worker.alive and worker.current is None:
            self._end(slot, worker, WorkerGone(slot, worker.started, "exit code 0", retired=True))

    def close(self) -> None:
        """Let all workers die with their node."""
        for worker in self.all.values():
            worker.alive = False

    def _ready(self, slot: int, worker: SimWorker) -> None:
        if worker.alive:
            worker.ready = True
            offered = [
                FunctionInfo(name, "", dict(function.options)) for name, function in self._functions.items()
            ]
            self._tell(WorkerReady(slot, 1000 + slot, offered))

    def _given(self, slot: int, worker: SimWorker, runs: list[Run]) -> None:
        if worker.alive:
            worker.backlog.add([list(run) for run in runs])
            if worker.current is None:
                self._next(slot, worker)

    def _next(self, slot: int, worker: SimWorker) -> None:
        if not worker.left:
            self._end(slot, worker, WorkerGone(slot, worker.started, "exit code 0", retired=True))
            return
        row = worker.current = worker.backlog.take()
        if row is None:
            return
        worker.left -= 1
        worker.started = row[0]
        self._observer.started(slot, row[0])
        function = self._functions[row[3]]
        seconds = function.shortest_s + _chance(row, b"time") * (function.longest_s - function.shortest_s)
        self._agenda.later(seconds, lambda: self._ended(slot, worker, row, function, seconds))

    def _ended(self, slot: int, worker: SimWorker, row: Row, function: SimFunction, seconds: float) -> None:
        if not worker.alive or worker.current is not row:
            return
        if function.ending == "kills":
            self.kill(slot, "killed by signal 11")
        elif function.ending == "flaky" and _chance(row, b"fail") < _FAILS:
            self._done(slot, worker, row, Status.RETRY, seconds, self._retry(function, row))
        else:
            status = Status.FAILURE if function.ending == "raises" else Status.OK
            self._done(slot, worker, row, status, seconds)

    def _retry(self, function: SimFunction, row: Row) -> bytes:
        """Return what a worker says of a run that asks for another: how many there may be is for its options."""
        options = {**function.options, **(row[6] or {})}
        delay = _DELAYS_S[int(_chance(row, b"delay") * len(_DELAYS_S))]
        backoff, jitter = options.get("retry_backoff", 0.1), options.get("retry_jitter", True)
        failure = join_payload(row[5])
        return dump_retry(RetryAsked(failure, delay, options.get("max_retries", 0), backoff, jitter))

    def _done(
        self, slot: int, worker: SimWorker, row: Row, status: Status, seconds: float, payload: bytes | None = None
    ) -> None:
        worker.current = None
        self._observer.ended(row[1], status)
        # The value of a task is its own argument, so that whoever gets it can tell whose it is.
        value = row[5] if payload is None else payload
        self._tell(WorkerDone(slot, [Done(row[0], status, row[4], value, seconds)]))
        if worker.alive:
            self._next(slot, worker)

    def _recalled(self, slot: int, worker: SimWorker, runs: list[int]) -> None:
        if worker.alive:
            answer = WorkerRecalled(slot, runs, worker.backlog.recall(runs))
            self._agenda.later(self._rng.uniform(*_PIPE_S), lambda: self._tell(answer) if worker.alive else None)

    def _end(self, slot: int, worker: SimWorker, gone: WorkerGone) -> None:
        worker.alive = False

        def reap() -> None:
            if self.all[slot] is worker:
                self._tell(gone)

        self._agenda.later(self._rng.uniform(*_REAP_S), reap)


def _chance(row: Row, what: bytes) -> float:
    """Return a number below 1 that is a run's own: it is the same whatever else its worker has run."""
    return crc32(row[1] + what, row[2] & 0xFFFFFFFF) / 2**32
