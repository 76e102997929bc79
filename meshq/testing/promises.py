"""What is promised of time, retries, rates, revokes and purges, checked against what nodes and workers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from meshq.core.owned import OwnedTask
from meshq.core.work import Run
from meshq.protocol.messages import Message, Relayed, Submit
from meshq.tasks import parse_rate
from meshq.testing.agenda import Agenda
from meshq.testing.slots import SimFunction

_ROUNDING_S = 1e-6
_RATE_S = 0.02
"""A rate limit lets so much of it start at once, and one run at least."""
_SLACK = 0.05
"""Of a run, for the moments between a node's count and the start of what it has counted."""


class _Bucket:
    """What a rate limit lets start: ``level`` runs now."""

    def __init__(self, rate: float, now: float, given: int) -> None:
        self.rate = rate
        self.room = max(1.0, _RATE_S * rate) + _SLACK
        self.level = self.room + given
        self._at = now

    def start(self, now: float) -> bool:
        """Take a run out; return whether there was one."""
        if self.level < self.room:
            self.level = min(self.room, self.level + self.rate * (now - self._at))
        self._at = now
        self.level -= 1.0
        return self.level >= -_ROUNDING_S


class Promises:
    """The rules; ``fail`` is called with words and the task when one is broken."""

    def __init__(
        self, agenda: Agenda, functions: dict[str, SimFunction], fail: Callable[[str, bytes], None]
    ) -> None:
        self._agenda = agenda
        self._functions = functions
        self._fail = fail
        self._due_at: dict[bytes, float] = {}
        self._over_at: dict[bytes, float] = {}
        """Task → when it expires, by its owner's clock."""
        self._expires_at: dict[tuple[bytes, bytes], float] = {}
        """(node, task) → until when it must have started there."""
        self._again_at: dict[tuple[str, bytes], float] = {}
        """(client, task) → when it may be sent again."""
        self._rates: dict[tuple[bytes, str], float] = {}
        """(node, function) → the rate that was set there."""
        self._buckets: dict[tuple[bytes, str, Any], _Bucket] = {}
        self._refused: set[tuple[str, bytes]] = set()
        self._once: set[bytes] = set()
        """Tasks that must not start again."""
        self._discarded: dict[tuple[bytes, str], int] = {}
        """(command, client) → what the client says that it has discarded."""

    # ------------------------------------------------------------------ time

    def submitted(self, task: OwnedTask) -> None:
        """Take note of when a task may start, and when it may have expired."""
        options, now = task.options or {}, self._agenda.now
        self._due_at[task.id] = now + options.get("countdown", 0.0)
        declared = self._functions[task.function].options if task.function in self._functions else {}
        expires = options.get("expires", declared.get("expires"))
        if expires is not None:
            self._over_at[task.id] = now + expires

    def may_expire(self, task: OwnedTask) -> bool:
        """Whether it is not too early for a task to end as expired."""
        now = self._agenda.now
        return now >= self._over_at.get(task.id, now + 1.0) - _ROUNDING_S

    def arrived(self, node: bytes, message: Submit) -> None:
        """Take note of until when an attempt must have started at a node."""
        expires = (message.options or {}).get("expires")
        if expires is not None:
            key = node, message.task
            self._expires_at[key] = max(self._expires_at.get(key, 0.0), self._agenda.now + expires)

    def handed(self, node: bytes, run: Run) -> None:
        """Check that a run that is given to a worker may start now."""
        now = self._agenda.now
        if now < self._due_at.get(run.task, now) - _ROUNDING_S:
            self._fail(f"a task is to start {self._due_at[run.task] - now:.3f} s before its time", run.task)
        expires_at = self._expires_at.get((node, run.task), now)
        if now > expires_at + _ROUNDING_S:
            self._fail(f"a task is to start {now - expires_at:.3f} s after it has expired", run.task)

    def sent(self, client: str, messages: list[Message]) -> None:
        """Check what an owner sends: what is left of a task's durations, and no try before its pause is over."""
        for message in messages:
            if isinstance(message, Submit):
                self._check_durations(message)
                early_s = self._again_at.get((client, message.task), -inf) - self._agenda.now
                if early_s > _ROUNDING_S:
                    self._fail(f"a task is tried again {early_s:.3f} s too early", message.task)

    def _check_durations(self, message: Submit) -> None:
        now, task, options = self._agenda.now, message.task, message.options or {}
        says_s, wait_s = options.get("countdown", 0.0), max(0.0, self._due_at[task] - now)
        # What a lost node said of a detached task's next try holds elsewhere too.
        is_retry = message.detached and message.attempt > 1 and says_s > wait_s
        if abs(says_s - wait_s) > _ROUNDING_S and not is_retry:
            self._fail(f"a task is sent with a countdown of {says_s}, not {wait_s}", task)
        if "expires" in options:
            says_s, left_s = options["expires"], max(0.0, self._over_at[task] - now)
            if abs(says_s - left_s) > _ROUNDING_S:
                self._fail(f"a task is sent to expire in {says_s} s, of {left_s} that are left", task)

    # ------------------------------------------------------------------ retries

    def retry_planned(self, client: str, task: OwnedTask, seconds: float, count: int) -> None:
        """Check that an owner may try a task again, for the ``count``-th time, and take note of when."""
        most = {**self._functions[task.function].options, **(task.options or {})}.get("max_retries", 0)
        if count > most:
            self._fail(f"a task is to be tried again for the time {count} of {most}", task.id)
        self._again_at[client, task.id] = self._agenda.now + seconds

    def retry_asked(self, task: bytes) -> None:
        """Take note that a run has asked for another one: also of what is to run at most once."""
        self._once.discard(task)

    def _check_retries(self, row: list[Any], options: Mapping[str, Any]) -> None:
        most = {**self._functions[row[3]].options, **options}.get("max_retries", 0)
        if options.get("retries", 0) > most:
            self._fail(f"a task starts for retry {options['retries']} of {most}", row[1])

    # ------------------------------------------------------------------ what starts

    def rate_set(self, node: bytes, function: str, rate: float, given: int) -> None:
        """Take note of a rate limit that holds from now on; so many runs of it may have been given out."""
        self._rates[node, function] = rate
        self._buckets[node, function, None] = _Bucket(rate, self._agenda.now, given)

    def started(self, node: bytes, name: str, row: list[Any]) -> None:
        """Check that a run that a worker starts was not revoked, and does not exceed its rate or its retries."""
        task, options = row[1], row[6] or {}
        if options.get("once") and not options.get("key"):
            if task in self._once:
                self._fail(f"{name} starts a task for the second time, which is to run at most once", task)
            self._once.add(task)
        if (name, task) in self._refused:
            self._fail(f"{name} starts a task after it has acknowledged its revocation", task)
        self._check_retries(row, options)
        self._check_rate(node, name, row, options.get("rate_limit"))

    def _check_rate(self, node: bytes, name: str, row: list[Any], own: Any) -> None:
        function, now = row[3], self._agenda.now
        declared = self._functions[function].options.get("rate_limit", 0)
        rate = parse_rate(self._rates.get((node, function), declared) if own is None else own)
        if not rate:
            return
        bucket = self._buckets.setdefault((node, function, own), _Bucket(rate, now, 0))
        if not bucket.start(now):
            self._fail(f"{name} starts more than {rate:g} of {function} in a second", row[1])

    # ------------------------------------------------------------------ revokes and purges

    def refused(self, name: str, tasks: list[bytes]) -> None:
        """Take note that a node has acknowledged a revoke."""
        self._refused.update((name, task) for task in tasks)

    def relayed(self, client: str, messages: list[Message]) -> None:
        """Check that a client says the same of a purge to all that ask."""
        for message in messages:
            if isinstance(message, Relayed):
                known = self._discarded.setdefault((message.command, client), message.discarded)
                if known != message.discarded:
                    self._fail(f"{client} says {known}, then {message.discarded} of one purge", b"")

    def discarded(self, client: str) -> int:
        """Return how many tasks a client has discarded, in all purges together."""
        return sum(count for (_, name), count in self._discarded.items() if name == client)
