"""Rate limits: tokens, who waits for them, and which rate is in force."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from meshq.core import rates as module
from meshq.core.held import ClientAccount, Held
from meshq.core.rates import PATIENCE_S, Bucket, Rates
from meshq.core.terms import Terms
from meshq.core.timers import Timers
from meshq.protocol.messages import Submit

BEGIN = 100.1
A, B = ClientAccount(b"a" * 16, now=0.0), ClientAccount(b"b" * 16, now=0.0)


class Tap:
    """A bucket, its clock, and attempts that come to it."""

    def __init__(self, rate: float) -> None:
        self.due: Timers[Bucket] = Timers()
        self.bucket = Bucket(rate, self.due)
        self.numbers = 0

    def held(self, client: ClientAccount = A, priority: int = 5) -> Held:
        """Return an attempt that comes after those before it."""
        self.numbers += 1
        held = attempt(client, priority=priority)
        assert held.terms is not None
        held.terms.number = self.numbers
        return held

    def park(self, *clients: ClientAccount) -> list[Held]:
        """Park an attempt of each client."""
        helds = [self.held(client) for client in clients]
        for held in helds:
            self.bucket.put(held)
        return helds

    def queue(self, now: float) -> list[Held]:
        """Take out what may be queued now."""
        return list(self._queue(now))

    def _queue(self, now: float) -> Iterator[Held]:
        while (held := self.bucket.pop_next(now)) is not None:
            yield held

    def next_at(self) -> float | None:
        """Return when the bucket is to be looked at."""
        return self.due.get(self.bucket)


def attempt(client: ClientAccount = A, function: str = "f", **options: object) -> Held:
    """Return an attempt."""
    held = Held(client, *Submit(b"t" * 16, 1, function, "msgpack", b"", False, options or {"priority": 5}))
    assert held.terms is not None
    return held


def test_two_a_second_start_half_a_second_apart() -> None:
    """However late the bucket is looked at, and however long a token has been there."""
    tap = Tap(2.0)
    tap.park(A, A, A, A)
    starts = []
    now = BEGIN + 7.3
    for late in (0.0, 0.003, 0.7, 0.0):
        now += late
        [held] = tap.queue(now)
        assert tap.bucket.pop_next(now) is None, "one at a time"
        tap.bucket.spend(held, now)
        starts.append(now)
        now = tap.next_at() or now
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(gap >= 0.5 - 1e-9 for gap in gaps)
    assert gaps[0] == pytest.approx(0.503)


@pytest.mark.parametrize("rate", [2.0, 75.0, 1000.0, 1e6])
def test_the_rate_is_kept(rate: float) -> None:
    """Over many tokens, looked at by its own deadlines, or a few milliseconds late where the rate allows that."""
    tap, now, count = Tap(rate), BEGIN, 0
    late = 0.005 if rate >= 1000.0 else 0.0
    while now < BEGIN + 2000 / rate + 0.1:
        tap.park(A)
        while tap.bucket.parked < rate * 0.02 + 1:
            tap.park(A)
        for held in tap.queue(now):
            tap.bucket.spend(held, now)
            count += 1
        at = tap.next_at()
        assert at is not None
        assert at > now
        now = at + late
    assert count == pytest.approx(rate * (now - BEGIN), rel=0.02, abs=rate * 0.03 + 1)


def test_no_more_are_queued_than_there_are_tokens() -> None:
    """So that nothing bursts after the slots were busy: 20 ms of tokens is all that gathers."""
    tap = Tap(200.0)
    tap.park(*[A] * 10)
    queued = tap.queue(BEGIN + 60.0)
    assert len(queued) == 4
    assert tap.next_at() is None
    for held in queued:
        tap.bucket.spend(held, BEGIN + 90.0)
    assert tap.next_at() == pytest.approx(BEGIN + 90.005)
    assert tap.queue(BEGIN + 90.0) == []


def test_who_comes_first_need_not_wait() -> None:
    """A token that is there goes to whoever comes, unless others wait for one already."""
    tap = Tap(2.0)
    first, second = tap.held(), tap.held()
    assert tap.bucket.is_idle
    assert tap.bucket.admit(first, BEGIN)
    assert not tap.bucket.is_idle
    assert list(tap.bucket.queued()) == [first]
    assert not tap.bucket.admit(second, BEGIN)
    tap.bucket.free(first)
    tap.bucket.put(second)
    assert not tap.bucket.is_idle
    assert not tap.bucket.admit(tap.held(), BEGIN)
    assert tap.queue(BEGIN) == [second]


def test_clients_take_turns_each_by_its_own_priorities() -> None:
    """One that always says 9 gets no more than another; within a client 9 goes first, then who came first."""
    tap = Tap(2.0)
    a = [tap.held(A, priority) for priority in (5, 9, 0, 9)]
    b = [tap.held(B, priority) for priority in (0, 1)]
    for held in (*reversed(a), *b):
        tap.bucket.put(held)
    order = [a[1], b[1], a[3], b[0], a[0], a[2]]
    assert list(tap.bucket.waiting()) == order
    got, now = [], BEGIN
    while tap.bucket.parked:
        [held] = tap.queue(now)
        tap.bucket.spend(held, now)
        got.append(held)
        now += 0.5
    assert got == order


def test_taking_one_out() -> None:
    """The others keep their order, and there is nothing to wait for when none is left."""
    tap = Tap(2.0)
    first, second, third = tap.park(A, A, B)
    tap.bucket.remove(first)
    tap.bucket.remove(third)
    assert list(tap.bucket.waiting()) == [second]
    tap.bucket.remove(second)
    assert (tap.bucket.parked, tap.next_at()) == (0, None)


def test_how_long_those_waiting_have_to_wait() -> None:
    """By their place; a bucket that has long been full has no more than it holds."""
    tap = Tap(2.0)
    tap.park(A, A, A)
    assert [tap.bucket.seconds(place, BEGIN + 60.0) for place in (1, 2, 3)] == pytest.approx([0.0, 0.5, 1.0])
    [held] = tap.queue(BEGIN + 60.0)
    assert tap.bucket.seconds(1, BEGIN + 60.1) == pytest.approx(0.5)
    tap.bucket.spend(held, BEGIN + 60.2)
    assert tap.bucket.seconds(1, BEGIN + 60.3) == pytest.approx(0.4)


def test_a_run_that_did_not_start_has_spent_nothing() -> None:
    """Its token is there for the next at once."""
    tap = Tap(2.0)
    first, second = tap.park(A, A)
    assert tap.queue(BEGIN) == [first]
    tap.bucket.spend(first, BEGIN)
    assert tap.queue(BEGIN + 0.1) == []
    tap.bucket.refund()
    assert tap.queue(BEGIN + 0.1) == [second]


def test_another_rate_goes_on_with_the_tokens_that_are_there() -> None:
    """Neither does it begin with a new token, nor lose one."""
    tap = Tap(1.0)
    tap.park(A, A, A)
    [held] = tap.queue(BEGIN)
    tap.bucket.spend(held, BEGIN)
    tap.bucket.change(4.0, BEGIN + 0.5)
    assert tap.next_at() == pytest.approx(BEGIN + 0.625)
    [held] = tap.queue(BEGIN + 0.63)
    tap.bucket.spend(held, BEGIN + 0.63)
    tap.bucket.change(1000.0, BEGIN + 60.0)
    assert len(tap.queue(BEGIN + 60.0)) == 1
    assert tap.bucket.rate == 1000.0


@pytest.mark.parametrize(("rate", "alone"), [(0.1, True), (99.0, True), (100.0, False), (1e9, False)])
def test_at_low_rates_runs_go_alone(rate: float, alone: bool) -> None:
    """Where one starts at a time, it should start when it is given to a worker."""
    tap = Tap(rate)
    assert tap.bucket.goes_alone is alone
    terms = Terms({})
    terms.bucket = tap.bucket
    assert terms.goes_alone is alone


@pytest.mark.parametrize("rate", [5e-324, 1e-12, 1e300])
def test_rates_beyond_reason(rate: float) -> None:
    """A peer may ask for any; the arithmetic holds."""
    tap = Tap(rate)
    tap.park(A, A)
    first = tap.queue(BEGIN)[0]
    tap.bucket.spend(first, BEGIN)
    assert tap.bucket.seconds(2, BEGIN) <= 2e9


# ---------------------------------------------------------------------- a token that is not made use of


def test_a_client_that_makes_no_use_of_a_token_steps_back_for_another() -> None:
    """After half a second, in favour of whom it is the turn."""
    tap = Tap(2.0)
    a1, _, b1 = tap.park(A, A, B)
    assert tap.queue(BEGIN) == [a1]
    assert tap.next_at() == BEGIN + PATIENCE_S
    assert tap.bucket.step_back(BEGIN + 0.49) is None
    assert tap.bucket.step_back(BEGIN + PATIENCE_S) is a1
    tap.bucket.free(a1)
    tap.bucket.put(a1)
    assert tap.queue(BEGIN + PATIENCE_S) == [b1]
    assert tap.next_at() == BEGIN + 2 * PATIENCE_S
    assert tap.bucket.step_back(BEGIN + 2 * PATIENCE_S) is b1
    tap.bucket.free(b1)
    tap.bucket.put(b1)
    assert tap.queue(BEGIN + 2 * PATIENCE_S) == [a1], "it keeps its place"


def test_it_does_not_step_back_for_those_behind_it() -> None:
    """But for one of its own client that has a higher priority."""
    tap = Tap(2.0)
    [a1, _] = tap.park(A, A)
    tap.queue(BEGIN)
    assert (tap.next_at(), tap.bucket.step_back(BEGIN + 60.0)) == (None, None)
    urgent = tap.held(A, 9)
    tap.bucket.put(urgent)
    assert tap.bucket.step_back(BEGIN + 60.0) is a1
    tap.bucket.free(a1)
    tap.bucket.put(a1)
    assert tap.queue(BEGIN + 60.0) == [urgent]


def test_nobody_steps_back_while_there_are_tokens() -> None:
    """Those to come in the next 20 ms included."""
    tap = Tap(100.0)
    a1, b1 = tap.held(A), tap.held(B)
    assert tap.bucket.admit(a1, BEGIN)
    tap.bucket.spend(a1, BEGIN)
    assert tap.bucket.admit(b1, BEGIN + 0.001)
    tap.park(A)
    assert tap.next_at() == pytest.approx(BEGIN + 0.01)
    assert tap.bucket.step_back(BEGIN + 60.0) is None


# ---------------------------------------------------------------------- which rate is in force


def test_a_call_s_rate_comes_before_one_that_is_set_and_that_before_what_is_declared() -> None:
    """A call's own has a bucket of its own, shared by the calls of that function with that rate."""
    rates = Rates()
    assert rates.bucket_of(attempt()) is None
    rates.declare({"f": Terms({"rate_limit": "6/m"}), "g": Terms({"priority": 1})})
    assert (rates.of("f"), rates.of("g"), rates.of("h")) == (0.1, 0.0, 0.0)
    declared = rates.bucket_of(attempt())
    assert declared is not None
    assert declared.rate == 0.1
    assert rates.set("f", 3.0, BEGIN) is declared
    assert rates.of("f") == declared.rate == 3.0
    rates.declare({"f": Terms({"rate_limit": 7})})
    assert rates.of("f") == 3.0
    own = rates.bucket_of(attempt(rate_limit=5))
    assert own is not None
    assert (own.rate, own is declared) == (5.0, False)
    assert rates.bucket_of(attempt(rate_limit="5/s")) is own
    assert rates.bucket_of(attempt(rate_limit=6)) is not own
    assert rates.bucket_of(attempt(rate_limit=0)) is None


def test_lifting_a_limit() -> None:
    """What is declared does not come back; a limit may be set anew."""
    rates = Rates()
    rates.declare({"f": Terms({"rate_limit": 2})})
    bucket = rates.bucket_of(attempt())
    assert rates.lift("f") is bucket
    assert rates.lift("f") is None
    assert rates.of("f") == 0.0
    assert rates.bucket_of(attempt()) is None
    anew = rates.set("f", 4.0, BEGIN)
    assert anew is not bucket
    assert list(rates.buckets()) == [anew]


def test_buckets_of_calls_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody waits for go, once there are many; the functions' own stay, and those in use."""
    monkeypatch.setattr(module, "_SWEEP_AT", 10)
    rates = Rates()
    rates._sweep_at = 10
    kept = [rates.set("f", 2.0, BEGIN)]
    for number in range(1, 200):
        held = attempt(rate_limit=number)
        bucket = rates.bucket_of(held)
        assert bucket is not None
        if number % 50 == 0:
            assert bucket.admit(held, BEGIN)
            kept.append(bucket)
    assert len(list(rates.buckets())) <= 10 + len(kept)
    assert set(kept) <= set(rates.buckets())
