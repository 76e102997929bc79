"""Attempts that a node holds and may not start yet: their time has not come, or a rate limit holds them back.

What is parked takes up no slot and no credit, but room in a budget of its own; past that the owner keeps it. What
expires before it has started ends here too, parked or queued.

The rule for the budget: a client may have more parked as long as it has less there than there is room left. So
one client gets half of it, two a third each, and so on. What waits for its time, and not for a rate limit, may
fill three quarters only: of the rest any function with a limit has what it needs to go on at its rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, NamedTuple

from meshq.core.budget import large_size
from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.held import ClientAccount, Held, HeldState
from meshq.core.holding import HolderEffect, RateLimitSet
from meshq.core.rates import Bucket, Rates
from meshq.core.reporting import Reports
from meshq.core.terms import Terms
from meshq.protocol.messages import Nack, Parked, Status
from meshq.protocol.payload import payload_size

MAX_PARKED = 10_000
MAX_PARKED_BYTES = 64 * 1024**2
"""Of arguments, of all clients together, or a sixteenth of the node's budget where that is less. What was taken
before may still come here when these are used up: a rate limit that is set holds back what was queued."""
COUNTDOWN_SHARE = 0.75
"""Of both, for what waits for its time. The threat: clients that leave ten thousand tasks for tomorrow, while
another's function with a limit, which has to be parked for moments, comes to a stand."""


class ParkedView(NamedTuple):
    """A parked attempt as others may see it; ``reason`` is ``countdown`` or ``rate limit``."""

    held: Held
    seconds: float
    """Until it may be queued, as far as that is known now."""
    reason: str


