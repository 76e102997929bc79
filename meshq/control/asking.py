"""What a control command is made of at a node: what it asks of the node, its arguments, its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from meshq.core.dead import DeadView
from meshq.core.survey import TaskView
from meshq.errors import ConfigError
from meshq.protocol.messages import Command, Result

Answer = Callable[[dict[str, Any]], None]
Check = Callable[[Any], Any]
"""Returns an argument as it is used, or raises ``ConfigError``."""


class LimitsView(NamedTuple):
    """The limits of a function that are in force at a node."""

    rate: float = 0.0
    """Runs a second; 0: no limit."""
    soft: float | None = None
    hard: float | None = None


class PurgeOutcome(NamedTuple):
    """What a purge did, as one node knows it: its own count, those of its clients, and who was silent."""

    own: int
    clients: Mapping[bytes, int]
    silent: list[str]


class NodeControl(Protocol):
    """What the commands ask of the node."""

    @property
    def name(self) -> str:
        """NAME@HOST."""

    def describe(self) -> dict[str, Any]: ...
    def stats(self) -> dict[str, Any]: ...
    def conf(self) -> dict[str, Any]: ...
    def report(self) -> str: ...
    def functions(self) -> Iterable[str]: ...
    def canonical(self, function: str) -> str:
        """Return the name that a function goes by here, whichever of its names this is."""

    def limits_of(self, function: str) -> LimitsView: ...
    def revoked(self) -> list[bytes]:
        """Return the ids that the node refuses, those last that it will refuse for longest."""

    def views(self, state: str) -> Iterator[TaskView]:
        """Yield the tasks that are ``active``, ``reserved`` or ``scheduled``."""

    def dead(self) -> Iterator[DeadView]:
        """Yield the tasks that their owners have given up, the latest first."""

    def find(self, task: bytes) -> TaskView | None: ...
    def result(self, task: bytes) -> Result | None: ...
    def failed_try(self, task: bytes) -> Result | None:
        """Return what an attempt said that asks for another one, until its owner has heard it."""

    def owners(self, tasks: list[bytes]) -> dict[bytes, bytes]:
        """Keep what is held of these tasks for longer; return what stands for the owner of each."""

    def present(self, owners: list[bytes]) -> list[bytes]:
        """Return which of these owners are within reach of the node."""

    def forget(self, task: bytes) -> bool: ...
    def pid(self, slot: int) -> int | None: ...

    def revoke(
        self,
        tasks: list[bytes],
        signal: int,
        command: bytes,
        seconds: float,
        answer: Callable[[dict[bytes, str]], None],
    ) -> None: ...
    def rate_limit(self, function: str, rate: float) -> None: ...
    def time_limit(self, function: str, soft: float | None, hard: float | None) -> None: ...
    def purge(self, command: bytes, seconds: float, answer: Callable[[PurgeOutcome], None]) -> None: ...
    def resize(self, slots: int) -> None: ...
    def drain(self) -> None: ...
    def shutdown(self) -> None: ...
    def user_command(
        self, name: str, arguments: dict[str, Any], seconds: float, answer: Answer
    ) -> None: ...  # fmt: skip


class Ask(NamedTuple):
    """A command that is being carried out; ``answer``, to be called once, may be called later."""

    node: NodeControl
    command: Command
    answer: Answer


class Verb(NamedTuple):
    """One command: ``run`` gets the ask, and the checked arguments by name. Those in ``needs`` must be there."""

    run: Callable[..., None]
    needs: Mapping[str, Check] = {}
    may: Mapping[str, Check] = {}

    def read(self, name: str, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the command's checked arguments. Raises ``ConfigError``, which names the argument."""
        checks = {**self.needs, **self.may}
        for key in given:
            if key not in checks:
                takes = f"takes {', '.join(checks)}" if checks else "takes no arguments"
                raise ConfigError(f"{name}: there is no argument {key!r}: it {takes}")
        for key in self.needs:
            if key not in given:
                raise ConfigError(f"{name} needs the argument {key}")
        return {key: _read(f"{name}: {key}", checks[key], value) for key, value in given.items()}


def _read(what: str, check: Check, value: object) -> Any:
    try:
        return check(value)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from None
