"""Rate limits: a token bucket for each function that has one at this node, and for each call that brings its own.

Rules. A bucket gains ``rate`` tokens a second and holds those of 20 ms, at least one. A token is spent when a run
is given to a worker. Only as many attempts as there are tokens are queued, the rest is parked: so however long
the slots were busy, no more starts at once than the bucket holds. Clients that share a bucket are served in turn,
each by its own priorities.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from math import inf

from meshq.core.held import ClientAccount, Held
from meshq.core.terms import Terms
from meshq.core.timers import Timers

BURST_S = 0.020
"""For how long a bucket gathers tokens, so that a loop that comes round late does not lower the rate."""
PATIENCE_S = 0.5
"""How long the token of one who is queued and not started is kept from another client that waits for it."""
_LONGEST_S = 1e9
_SWEEP_AT = 1_000
"""Rates come with calls: from so many buckets on, those that nobody waits for are let go of."""


class Bucket:
    """The tokens of one function's limit, or of one call's, and who waits for them."""

    def __init__(self, rate: float, due: Timers[Bucket]) -> None:
        self._due = due
        self._set(rate)
        self._empty_at = -inf
        """When it was empty, had nothing been spent or spilt since; it begins full."""
        self._queued: OrderedDict[Held, float] = OrderedDict()
        """Those that have a token and are queued → since when."""
        self._lines: OrderedDict[ClientAccount, list[Held]] = OrderedDict()
        """What is parked of each client, the next one last; the client whose turn it is comes first."""
        self.parked = 0

    def _set(self, rate: float) -> None:
        self.rate = rate
        self._capacity = max(1.0, rate * BURST_S)
        self._interval_s = min(1.0 / rate, _LONGEST_S)

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a token of it, or waits for one."""
        return not (self._queued or self._lines)

    @property
    def goes_alone(self) -> bool:
        """Whether it lets one through at a time: which is to start there and then, not behind another run."""
        return self._capacity < 2.0

    # ------------------------------------------------------------------ who is parked

    def put(self, held: Held) -> None:
        """Park an attempt here; it has its number."""
        insort(self._lines.setdefault(held.client, []), held, key=_rank)
        self.parked += 1
        self._arm()

    def remove(self, held: Held) -> None:
        """Take a parked attempt out."""
        line = self._lines[held.client]
        del line[bisect_left(line, _rank(held), key=_rank)]
        self._taken_from(held.client, line)

    def _taken_from(self, client: ClientAccount, line: list[Held]) -> None:
        if not line:
            del self._lines[client]
        self.parked -= 1
        self._arm()

    def queued(self) -> Iterator[Held]:
        """Yield those that have a token and are queued."""
        yield from self._queued

    def waiting(self) -> Iterator[Held]:
        """Yield what is parked, in the order in which it is to be queued as things stand."""
        for turn in zip_longest(*(reversed(line) for line in self._lines.values())):
            yield from (held for held in turn if held is not None)

    def seconds(self, place: int, now: float) -> float:
        """Return in how many seconds the one at this place of those waiting, from 1 on, may be queued."""
        full_at = max(self._empty_at, now - self._capacity * self._interval_s)
        return max(0.0, full_at + (len(self._queued) + place) * self._interval_s - now)

    # ------------------------------------------------------------------ tokens

    def _token_at(self, place: int) -> float:
        return self._empty_at + (len(self._queued) + place) * self._interval_s

    def _has_token(self, now: float) -> bool:
        return len(self._queued) + 1 <= self._capacity and self._token_at(1) <= now

    def admit(self, held: Held, now: float) -> bool:
        """Give an attempt that has just come a token, to be queued; False where it must be parked."""
        if self._lines or not self._has_token(now):
            return False
        self._queued[held] = now
        return True

    def pop_next(self, now: float) -> Held | None:
        """Take out the next attempt that there is a token for, to be queued."""
        if not self._lines or not self._has_token(now):
            self._arm()
            return None
        client, line = next(iter(self._lines.items()))
        held = line.pop()
        self._queued[held] = now
        self._lines.move_to_end(client)
        self._taken_from(client, line)
        return held

    def spend(self, held: Held, now: float) -> None:
        """A queued attempt is given to a worker."""
        self._empty_at = max(self._empty_at, now - self._capacity * self._interval_s) + self._interval_s
        self.free(held)

    def free(self, held: Held) -> None:
        """An attempt is queued no more."""
        self._queued.pop(held, None)
        self._arm()

    def refund(self) -> None:
        """A run comes back from its worker without having started."""
        self._empty_at -= self._interval_s
        self._arm()

    def change(self, rate: float, now: float) -> None:
        """Go on with another rate, and with the tokens that are there; nothing of it is queued."""
        tokens = min(self._capacity, (now - self._empty_at) / self._interval_s)
        self._set(rate)
        self._empty_at = now - min(tokens, self._capacity) * self._interval_s
        self._arm()

    def step_back(self, now: float) -> Held | None:
        """Return the queued attempt that has to give its token to another, if it is time."""
        at = self._yields_at()
        if at is None or now < at:
            return None
        held = next(iter(self._queued))
        if held.client in self._lines:
            self._lines.move_to_end(held.client)
        return held

    def _yields_at(self) -> float | None:
        """Return when the oldest of those queued is to step back.

        Its client may leave it in its queue for ever, behind others of a higher priority, while another client
        could start one at once.
        """
        if not self._lines or len(self._queued) + 1 <= self._capacity:
            return None
        held, since = next(iter(self._queued.items()))
        client, line = next(iter(self._lines.items()))
        if len(self._lines) == 1 and client is held.client and line[-1].priority <= held.priority:
            return None
        return since + PATIENCE_S

    def _arm(self) -> None:
        """Set the time of the next token that somebody waits for."""
        at = None
        if self._lines:
            at = self._token_at(1) if len(self._queued) + 1 <= self._capacity else self._yields_at()
        if at is None:
            self._due.cancel(self)
        elif at != self._due.get(self):
            self._due.set(self, at)


