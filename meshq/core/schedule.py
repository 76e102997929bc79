"""When a task may start, until when it must have, and how urgent it is: what its options mean to its owner.

The options have durations, as clocks are not shared; the owner makes instants of its own clock of them, and says
with each SUBMIT how much is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.terms import read_terms
from meshq.core.timers import Timers
from meshq.protocol.messages import Submit

_new = tuple.__new__
"""Makes a message in less than half the time that its class takes, by way of a function in Python."""


class Schedule:
    """Reads the options of new tasks, and ends those that expire while no node has them, by way of ``settle``."""

    def __init__(self, tasks: Mapping[bytes, OwnedTask], settle: Callable[[OwnedTask, Outcome], None]) -> None:
        self._tasks = tasks
        self._settle = settle
        self.timers: Timers[bytes] = Timers()
        """When tasks expire; those whose time has passed at a node are that node's to end."""

    def take(self, task: OwnedTask, now: float) -> None:
        """Turn the durations of a new task's options into instants of this clock."""
        terms = read_terms(task.options or {})
        if terms is None:
            return
        task.once = terms.once
        if terms.priority is not None:
            task.priority = terms.priority
        if terms.countdown_s:
            task.due_at = now + terms.countdown_s
        if terms.expires_s is not None:
            task.expires_at = now + terms.expires_s
            self.timers.set(task.id, task.expires_at)

    def tick(self, now: float) -> None:
        """End the tasks that have expired here."""
        for task_id in self.timers.pop_due(now):
            task = self._tasks[task_id]
            if task.node is None:
                self._settle(task, Outcome(Ending.EXPIRED, text=task.story()))


def take_over_once(task: OwnedTask) -> None:
    """Let a task run at most once, as its node's function declares, unless the call itself says how it is run."""
    if task.options is None or "once" not in task.options:
        task.once = True
        task.options = {**(task.options or {}), "once": True}


def is_delayed(task: OwnedTask, now: float) -> bool:
    """Whether the task may not start yet."""
    return task.due_at is not None and task.due_at > now


def has_expired(task: OwnedTask, now: float) -> bool:
    """Whether the task must not start any more."""
    return task.expires_at is not None and task.expires_at <= now


def submission(task: OwnedTask, now: float) -> Submit:
    """Return the SUBMIT of a task's attempt; its durations are what is left of them."""
    return submissions([task], now)[0]


def submissions(tasks: Iterable[OwnedTask], now: float) -> list[Submit]:
    """Return the SUBMITs of the attempts of several tasks."""
    made = []
    for task in tasks:
        options = task.options
        if task.due_at is not None or task.expires_at is not None:
            options = _left(task, now)
        if task.retries or task.deaths:
            options = _with_history(task, options)
        fields = task.id, task.attempt, task.function, task.serializer, task.payload, task.detached, options
        made.append(_new(Submit, fields))
    return made


def _with_history(task: OwnedTask, options: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add what has become of it so far: the worker shows its tries, who takes it over goes on counting."""
    history = {"retries": task.retries} if task.retries else {}
    if task.detached and task.deaths:
        history["deaths"] = len(task.deaths)
    return {**(options or {}), **history} if history else options


def _left(task: OwnedTask, now: float) -> dict[str, Any]:
    options = dict(task.options or {})
    options.pop("countdown", None)
    if task.due_at is not None and task.due_at > now:
        options["countdown"] = task.due_at - now
    if task.expires_at is not None:
        options["expires"] = max(0.0, task.expires_at - now)
    return options