class Parking:
    """All parked attempts, and the rate limits; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self, dispatch: Dispatch, reports: Reports, endings: Endings, effects: list[HolderEffect]
    ) -> None:
        self.count = 0
        self.bytes = 0
        """How many attempts are parked, and what their arguments take up."""
        self._dispatch = dispatch
        self._alarms = dispatch.alarms
        self._reports = reports
        self._budget = reports.budget
        self._most_bytes = min(MAX_PARKED_BYTES, self._budget.total // 16)
        self._endings = endings
        self._effects = effects
        self._rates = Rates()
        self.timers = self._alarms, self._rates.due
        self._declared: dict[str, Terms] = {}
        self._special: set[str] = set()
        """The functions that have, or had, a limit or terms of their own. The others' plain calls pass by."""
        self._last_number = 0

    def declare(self, options: Mapping[str, dict[str, Any]]) -> None:
        """Learn what functions declare of themselves, before any is called; limits set by command stay."""
        self._declared = {function: Terms(declared) for function, declared in options.items()}
        self._rates.declare(self._declared)
        self._special.update(
            function
            for function, terms in self._declared.items()
            if terms.rate or terms.expires_s is not None or terms.priority is not None
        )

    def rate_of(self, function: str) -> float:
        """Return a function's limit in runs a second, 0 for none."""
        return self._rates.of(function)

    def is_special(self, function: str) -> bool:
        """Whether calls of a function have to be looked at here even where they bring nothing of their own."""
        return function in self._special

    # ------------------------------------------------------------------ what comes

    def take(self, held: Held, now: float) -> bool:
        """Deal with an attempt that must wait, or has expired; return False where it is to be queued now.

        It has just arrived, or has come back from a worker that had not started it, and was given back.
        """
        if held.terms is None and held.function not in self._special:
            return False
        arrives = held.state is HeldState.QUEUED
        terms = self._begin(held, now) if arrives else terms_of(held)
        if terms.expires_at <= now:
            self._endings.end(held, Status.EXPIRED, "", b"", 0.0, now)
        elif self._may_queue(held, terms, now):
            self._set_alarm(held, terms, now)
            return False
        elif arrives and self._has_its_share(held.client, terms):
            self._refuse(held)
        else:
            self._park(held, terms, now)
            self.report(held, now)
        return True

    @staticmethod
    def give_back(held: Held) -> None:
        """Give back the token of a run that no worker has started."""
        if held.terms is not None and held.terms.bucket is not None:
            held.terms.bucket.refund()

    def report(self, held: Held, now: float) -> None:
        """Tell the client that its attempt is parked, and for how long as things stand."""
        self._reports.say(held.client, Parked(held.task, held.attempt, self.view(held, now).seconds))

    def _begin(self, held: Held, now: float) -> Terms:
        terms, declared = terms_of(held), self._declared.get(held.function)
        if declared is not None:
            if terms.priority is None and declared.priority is not None:
                held.priority = declared.priority
            if terms.expires_s is None:
                terms.expires_s = declared.expires_s
        terms.begin(now)
        return terms

    def _may_queue(self, held: Held, terms: Terms, now: float) -> bool:
        """Whether nothing holds the attempt back; it then has its token."""
        if terms.start_at > now:
            return False
        terms.bucket = bucket = self._rates.bucket_of(held)
        if bucket is None:
            return True
        self._number(terms)
        return bucket.admit(held, now)

    def _number(self, terms: Terms) -> None:
        """Keep its place in the order of those under a rate limit, wherever it goes."""
        if not terms.number:
            self._last_number += 1
            terms.number = self._last_number

    def _has_its_share(self, client: ClientAccount, terms: Terms) -> bool:
        """Whether nothing more of the client's is to be parked for this reason; see the module's rule."""
        share = COUNTDOWN_SHARE if terms.bucket is None else 1.0
        left, bytes_left = share * MAX_PARKED - self.count, share * self._most_bytes - self.bytes
        return client.parked >= left or client.parked_bytes >= bytes_left

    def _refuse(self, held: Held) -> None:
        text = (
            f"the node has {self.count} attempts parked, {held.client.parked} of them this client's, "
            f"with {self.bytes} bytes of arguments"
        )
        self._endings.refuse(held)
        self._reports.say(held.client, Nack(held.task, held.attempt, "parked", text))

    # ------------------------------------------------------------------ the books

    def _park(self, held: Held, terms: Terms, now: float) -> None:
        held.state = HeldState.PARKED
        if held.booked:
            self._budget.release(held)  # the parked have a budget of their own
        size = payload_size(held.payload)
        held.client.parked += 1
        held.client.parked_bytes += size
        self.count += 1
        self.bytes += size
        if terms.bucket is not None:
            terms.bucket.put(held)
        self._set_alarm(held, terms, now)

    def _set_alarm(self, held: Held, terms: Terms, now: float) -> None:
        at = terms.alarm_at(now)
        if at != inf:
            self._alarms.set(held, at)

    def _leaves(self, held: Held) -> None:
        size = payload_size(held.payload)
        held.client.parked -= 1
        held.client.parked_bytes -= size
        self.count -= 1
        self.bytes -= size

    def _queue(self, held: Held) -> None:
        """Let a parked attempt on, which is in no bucket any more."""
        self._leaves(held)
        self._budget.take(held, large_size(held.payload))
        held.state = HeldState.QUEUED
        if terms_of(held).overtaken:
            self._dispatch.queue_ahead(held)
        else:
            self._dispatch.queue(held)

    def remove(self, held: Held) -> None:
        """Take a parked attempt out."""
        bucket = terms_of(held).bucket
        if bucket is not None:
            bucket.remove(held)
        self._alarms.cancel(held)
        self._leaves(held)

    def clear(self, client: ClientAccount) -> list[Held]:
        """Take all that is parked of a client out, and return it."""
        if not client.parked:
            return []
        helds = [held for held in client.held.values() if held.state is HeldState.PARKED]
        for held in helds:
            self.remove(held)
        return helds

    def view(self, held: Held, now: float) -> ParkedView:
        """Return how long a parked attempt has to wait at most, as things stand, and why."""
        terms = terms_of(held)
        if terms.bucket is None:
            return ParkedView(held, max(0.0, terms.start_at - now), "countdown")
        return ParkedView(held, terms.bucket.seconds(terms.bucket.parked, now), "rate limit")

    def parked(self, now: float) -> Iterator[ParkedView]:
        """Yield what is parked, the soonest first."""
        views = [
            self.view(held, now)
            for held, _ in self._alarms.items()
            if held.state is HeldState.PARKED and terms_of(held).bucket is None
        ]
        for bucket in self._rates.buckets():
            for place, held in enumerate(bucket.waiting(), 1):
                views.append(ParkedView(held, bucket.seconds(place, now), "rate limit"))
        yield from sorted(views, key=lambda view: view.seconds)

    # ------------------------------------------------------------------ a limit is changed

    def on_rate_limit_set(self, event: RateLimitSet, now: float) -> None:
        """Change a function's rate limit; it acts at once on what is parked and queued.

        Runs ahead at a worker are called back: those the worker has not started come here again.
        """
        self._special.add(event.function)
        if event.rate:
            self._limit(event.function, event.rate, now)
        else:
            self._lift(event.function)

    def _limit(self, function: str, rate: float, now: float) -> None:
        self._effects.extend(self._dispatch.recall_ahead(function))
        for held in self._dispatch.handed_out(function):
            self._number(terms_of(held))  # should it come back, it was first
        queued = self._dispatch.take_out(function)
        bucket = self._rates.set(function, rate, now)
        for held in queued:
            terms = terms_of(held)
            terms.bucket = bucket
            self._number(terms)
            self._park(held, terms, now)
        self._release(bucket, now)
        for held in queued:
            if held.state is HeldState.PARKED:
                self.report(held, now)

    def _lift(self, function: str) -> None:
        """Let all go on, with no limit any more; what is queued with a token stays where it is."""
        bucket = self._rates.lift(function)
        if bucket is None:
            return
        for held in bucket.queued():
            terms_of(held).bucket = None
        for held in list(bucket.waiting()):
            bucket.remove(held)
            terms_of(held).bucket = None
            self._queue(held)

    # ------------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Queue what may start now, and end what has expired."""
        for held in self._alarms.pop_due(now):
            self._on_alarm(held, now)
        for bucket in self._rates.due.pop_due(now):
            self._release(bucket, now)

    def _on_alarm(self, held: Held, now: float) -> None:
        """The time of an attempt that waits has come, or is over."""
        terms = terms_of(held)
        if terms.expires_at <= now:
            if held.state is HeldState.QUEUED:
                self._dispatch.unqueue(held)
            else:
                self.remove(held)
            self._endings.end(held, Status.EXPIRED, "", b"", 0.0, now)
            return
        if self._may_queue(held, terms, now):
            self._queue(held)
            self._set_alarm(held, terms, now)
        else:
            self._leaves(held)
            self._park(held, terms, now)

    def _release(self, bucket: Bucket, now: float) -> None:
        """Queue as many as there are tokens for, those that others have had for too long included."""
        self._queue_next(bucket, now)
        while (late := bucket.step_back(now)) is not None:
            terms = terms_of(late)
            terms.overtaken = True
            self._dispatch.unqueue(late)
            self._park(late, terms, now)
            self._queue_next(bucket, now)

    def _queue_next(self, bucket: Bucket, now: float) -> None:
        while (held := bucket.pop_next(now)) is not None:
            self._queue(held)


def terms_of(held: Held) -> Terms:
    """Return what is asked of the node for an attempt, with no demands where it has none yet."""
    if held.terms is None:
        held.terms = Terms({})
    return held.terms