def _rank(held: Held) -> tuple[int, int]:
    assert held.terms is not None
    return held.priority, -held.terms.number


class Rates:
    """Which rate is in force for what, and the buckets."""

    def __init__(self) -> None:
        self.due: Timers[Bucket] = Timers()
        """When a bucket is to be looked at."""
        self._declared: dict[str, float] = {}
        self._set: dict[str, float] = {}
        """By control command, for functions that the node offers."""
        self._buckets: dict[tuple[str, float | None], Bucket] = {}
        """By function, and by rate where a call has brought its own."""
        self._sweep_at = _SWEEP_AT

    def declare(self, terms: Mapping[str, Terms]) -> None:
        """Learn what functions declare."""
        self._declared = {function: declared.rate for function, declared in terms.items() if declared.rate}

    def of(self, function: str) -> float:
        """Return a function's limit in runs a second, 0 for none."""
        rate = self._set.get(function)
        return self._declared.get(function, 0.0) if rate is None else rate

    def bucket_of(self, held: Held) -> Bucket | None:
        """Return the bucket that an attempt gets its token from, or None where no limit holds."""
        own = held.terms.rate if held.terms is not None else None
        rate = self.of(held.function) if own is None else own
        if not rate:
            return None
        key = held.function, own
        bucket = self._buckets.get(key)
        if bucket is None:
            self._sweep()
            bucket = self._buckets[key] = Bucket(rate, self.due)
        return bucket

    def lift(self, function: str) -> Bucket | None:
        """Let a function have no limit; return the bucket that it had."""
        self._set[function] = 0.0
        return self._buckets.pop((function, None), None)

    def set(self, function: str, rate: float, now: float) -> Bucket:
        """Change a function's limit; return its bucket, of which nothing must be queued."""
        self._set[function] = rate
        bucket = self._buckets.get((function, None))
        if bucket is None:
            bucket = self._buckets[function, None] = Bucket(rate, self.due)
        else:
            bucket.change(rate, now)
        return bucket

    def buckets(self) -> Iterator[Bucket]:
        """Yield all buckets."""
        yield from self._buckets.values()

    def _sweep(self) -> None:
        if len(self._buckets) >= self._sweep_at:
            used = ((key, bucket) for key, bucket in self._buckets.items() if key[1] is None or not bucket.is_idle)
            self._buckets = dict(used)
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._buckets))
