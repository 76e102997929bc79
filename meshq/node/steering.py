"""How a node carries out what control commands ask of it; see ``NodeControl``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from meshq.control.asking import Answer, LimitsView, PurgeOutcome
from meshq.control.steering import format_rate
from meshq.core.dead import DeadView
from meshq.core.holder import Holder
from meshq.core.holding import (
    HolderEvent,
    PurgeAnswered,
    PurgeAsked,
    RateLimitSet,
    RevokeAsked,
    TimeLimitSet,
)
from meshq.core.survey import TaskView
from meshq.ids import format_id
from meshq.node import status
from meshq.protocol.messages import Result
from meshq.workers.pool import Pool

if TYPE_CHECKING:
    from meshq.node.entrusted import Entrusted
    from meshq.node.node import Node


class Steering:
    """The side of a node that control commands see; events for the holder go to ``tell_holder``."""

    def __init__(
        self,
        node: Node,
        holder: Holder,
        pool: Pool,
        entrusted: Entrusted,
        tell_holder: Callable[[HolderEvent], None],
    ) -> None:
        self._node = node
        self._holder = holder
        self._pool = pool
        self._entrusted = entrusted
        self._tell_holder = tell_holder
        self._began_at = time.monotonic()

    @property
    def name(self) -> str:
        """The node's NAME@HOST."""
        return self._node.name

    @property
    def id(self) -> bytes:
        """The node's id."""
        return self._node.ack.node

    # ------------------------------------------------------------------ what the node is

    def describe(self) -> dict[str, Any]:
        """Return what ``ping`` says of the node, besides that it is there."""
        return {
            "id": format_id(self.id),
            "pid": os.getpid(),
            "slots": self._node.ack.slots,
            "secured": self._node.ack.secured,
            "draining": self._node.is_draining,
            **self._holder.counts(),
        }

    def stats(self) -> dict[str, Any]:
        """Return the node's figures: sizes in bytes, times in seconds since it was made."""
        ack, counts = self._node.ack, self._holder.counts()
        limits = {name: self.limits_of(name) for name in self.functions()}
        return {
            **status.process(),
            "host": ack.host,
            "uptime_s": round(time.monotonic() - self._began_at, 1),
            "slots": ack.slots,
            "secured": ack.secured,
            "draining": self._node.is_draining,
            "counts": counts,
            "held_bytes": self._holder.budget.figures(),
            "clients": counts["clients"],
            "peers": self._node.peers,
            "totals": status.totals(*self._holder.totals()),
            "rate_limits": {name: format_rate(limit.rate) for name, limit in limits.items() if limit.rate},
            "workers": status.workers(self._pool.pids()),
        }

    def conf(self) -> dict[str, Any]:
        """Return the node's settings."""
        return status.conf(self._node.settings, self._node.ack.secured)

    def report(self) -> str:
        """Return what to say of the node when a fault is reported."""
        return status.report(self.name, self._node.address, self.stats(), self.conf(), self.functions())

    def functions(self) -> Iterable[str]:
        """Return the names of the functions that the node offers, each once."""
        return self._node.ack.functions.keys() - self._node.ack.aliases.keys()

    def canonical(self, function: str) -> str:
        """Return the name that a function goes by here, whichever of its names this is."""
        return self._node.ack.aliases.get(function, function)

    def limits_of(self, function: str) -> LimitsView:
        """Return the limits in force of a function."""
        return LimitsView(*self._holder.limits_of(function))

    # ------------------------------------------------------------------ what it holds

    def views(self, state: str) -> Iterator[TaskView]:
        """Yield the tasks that are ``active``, ``reserved`` or ``scheduled``."""
        survey = self._holder.survey
        look = {"active": survey.active, "reserved": survey.reserved, "scheduled": survey.scheduled}
        return look[state](time.monotonic())

    def dead(self) -> Iterator[DeadView]:
        """Yield the tasks that their owners have given up."""
        return self._holder.dead.views(time.monotonic())

    def find(self, task: bytes) -> TaskView | None:
        """Return a task that is held and has not finished."""
        return self._holder.survey.find(task, time.monotonic())

    def result(self, task: bytes) -> Result | None:
        """Return the result of a task that has finished, as far as it is kept."""
        return self._holder.survey.result(task, time.monotonic())

    def failed_try(self, task: bytes) -> Result | None:
        """Return what an attempt said that asks for another one, until its owner has heard it."""
        return self._holder.survey.failed_try(task)

    def owners(self, tasks: list[bytes]) -> dict[bytes, bytes]:
        """Keep what is held of these tasks for longer; return what stands for the owner of each."""
        return self._holder.asked.owners(tasks, time.monotonic())

    def present(self, owners: list[bytes]) -> list[bytes]:
        """Return which of these owners are within reach of the node."""
        return self._holder.asked.present(owners, time.monotonic())

    def forget(self, task: bytes) -> bool:
        """Let go of the result that is kept of a task; tell whether there was one."""
        return self._holder.forget(task)

    def revoked(self) -> list[bytes]:
        """Return the ids that the node refuses, the one revoked last at the end."""
        return [task for task, _ in self._holder.revoked(time.monotonic())]

    def pid(self, slot: int) -> int | None:
        """Return the process id of a slot's worker."""
        return self._pool.pid(slot)

    # ------------------------------------------------------------------ what it is to do

    def revoke(
        self,
        tasks: list[bytes],
        signal: int,
        command: bytes,
        seconds: float,
        answer: Callable[[dict[bytes, str]], None],
    ) -> None:
        """Revoke tasks here; ``answer`` is called within ``seconds`` with what became of each."""
        self._entrusted.revoke(tasks, time.monotonic())
        self._tell_holder(RevokeAsked(answer, tasks, signal, command, seconds))

    def purge(self, command: bytes, seconds: float, answer: Callable[[PurgeOutcome], None]) -> None:
        """Discard what waits, here and at the clients; ``answer`` is called with who has discarded how many."""
        both = _Both(answer)
        self._entrusted.purge(command, both.on_own, time.monotonic())
        self._tell_holder(PurgeAsked(both.on_answered, command, seconds))

    def rate_limit(self, function: str, rate: float) -> None:
        """Let so many runs of a function start in a second; 0: as many as may be."""
        self._tell_holder(RateLimitSet(function, rate))

    def time_limit(self, function: str, soft: float | None, hard: float | None) -> None:
        """Let runs of a function take so many seconds."""
        self._tell_holder(TimeLimitSet(function, soft, hard))

    def resize(self, slots: int) -> None:
        """Have so many slots. Raises ``ConfigError`` while the node starts or drains."""
        self._node.resize(slots)

    def drain(self) -> None:
        """Finish what runs, hand back what waits, take nothing new, and stay."""
        self._node.drain(stay=True)

    def shutdown(self) -> None:
        """Drain, and end; where that is under way already, end at once."""
        if self._node.is_leaving:
            self._node.stop()
        else:
            self._node.drain()

    def user_command(self, name: str, arguments: dict[str, Any], seconds: float, answer: Answer) -> None:
        """Carry out a command of the user's, in a process apart."""
        self._node.user_command(name, arguments, seconds, answer)


class _Both:
    """A purge's two counts at a node: of the tasks that are its own, and of what it holds for others."""

    def __init__(self, answer: Callable[[PurgeOutcome], None]) -> None:
        self._answer = answer
        self._own: int | None = None
        self._answered: PurgeAnswered | None = None

    def on_own(self, discarded: int) -> None:
        """Take what the node's own owner has discarded."""
        self._own = discarded
        self._answer_if_complete()

    def on_answered(self, answered: PurgeAnswered) -> None:
        """Take what the holder says."""
        self._answered = answered
        self._answer_if_complete()

    def _answer_if_complete(self) -> None:
        if self._own is not None and self._answered is not None:
            _, own, clients, silent = self._answered
            self._answer(PurgeOutcome(own + self._own, clients, silent))
