"""The language of the holder's tests: an event in, then exactly these effects out, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.core.events import Received, Send
from meshq.core.holder import Holder
from meshq.core.holding import (
    ClientForgotten,
    ClientGreeted,
    FunctionsKnown,
    HolderEffect,
    HolderEvent,
    RevocationsAdded,
    StartRuns,
)
from meshq.core.work import Done, Run, WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.messages import Message, Rack, Relay, Result, Status, Submit, Withdraw
from meshq.protocol.payload import Payload

A, B, OWN = b"a" * 16, b"b" * 16, b"own client's id!"
LONG_S = 0.03
"""With this mean the credit stays what it is at first, and nothing goes ahead."""
SHORT_S = 0.0005
# An instant whose sums are rounded, as those of a real clock are.
_BEGIN = 100.1


def task(number: int) -> bytes:
    """Return a task id."""
    return number.to_bytes(16, "big")


def submit(number: int, attempt: int = 1, function: str = "f", *, payload: Payload = b"x", detached: bool = False,
           serializer: str = "msgpack", **options: Any) -> Submit:  # fmt: skip
    """Return a SUBMIT of a task."""
    return Submit(task(number), attempt, function, serializer, payload, detached, options or None)


def run(run: int, number: int, attempt: int = 1, function: str = "f", **options: Any) -> Run:
    """Return what a worker gets of the SUBMIT of the same number."""
    return Run(run, task(number), attempt, function, "msgpack", b"x", options or None)


def short(*runs: int, slot: int = 0) -> WorkerDone:
    """Return a worker's word that these runs have ended after ``SHORT_S``."""
    return done(*runs, slot=slot, seconds=SHORT_S)


def done(
    *runs: int, slot: int = 0, seconds: float = LONG_S, status: int = Status.OK, payload: Payload = b"value"
) -> WorkerDone:
    """Return a worker's word that these runs have ended."""
    return WorkerDone(slot, [Done(run, status, "msgpack", payload, seconds) for run in runs])


def gone(started: int, slot: int = 0, *, retired: bool = False) -> WorkerGone:
    """Return the word that a worker is gone."""
    return WorkerGone(slot, started, "killed by signal 9", retired)


def recalled(asked: list[int], runs: list[int], slot: int = 0) -> WorkerRecalled:
    """Return a worker's answer to a recall."""
    return WorkerRecalled(slot, asked, runs)


def result(number: int, attempt: int = 1, seconds: float = LONG_S) -> Result:
    """Return the result that ``done`` leads to."""
    return Result(task(number), attempt, Status.OK, "msgpack", b"value", seconds)


def quick(number: int, attempt: int = 1) -> Result:
    """Return the result that ``short`` leads to."""
    return result(number, attempt, SHORT_S)


def revoked(number: int, attempt: int = 1) -> Result:
    """Return the result of a revoked attempt."""
    return Result(task(number), attempt, Status.REVOKED, "", b"", 0.0)


def lost(number: int, attempt: int = 1) -> Result:
    """Return the result of an attempt whose worker ended as ``gone`` says."""
    return Result(task(number), attempt, Status.WORKER_LOST, "", b"killed by signal 9", 0.0)


def rack(number: int, attempt: int = 1) -> Rack:
    """Return a RACK."""
    return Rack(task(number), attempt)


def withdraw(number: int, attempt: int = 1) -> Withdraw:
    """Return a WITHDRAW."""
    return Withdraw(task(number), attempt)


def to(client: bytes, *messages: Message) -> Send:
    """Return the effect of sending a client these messages."""
    return Send(client, list(messages))


def start(*runs: Run, slot: int = 0) -> StartRuns:
    """Return the effect of giving a slot these runs."""
    return StartRuns(slot, list(runs))


def about(seconds: float) -> Any:
    """Return what equals these seconds, but for rounding."""
    return pytest.approx(seconds)


class Conversation:
    """A holder, its clock, and what is checked after each step."""

    def __init__(
        self,
        slots: int = 1,
        clients: tuple[bytes, ...] = (A,),
        *,
        ready: bool = True,
        relays: bool = False,
        hold_bytes: int = 0,
    ) -> None:
        """Begin one; ``relays``: what is passed on of revokes counts among the effects."""
        self._relays = relays
        self.holder = Holder(slots, OWN, hold_bytes)
        self.now = _BEGIN
        self._lessons = 0
        self.do(FunctionsKnown(frozenset({"f", "g", "h"}), frozenset({"msgpack", "json"})))
        for slot in range(slots if ready else 0):
            self.do(WorkerReady(slot, 4_000 + slot, []))
        for client in clients:
            self.do(ClientGreeted(client))

    def do(self, event: HolderEvent) -> list[HolderEffect]:
        """Take an event whose effects are of no interest here."""
        return self.holder.handle(event, self.now)

    def hear(self, event: HolderEvent, *effects: HolderEffect) -> None:
        """Take an event: exactly these effects must come of it."""
        came = self.do(event)
        _compare(came if self._relays else _without_relays(came), list(effects))

    def say(self, client: bytes, messages: Message | list[Message], *effects: HolderEffect) -> None:
        """Take messages of a client: exactly these effects must come of it."""
        self.hear(Received(client, messages if isinstance(messages, list) else [messages]), *effects)

    def do_quietly(self, client: bytes, *messages: Message) -> list[HolderEffect]:
        """Take messages of a client whose effects are of no interest here."""
        return self.do(Received(client, list(messages)))

    def wait(self, seconds: float, *effects: HolderEffect) -> None:
        """Let time pass, with a tick at each deadline: exactly these effects must come of it."""
        _compare(self.pass_time(seconds), list(effects))

    def pass_time(self, seconds: float) -> list[HolderEffect]:
        """Let time pass, with a tick at each deadline, none of which may leave another that is due."""
        end, effects = self.now + seconds, []
        while (at := self.holder.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            effects += self.holder.tick(self.now)
            following = self.holder.next_deadline()
            assert following is None or following > self.now, "a tick left something due: a busy loop"
        self.now = end
        return effects

    def teach(self, function: str, seconds: float, client: bytes = A) -> int:
        """Have a task of the client take so long; return the number that the next run gets."""
        self._lessons += 1
        number = 60_000 + self._lessons
        [started] = self.do(Received(client, [submit(number, function=function)]))
        assert isinstance(started, StartRuns)
        lesson = started.runs[0].run
        self.do(done(lesson, slot=started.slot, seconds=seconds))
        self.do(Received(client, [rack(number)]))
        self.pass_time(0.1)
        return lesson + 1


def _without_relays(effects: list[HolderEffect]) -> list[HolderEffect]:
    left: list[HolderEffect] = []
    for effect in effects:
        if isinstance(effect, Send):
            messages = [message for message in effect.messages if not isinstance(message, Relay)]
            left += [Send(effect.peer, messages)] if messages else []
        elif not isinstance(effect, RevocationsAdded):
            left.append(effect)
    return left


def _compare(came: list[HolderEffect], expected: list[HolderEffect]) -> None:
    if not any(isinstance(effect, ClientForgotten) for effect in expected):
        came = [effect for effect in came if not isinstance(effect, ClientForgotten)]
    if _typed(came) != _typed(expected):
        pytest.fail("\n".join(["came:", *map(repr, came), "expected:", *map(repr, expected)]), pytrace=True)


def _typed(value: Any) -> Any:
    """Make named tuples of different types differ, as tuples alone would not."""
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return (type(value).__name__, *map(_typed, value))
    return value
