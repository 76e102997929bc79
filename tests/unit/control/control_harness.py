"""A node that notes what commands ask of it, and a mesh whose nodes answer as told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from meshq.control.asking import LimitsView, PurgeOutcome
from meshq.control.commands import carry_out
from meshq.core.dead import DeadView
from meshq.core.survey import TaskView
from meshq.protocol.codec import dumps_call, serializer
from meshq.protocol.messages import Command, Result

Answer = tuple[dict[str, Any], dict[str, str]]


def view(
    number: int = 1, *args: Any, state: str = "reserved", encoding: str = "msgpack", **fields: Any
) -> TaskView:
    """Return a held task with this id and these arguments."""
    payload = dumps_call(serializer(encoding), args, {})
    plain: dict[str, Any] = {"seconds": 0.0, "slot": None, "client": "pid 7 on h", "payload": payload}
    return TaskView(bytes([number]) * 16, 1, "work.add", serializer=encoding, state=state, **{**plain, **fields})


class FakeNode:
    """Carries out nothing, and notes what it was asked for in ``asked``."""

    name = "node@h"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.offered = ["work.add", "work.nap"]
        self.limits: dict[str, LimitsView] = {}
        self.held: list[TaskView] = []
        self.results: dict[bytes, Result] = {}
        self.tries: dict[bytes, Result] = {}
        self.owned: dict[bytes, bytes] = {}
        self.there: list[bytes] = []
        self.refused: list[bytes] = []
        self.letters: list[DeadView] = []

    def give(self, name: str, arguments: Any = None) -> dict[str, Any]:
        """Have a command carried out; return the answer."""
        answers: list[dict[str, Any]] = []
        command = Command(b"k" * 16, b"c" * 16, name, msgpack.packb(arguments or {}), [], "", True, 2.5)
        carry_out(self, command, answers.append)
        assert len(answers) == 1
        return answers[0]

    def describe(self) -> dict[str, Any]:
        return {"slots": 2}

    def stats(self) -> dict[str, Any]:
        return {"slots": 2, "pid": 5}

    def conf(self) -> dict[str, Any]:
        return {"mesh": "m"}

    def report(self) -> str:
        return "a text"

    def functions(self) -> list[str]:
        return self.offered

    def canonical(self, function: str) -> str:
        return "work.add" if function == "_work.add" else function

    def limits_of(self, function: str) -> LimitsView:
        return self.limits.get(function, LimitsView())

    def revoked(self) -> list[bytes]:
        return self.refused

    def views(self, state: str) -> Iterator[TaskView]:
        return (held for held in self.held if held.state == state)

    def dead(self) -> Iterator[DeadView]:
        return iter(self.letters)

    def find(self, task: bytes) -> TaskView | None:
        return next((held for held in self.held if held.task == task), None)

    def result(self, task: bytes) -> Result | None:
        return self.results.get(task)

    def failed_try(self, task: bytes) -> Result | None:
        return self.tries.get(task)

    def owners(self, tasks: list[bytes]) -> dict[bytes, bytes]:
        return {task: owner for task, owner in self.owned.items() if task in tasks}

    def present(self, owners: list[bytes]) -> list[bytes]:
        return [owner for owner in owners if owner in self.there]

    def forget(self, task: bytes) -> bool:
        return self.results.pop(task, None) is not None

    def pid(self, slot: int) -> int | None:
        return 1000 + slot

    def revoke(
        self,
        tasks: list[bytes],
        signal: int,
        command: bytes,
        seconds: float,
        answer: Callable[[dict[bytes, str]], None],
    ) -> None:
        self.asked.append(("revoke", tasks, signal, command, seconds))
        answer(dict.fromkeys(tasks, "dropped"))

    def rate_limit(self, function: str, rate: float) -> None:
        self.asked.append(("rate_limit", function, rate))

    def time_limit(self, function: str, soft: float | None, hard: float | None) -> None:
        self.asked.append(("time_limit", function, soft, hard))

    def purge(self, command: bytes, seconds: float, answer: Callable[[PurgeOutcome], None]) -> None:
        self.asked.append(("purge", command, seconds))
        answer(PurgeOutcome(3, {b"x" * 16: 4}, ["pid 9 on h"]))

    def resize(self, slots: int) -> None:
        self.asked.append(("resize", slots))

    def drain(self) -> None:
        self.asked.append("drain")

    def shutdown(self) -> None:
        self.asked.append("shutdown")

    def user_command(
        self, name: str, arguments: dict[str, Any], seconds: float, answer: Callable[[dict[str, Any]], None]
    ) -> None:
        self.asked.append((name, arguments, seconds))
        answer({"error": f"there is no control command {name!r}"})


class Port:
    """A mesh whose nodes answer as ``answer(command)`` says: replies by node, and the missing."""

    client_id = b"c" * 16

    def __init__(self, answer: Callable[[Command], Answer] = lambda _: ({}, {}), own: int | None = 0) -> None:
        self._answer = answer
        self._own = own
        self.commands: list[Command] = []
        self.owned: list[bytes] = []
        self.purged: list[bytes] = []

    @property
    def given(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and arguments of each command."""
        return [(command.name, msgpack.unpackb(command.arguments)) for command in self.commands]

    def begin_command(
        self, command: Command, timeout: float, limit: int | None, on_reply: Any, on_finish: Any
    ) -> None:
        """Answer at once."""
        self.commands.append(command)
        replies, missing = self._answer(command)
        for name, value in replies.items():
            on_reply(name, value)
        on_finish(missing)

    def revoke_owned(self, tasks: list[bytes]) -> None:
        """Note what is revoked at home."""
        self.owned += tasks

    def purge_owned(self, command: bytes, on_answer: Callable[[int], None]) -> None:
        """Answer at once, unless it is silent."""
        self.purged.append(command)
        if self._own is not None:
            on_answer(self._own)
