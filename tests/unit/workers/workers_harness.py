"""A node's shell reduced to its pool: a poll loop, and lists of what the pool reports."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import meshq
from meshq.core.work import Done, Run, WorkerDone, WorkerEvent, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.codec import serializer
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import Status
from meshq.workers.pool import Pool, WorkerSpec

HERE = str(Path(__file__).parent)
# So that workers find the package from any directory, installed or not.
ENV = {"PYTHONPATH": os.pathsep.join([str(Path(meshq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
PATIENCE_S = 20.0
MSGPACK = serializer("msgpack")


class PollLoop:
    """The node's loop, as far as a pool uses it."""

    def __init__(self) -> None:
        self._read: dict[int, Callable[[], None]] = {}
        self._write: dict[int, Callable[[], None]] = {}

    def register(self, obj: Any, callback: Callable[[], None]) -> None:
        """Call back when something can be read."""
        self._read[_fd(obj)] = callback

    def unregister(self, obj: Any) -> None:
        """Undo ``register``."""
        del self._read[_fd(obj)]

    def register_write(self, obj: Any, callback: Callable[[], None]) -> None:
        """Call back when something can be written."""
        self._write[_fd(obj)] = callback

    def unregister_write(self, obj: Any) -> None:
        """Undo ``register_write``."""
        del self._write[_fd(obj)]

    def turn(self, seconds: float) -> None:
        """Wait for one round of events, and deliver them."""
        poller = select.poll()
        for fd in {*self._read, *self._write}:
            poller.register(fd, select.POLLIN * (fd in self._read) | select.POLLOUT * (fd in self._write))
        for fd, events in poller.poll(seconds * 1000):
            if events & ~select.POLLOUT and fd in self._read:
                self._read[fd]()
            if events & ~select.POLLIN and fd in self._write:
                self._write[fd]()

    @property
    def idle(self) -> bool:
        """Whether nothing is registered any more."""
        return not self._read and not self._write


def _fd(obj: Any) -> int:
    return obj if isinstance(obj, int) else obj.fileno()


class Node:
    """A pool with a loop, and everything that it has reported."""

    def __init__(self, **spec: Any) -> None:
        self.loop = PollLoop()
        self.events: list[WorkerEvent] = []
        self.lines: list[tuple[str, str, str, int]] = []
        self.failures: list[tuple[int, str]] = []
        self.pool = Pool(
            self.loop,
            WorkerSpec(
                **{
                    "modules": ["worker_tasks"],
                    "path": [HERE],
                    **spec,
                    "env": {**ENV, **spec.get("env", {})},
                }
            ),
            self.events.append,
            lambda *line: self.lines.append(line),
            lambda *failure: self.failures.append(failure),
        )
        self._number = 0

    def start(self, slot: int = 0) -> WorkerReady:
        """Start a worker and wait until it is ready."""
        self.pool.start(slot)
        self.until(lambda: self.of(WorkerReady, slot) or self.failures)
        assert not self.failures, self.failures
        return self.of(WorkerReady, slot)[-1]

    def until(self, condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
        """Turn the loop until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"waited in vain; events {self.events[-3:]!r:.2000}, lines {self.lines[-10:]}"
            self.loop.turn(left)

    def until_started(self, run: int) -> None:
        """Wait until slot 0 has started a run, which the slate alone tells."""
        self.until_polled(lambda: self.pool._workers[0]._process.started() == run, f"run {run} has not started")

    def until_polled(self, condition: Callable[[], Any], complaint: str) -> None:
        """Turn the loop until a condition holds that comes true without an event."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, complaint
            self.loop.turn(0.001)

    def make(self, function: str, *args: Any, encoding: str = "msgpack", **kwargs: Any) -> Run:
        """Make a run with the next number."""
        self._number += 1
        payload = serializer(encoding).dumps_call(args, kwargs)
        name = f"worker_tasks.{function}"
        return Run(self._number, self._number.to_bytes(16, "big"), 1, name, encoding, payload)

    def run(self, runs: Iterable[Run], slot: int = 0) -> list[int]:
        """Hand out runs; return their numbers."""
        runs = list(runs)
        self.pool.run(slot, runs)
        return [run.run for run in runs]

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """Run one task; return its result, or raise its failure."""
        (number,) = self.run([self.make(function, *args, **kwargs)])
        self.until(lambda: number in self.dones())
        return outcome(self.dones()[number])

    def of(self, kind: type[Any], slot: int = 0) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind) and event.slot == slot]

    def dones(self) -> dict[int, Done]:
        """Return what is done, by number, in the order of its coming; each once."""
        dones = [Done(*done) for event in self.of(WorkerDone) for done in event.dones]
        assert len({done.run for done in dones}) == len(dones)
        return {done.run: done for done in dones}

    def gone(self, slot: int = 0) -> WorkerGone:
        """Wait for the end of a worker."""
        self.until(lambda: self.of(WorkerGone, slot))
        return self.of(WorkerGone, slot)[-1]

    def recalled(self) -> tuple[list[int], list[int]]:
        """Return all runs asked for, and all given back."""
        recalls = self.of(WorkerRecalled)
        return [run for each in recalls for run in each.asked], [run for each in recalls for run in each.runs]


def outcome(done: Done) -> Any:
    """Return a run's result, or raise its failure."""
    if done.status == Status.OK:
        return serializer(done.serializer).loads(done.payload)
    raise load_failure(done.payload)
