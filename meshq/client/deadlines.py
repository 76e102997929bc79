"""What is due at a given time on a client's loop: the timeouts of calls that nobody need be waiting for."""

from __future__ import annotations

import time
from collections.abc import Callable

from meshq.client.runtime import LoopPart
from meshq.core.timers import Timers
from meshq.transport.loop import Loop

Call = Callable[[], None]


class Deadlines:
    """Calls, each due at an instant of the monotonic clock. A part of the loop, from the first one on."""

    def __init__(self, loop: Loop, parts: list[LoopPart]) -> None:
        self._loop = loop
        self._parts = parts
        self._timers: Timers[Call] = Timers()

    def add(self, at: float, call: Call) -> None:
        """Have the loop's thread do this at the instant, unless it is dropped before. From any thread."""
        self._loop.post(self._add, at, call)

    def drop(self, call: Call) -> None:
        """Forget about a call. From any thread."""
        self._loop.post(self._timers.cancel, call)

    def step(self) -> None:
        """Do what is due."""
        if len(self._timers):
            for call in self._timers.pop_due(time.monotonic()):
                call()

    def timeout(self) -> float | None:
        """Return how long the next turn of the loop may last, in seconds."""
        due = self._timers.next_deadline()
        return None if due is None else max(0.0, due - time.monotonic())

    def close(self) -> None:
        """Do nothing more: what is not due by now never will be."""

    def _add(self, at: float, call: Call) -> None:
        if self not in self._parts:
            self._parts.append(self)
        self._timers.set(call, at)
