"""The control commands of users: carried out one at a time, in one child process that is started on first use.

The node itself imports nothing of the user's; a command that hangs or crashes takes only the child with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from meshq.control.asking import Answer
from meshq.control.commands import COMMANDS
from meshq.core.timers import Timers
from meshq.core.work import Done, Run, WorkerDone, WorkerEvent, WorkerGone, WorkerReady
from meshq.errors import ConfigError, EncodingError, MeshqError, RemoteError
from meshq.ids import new_id
from meshq.protocol.codec import serializer
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload, payload_size
from meshq.workers.pool import LoopPort, Pool, WorkerSpec

MAX_WAITING = 100
"""The threat: a peer that asks for one command after another, each of which takes long."""
MAX_VALUE_BYTES = 16 * 1024**2
"""What is larger is not even decoded; far less can be sent."""
ANSWER_SHARE = 0.9
"""Of the time that the asker waits, this much is the command's: an answer is of use only while it waits."""
_MSGPACK = serializer("msgpack")
_SLOT = 0


class _Asked(NamedTuple):
    """A command that waits, or is being carried out."""

    run: Run
    seconds: float
    answer: Answer
    asked_at: float


class Helper:
    """Carries out user commands; all in the loop's thread. ``spec`` is that of the node's workers."""

    def __init__(self, loop: LoopPort, spec: WorkerSpec, on_output: Callable[[str, str, str, int], None]) -> None:
        spec = spec._replace(commands=True, max_tasks=0)
        self._pool = Pool(loop, spec, self._on_event, on_output, self._on_failed)
        self._names: frozenset[str] = frozenset()
        self._is_started = self._is_ready = False
        self._last_run = 0
        self._waiting: deque[_Asked] = deque()
        self._current: _Asked | None = None
        self._began_at = 0.0
        """When the one that runs did."""
        self._timers: Timers[int] = Timers()
        """Run → when its asker is to be answered at the latest."""

    def offer(self, names: frozenset[str]) -> None:
        """Learn which commands the modules have."""
        self._names = names

    def carry_out(self, name: str, arguments: dict[str, Any], seconds: float, answer: Answer, now: float) -> None:
        """Carry out a command, within ``seconds``; ``answer`` gets its value or what went wrong.

        Raises ``ConfigError`` where there is no such command, or too many wait.
        """
        if name not in self._names:
            own = (
                f"those of its modules are {', '.join(sorted(self._names))}"
                if self._names
                else "its modules have none"
            )
            raise ConfigError(
                f"there is no control command {name!r}; there are {', '.join(sorted(COMMANDS))}; {own}"
            )
        if len(self._waiting) >= MAX_WAITING:
            raise ConfigError(f"{MAX_WAITING} control commands wait already, behind {self._doing()}")
        self._last_run += 1
        payload = _MSGPACK.dumps_call((), arguments)
        self._waiting.append(
            _Asked(Run(self._last_run, new_id(), 1, name, "msgpack", payload), seconds, answer, now)
        )
        self._timers.set(self._last_run, now + ANSWER_SHARE * seconds)
        self._go_on()

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._timers.next_deadline()

    def tick(self, now: float) -> None:
        """Answer for the commands whose time is over; the one that runs is ended with its process."""
        doing = self._doing()
        for run in self._timers.pop_due(now):
            asked = self._current
            if asked is not None and asked.run.run == run:
                self._current = None
                self._is_ready = False
                self._pool.kill(_SLOT)
                _fail(asked, self._why_killed(asked, now))
            else:
                asked = next(each for each in self._waiting if each.run.run == run)
                _fail(asked, f"was not reached within {asked.seconds:g} s, behind {doing}")
                self._waiting.remove(asked)

    def close(self) -> None:
        """End the process."""
        self._pool.close()

    # ------------------------------------------------------------------ the process

    def _go_on(self) -> None:
        if not self._waiting or self._current is not None:
            return
        if not self._is_started:
            self._is_started = True
            self._pool.start(_SLOT)
        elif self._is_ready:
            self._current = self._waiting.popleft()
            self._began_at = time.monotonic()
            self._pool.run(_SLOT, [self._current.run])

    def _why_killed(self, asked: _Asked, now: float) -> str:
        waited_s = self._began_at - asked.asked_at
        if waited_s > now - self._began_at:
            waited = f"it waited behind others for {waited_s:.1f} of its {asked.seconds:g} s"
            return f"did not get its turn in time: {waited}, and was killed"
        return f"has not ended within {asked.seconds:g} s, and was killed: ask with a longer timeout"

    def _doing(self) -> str:
        return (
            "the start of their process" if self._current is None else f"{self._current.run.function}, which runs"
        )

    def _on_event(self, event: WorkerEvent) -> None:
        if isinstance(event, WorkerReady):
            self._is_ready = True
        elif isinstance(event, WorkerDone):
            for done in event.dones:
                self._on_done(Done(*done))
        elif isinstance(event, WorkerGone):
            self._is_started = self._is_ready = False
            asked = self._settle()
            if asked is not None:
                _fail(asked, f"took its process with it: {event.reason}")
        self._go_on()

    def _on_done(self, done: Done) -> None:
        if self._current is None or self._current.run.run != done.run:
            return  # it came just after its time was over
        asked = self._settle()
        if asked is not None:
            asked.answer(_reply(asked.run.function, done.status, done.payload))

    def _on_failed(self, _: int, text: str) -> None:
        self._is_started = False
        waiting = [*self._waiting]
        self._waiting.clear()
        for asked in waiting:
            self._timers.cancel(asked.run.run)
            _fail(asked, f"cannot be carried out: {text}")

    def _settle(self) -> _Asked | None:
        asked, self._current = self._current, None
        if asked is not None:
            self._timers.cancel(asked.run.run)
        return asked


def _fail(asked: _Asked, text: str) -> None:
    asked.answer({"error": f"the control command {asked.run.function} {text}"})


def _reply(name: str, status: int, payload: Payload) -> dict[str, Any]:
    """Return what a command has come to."""
    size = payload_size(payload)
    if size > MAX_VALUE_BYTES:
        return {"error": f"{name} has returned {size} bytes, more than can be sent"}
    try:
        if status == Status.OK:
            return {"ok": _MSGPACK.loads(payload)}
        error = load_failure(payload)
    except MeshqError as fault:
        error = fault
    if isinstance(error, EncodingError):
        return {"error": f"{name} has returned what is not plain data (numbers, text, lists, dicts): {error}"}
    return {"error": str(error) if type(error) is RemoteError else f"{type(error).__name__}: {error}"}
