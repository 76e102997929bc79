"""Dispatch: whose attempt is next, on which slot, and what comes back."""

from __future__ import annotations

import pytest

from meshq.core.dispatch import TURN_S, WAY_S, Dispatch, is_to_blame
from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import RecallRuns, StartRuns
from meshq.core.rates import Bucket
from meshq.core.slots import LONG_RUN_S
from meshq.core.timers import Timers
from meshq.core.work import Run, WorkerGone
from meshq.protocol.messages import Submit

SHORT_S = 0.0005
BEGIN = 100.1


class Shop:
    """A dispatch with ready slots, and clients A, B and C."""

    def __init__(self, slots: int = 1) -> None:
        self.dispatch = Dispatch(slots)
        for slot in self.dispatch.slots:
            slot.ready = True
        self.clients = {name: ClientAccount(name.encode() * 16, now=0.0) for name in "ABC"}

    def queue(self, *names: str, function: str = "f", **options: object) -> list[Held]:
        """Queue an attempt of each client named."""
        options.setdefault("chunk", True)
        helds = [
            Held(self.clients[name[0]], *Submit(name.encode() * 8, 1, function, "msgpack", b"x", False, options))
            for name in names
        ]
        for held in helds:
            self.dispatch.queue(held)
        return helds

    def learn(self, function: str = "f", seconds: float = SHORT_S) -> None:
        """Let the mean of the function be known."""
        self.dispatch.means.observe(function, seconds)
        self.dispatch.means.fold()

    def fill(self, now: float = BEGIN) -> dict[int, list[str]]:
        """Fill the slots; return the names of what each was given."""
        effects = self.dispatch.fill(now)
        self.recalled = [effect for effect in effects if isinstance(effect, RecallRuns)]
        starts = [effect for effect in effects if isinstance(effect, StartRuns)]
        return {batch.slot: [run.task.decode()[:2] for run in batch.runs] for batch in starts}

    def names(self, client: str) -> list[str]:
        """Return the names of what a client has queued, in the order of their start."""
        return [held.task.decode()[:2] for held in self.clients[client].queued()]

    def end(self, *runs: int, now: float = BEGIN) -> None:
        """Let these runs end."""
        for run in runs:
            assert self.dispatch.release(run, now) is not None


def test_many_are_queued_as_each_would_be_alone() -> None:
    """Behind what is there of their priority, and before what is of a lower one."""
    shop = Shop()
    shop.queue("A1")
    shop.queue("A9", priority=9)
    shop.queue("A0", priority=0)
    client = shop.clients["A"]
    new = [Held(client, *Submit(name * 8, 1, "f", "msgpack", b"x")) for name in (b"A2", b"A3", b"A4")]
    shop.dispatch.queue_all(client, new)
    assert shop.names("A") == ["A9", "A1", "A2", "A3", "A4", "A0"]


def test_many_of_who_has_nothing_queued_give_it_one_turn() -> None:
    """As the first of them alone would; those that come then are behind them."""
    shop = Shop()
    client = shop.clients["A"]
    shop.queue("B1")
    for names in ((b"A1", b"A2"), (b"A3",)):
        new = [Held(client, *Submit(name * 8, 1, "f", "msgpack", b"x")) for name in names]
        shop.dispatch.queue_all(client, new)
    assert shop.names("A") == ["A1", "A2", "A3"]
    assert shop.fill() == {0: ["B1"]}
    shop.end(1)
    assert shop.fill() == {0: ["A1"]}


def test_runs_that_have_ended_are_taken_off_their_slot() -> None:
    """Those that it does not have are nothing."""
    shop = Shop(slots=2)
    first, second = shop.queue("A1", "A2")
    shop.fill()
    assert shop.dispatch.release(99, BEGIN) is None
    assert shop.dispatch.release(first.run, BEGIN) is first
    assert shop.dispatch.running() == 1
    assert shop.dispatch.release(first.run, BEGIN) is None
    assert shop.dispatch.release(second.run, BEGIN) is second


def test_a_worker_gets_all_that_it_needs_of_an_attempt() -> None:
    """One batch for each slot, of runs in the order of their start."""
    shop = Shop()
    [held] = shop.queue("A1")
    assert shop.dispatch.fill(BEGIN) == [
        StartRuns(0, [Run(1, b"A1" * 8, 1, "f", "msgpack", b"x", {"chunk": True})]),
    ]
    assert held.state is HeldState.RUNNING
    assert shop.dispatch.find(1) is held
    assert shop.dispatch.running() == 1
    assert shop.dispatch.fill(BEGIN) == []


def test_clients_take_turns() -> None:
    """However much each has queued, and whatever batch their attempts go in."""
    shop = Shop()
    shop.learn(seconds=0.0004)
    shop.queue("A1", "A2", "A3", "A4", "B1", "C1", "C2")
    assert shop.fill() == {0: ["A1", "B1", "C1", "A2", "C2"]}


def test_a_turn_is_as_many_attempts_as_take_a_quarter_of_a_millisecond() -> None:
    """So each client hears of many results at once; what is left of a turn, it has when there is room again."""
    shop = Shop()
    shop.learn(seconds=TURN_S / 2.4)
    shop.queue(*["A"] * 30, *["B"] * 30)
    assert shop.fill() == {0: [2 * name for name in "AAABBBAAABBBAAABBBA"]}
    shop.end(1, 2, 3)
    assert shop.fill() == {0: ["AA", "AA", "BB"]}


def test_a_turn_goes_on_with_a_lower_priority() -> None:
    """In what order its own attempts go is each client's affair."""
    shop = Shop()
    shop.learn(seconds=TURN_S / 2.4)
    shop.queue(*["A"] * 5, *["B"] * 5)
    shop.queue("A", priority=9)
    assert shop.fill() == {0: [2 * name for name in "AAABBBAAABB"]}


def test_who_was_there_first_has_the_first_turn() -> None:
    """As long as nobody was served."""
    shop = Shop()
    shop.queue("A1", "B1", "A2")
    assert shop.fill() == {0: ["A1"]}


def test_a_turn_is_64_attempts_at_most() -> None:
    """Their expected time is what the last ones took, and may be next to nothing."""
    shop = Shop()
    shop.learn(seconds=0.0)
    shop.queue(*["A"] * 70, "B")
    [started] = shop.fill().values()
    assert started == [2 * name for name in "A" * 64 + "B" + "A" * 6]


@pytest.mark.parametrize("count", [1, 7, 8, 30])
def test_who_empties_its_queue_again_and_again_has_no_more_than_its_share(count: int) -> None:
    """Its turn goes on when it is there again, and then the other has a whole one."""
    shop = Shop()
    shop.learn(seconds=TURN_S / 8)
    shop.queue(*["A"] * 300)
    started: list[str] = []
    while len(started) < 240:
        if not shop.clients["B"].queue:
            shop.queue(*["B"] * count)
        started += [name for names in shop.fill().values() for name in names]
        shop.end(*list(shop.dispatch.slots.all[0].runs)[:3])
    assert started[-200:].count("AA") >= 100


def test_who_comes_second_is_next_after_one_who_was_just_served() -> None:
    """A client alone does not count as waiting for the whole of its queue."""
    shop = Shop()
    shop.queue("A1", "A2")
    assert shop.fill() == {0: ["A1"]}
    shop.queue("B1", "B2")
    shop.end(1)
    assert shop.fill() == {0: ["B1"]}
    shop.queue("C1")
    shop.end(2)
    assert shop.fill() == {0: ["A2"]}


def test_one_that_must_wait_holds_nobody_up() -> None:
    """A client's long attempt waits for an idle slot, while another's short one goes ahead."""
    shop = Shop()
    shop.learn()
    shop.queue("A1", "B1", "A2", function="f")
    shop.queue("C1", function="unknown")
    assert shop.fill() == {0: ["A1", "B1", "A2"]}
    shop.queue("B2", "B3")
    assert shop.fill() == {0: ["B2"]}
    shop.end(1, 2, 3, 4)
    assert shop.fill() == {0: ["C1"]}


def test_a_client_that_is_paused_is_passed_over() -> None:
    """It keeps its queue and its order, whatever is queued or taken out meanwhile; then it takes turns again."""
    shop = Shop(slots=9)
    a, b = shop.clients["A"], shop.clients["B"]
    shop.queue("A1", "A2", "B1")
    shop.dispatch.pause(a)
    shop.dispatch.pause(b)
    shop.dispatch.pause(shop.clients["C"])
    [b2] = shop.queue("B2")
    shop.dispatch.unqueue(shop.queue("C1")[0])
    shop.queue("C2")
    assert shop.fill() == {}
    shop.dispatch.unqueue(b2)
    assert shop.dispatch.clear(b) != []
    shop.dispatch.queue_first(shop.queue("B3"))
    assert [held.task[:2] for held in shop.dispatch.clear(b)] == [b"B3"] * 2
    shop.dispatch.resume(b)
    assert shop.fill() == {}
    shop.dispatch.resume(a)
    shop.queue("A3")
    assert shop.fill() == {0: ["A1"], 1: ["A2"], 2: ["A3"]}


def test_what_a_rate_limit_holds_for_is_taken_out_of_paused_clients_too() -> None:
    """As soon as the client goes on, the limit must hold."""
    shop = Shop()
    helds = shop.queue("A1", "B1", function="limited")
    shop.dispatch.pause(shop.clients["A"])
    assert set(shop.dispatch.take_out("limited")) == set(helds)
    shop.dispatch.resume(shop.clients["A"])
    assert shop.fill() == {}


def test_all_slots_are_filled() -> None:
    """Each slot gets its own batch, and none where its worker is not ready."""
    shop = Shop(slots=3)
    shop.dispatch.slots.all[1].ready = False
    shop.queue("A1", "A2", "A3")
    assert shop.fill() == {0: ["A1"], 2: ["A2"]}


def test_taking_a_queued_attempt_out() -> None:
    """The others keep their order, and a client whose last attempt it was is not waited for."""
    shop = Shop()
    _, a2, _, b1 = shop.queue("A1", "A2", "A3", "B1")
    shop.dispatch.unqueue(a2)
    shop.dispatch.unqueue(b1)
    assert shop.fill() == {0: ["A1"]}
    shop.end(1)
    assert shop.fill() == {0: ["A3"]}
    shop.end(2)
    assert shop.fill() == {}


def test_clearing_a_client_s_queue() -> None:
    """All that it has queued is returned, once; other clients are not touched."""
    shop = Shop()
    a1, b1, a2 = shop.queue("A1", "B1", "A2")
    assert shop.dispatch.clear(shop.clients["A"]) == [a1, a2]
    assert shop.dispatch.clear(shop.clients["A"]) == []
    assert shop.fill() == {0: ["B1"]}
    assert b1.state is HeldState.RUNNING


def test_what_comes_back_is_first_again() -> None:
    """In its order, before what its client has queued, and before other clients."""
    shop = Shop(slots=2)
    shop.learn()
    shop.queue("A1", "B1", "A2", "B2")
    assert shop.fill() == {0: ["A1", "A2"], 1: ["B1", "B2"]}
    back = shop.dispatch.vacate(0)
    assert [held.task[:2] for held in back] == [b"A1", b"A2"]
    shop.dispatch.slots.all[1].ready = False
    shop.queue("C1", "B3")
    shop.dispatch.queue_first(back)
    assert all(held.state is HeldState.QUEUED for held in back)
    shop.dispatch.slots.all[0].ready = True
    assert shop.fill() == {0: ["A1", "C1", "B3", "A2"]}


def test_one_alone_that_comes_back_is_next() -> None:
    """Whether its client has others queued or not, the client has one place in the turns."""
    shop = Shop(slots=2)
    a1, b1, _ = shop.queue("A1", "B1", "A2")
    assert shop.fill() == {0: ["A1"], 1: ["B1"]}
    shop.dispatch.queue_first([*shop.dispatch.vacate(0), *shop.dispatch.vacate(1)])
    for slot in shop.dispatch.slots:
        slot.ready = True
    assert shop.fill() == {0: ["B1"], 1: ["A1"]}
    shop.end(b1.run, a1.run)
    assert shop.fill() == {0: ["A2"]}
    assert shop.fill() == {}


def test_a_slot_without_its_worker_is_empty() -> None:
    """Its runs are not known any more, and it carries no load when the next worker is ready."""
    shop = Shop()
    shop.learn()
    shop.queue("A1", "A2")
    shop.fill()
    shop.dispatch.vacate(0)
    assert shop.dispatch.slots.all[0].runs == {}
    assert shop.dispatch.running() == 0
    assert shop.dispatch.find(1) is None
    assert shop.dispatch.release(1, BEGIN) is None
    shop.queue("A3")
    assert shop.fill() == {}
    shop.dispatch.slots.all[0].ready = True
    assert shop.fill() == {0: ["A3"]}


def test_a_run_that_ends_makes_room() -> None:
    """It is found on its slot by its number alone; an unknown number is nothing."""
    shop = Shop(slots=2)
    shop.queue("A1", "A2", "A3")
    shop.fill()
    assert shop.dispatch.release(9, BEGIN) is None
    shop.end(2)
    assert shop.fill() == {1: ["A3"]}


def test_a_run_that_lasts_is_reported_once() -> None:
    """At 10 ms, with the seconds since it began; then there is nothing more to wait for."""
    shop = Shop(slots=2)
    [held] = shop.queue("A1")
    assert shop.dispatch.next_deadline() is None
    shop.fill()
    due = BEGIN + LONG_RUN_S
    assert shop.dispatch.next_deadline() == due
    assert list(shop.dispatch.newly_long(due - 0.001)) == []
    assert list(shop.dispatch.newly_long(due)) == [(held, due - BEGIN)]
    assert list(shop.dispatch.newly_long(due)) == []
    assert shop.dispatch.next_deadline() is None


def test_slots_at_long_runs_are_known() -> None:
    """From 10 ms on until what runs there ends, is given back, or dies; also where the client was told before."""
    shop = Shop(slots=3)
    a1, a2, a3 = shop.queue("A1", "A2", "A3")
    shop.fill()
    a1.reported = True
    due = BEGIN + LONG_RUN_S
    assert shop.dispatch.next_deadline() == due
    assert [held for held, _ in shop.dispatch.newly_long(due)] == [a2, a3]
    assert shop.dispatch.slots.long == {0, 1, 2}
    assert shop.dispatch.next_deadline() is None
    shop.dispatch.release(a1.run, due)
    assert shop.dispatch.slots.long == {1, 2}
    shop.dispatch.vacate(1)
    assert shop.dispatch.slots.long == {2}
    shop.dispatch.release(a3.run, due)
    assert shop.dispatch.slots.long == set()


def test_a_slot_stays_at_its_long_run_when_one_behind_is_given_back() -> None:
    """It is the first run that counts."""
    shop = Shop()
    shop.learn()
    _, a2 = shop.queue("A1", "A2")
    shop.fill()
    due = BEGIN + LONG_RUN_S
    assert len(list(shop.dispatch.newly_long(due))) == 1
    shop.dispatch.release(a2.run, due)
    assert shop.dispatch.slots.long == {0}


def test_a_run_at_hand_is_called_back_for_a_slot_that_is_free() -> None:
    """One for each, that first which would wait longest, and only where nothing is queued."""
    shop = Shop(slots=3)
    shop.learn(seconds=0.010)
    a1, a2, a3, a4, a5, a6, _ = shop.queue("A1", "A2", "A3", "A4", "A5", "A6", "A7")
    assert shop.fill() == {0: ["A1", "A4"], 1: ["A2", "A5"], 2: ["A3", "A6"]}
    shop.end(a1.run, a4.run, now=BEGIN + 0.001)
    assert shop.fill() == {0: ["A7"]}
    assert shop.recalled == []
    shop.end(a2.run, now=BEGIN + 0.002)
    assert shop.fill() == {}
    assert shop.recalled == []
    shop.end(a5.run, now=BEGIN + 0.003)
    assert shop.fill() == {}
    assert shop.recalled == [RecallRuns(2, [a6.run])]
    assert a6.intent is Intent.REBALANCE
    assert shop.fill() == {}
    assert shop.recalled == []
    shop.end(a3.run, a6.run)
    assert shop.fill() == {}
    assert shop.recalled == []
    assert not shop.dispatch.slots.at_hand


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("f", {"priority": 9}),
        ("f", {"expires": 5.0}),
        ("f", {"once": True}),
        ("unknown", {}),
        ("slow", {}),
        ("quick", {}),
    ],
)
def test_what_may_not_be_at_hand_is_not_passed_by(function: str, options: dict[str, object]) -> None:
    """Runs at hand go in turn: else the slot would never be free for who needs it free."""
    shop = Shop()
    for name, seconds in (("f", 0.010), ("slow", 0.050), ("quick", 0.001)):
        shop.learn(name, seconds)
    first, second = shop.queue("A1", "A2")
    assert shop.fill() == {0: ["A1", "A2"]}
    shop.queue("B1", function=function, **options)
    shop.queue("A3", "A4")
    shop.end(first.run)
    assert shop.fill() == {}
    shop.end(second.run)
    assert shop.fill()[0][0] == "B1"


@pytest.mark.parametrize(
    ("since", "loads", "slot"),
    [((0.0, 0.004), (0.016, 0.013), 1), ((0.004, 0.0), (0.010, 0.016), 1), ((0.004, 0.0), (0.016, 0.016), 0)],
)
def test_the_run_at_hand_that_waits_longest_is_called_back(
    since: tuple[float, ...], loads: tuple[float, ...], slot: int
) -> None:
    """That is what is expected of its slot, from when the run at its head began; one for the slot that is free."""
    shop = Shop(slots=3)
    shop.learn(seconds=0.008)
    *_, a3, a4, a5 = shop.queue("A1", "A2", "A3", "A4", "A5")
    assert shop.fill() == {0: ["A1", "A4"], 1: ["A2", "A5"], 2: ["A3"]}
    for number in range(2):
        shop.dispatch.slots.all[number].head_since = BEGIN + since[number]
        shop.dispatch.slots.all[number].load_s = loads[number]
    shop.dispatch.slots.all[2].ready = False
    shop.end(a3.run)
    assert shop.fill() == {}
    assert shop.recalled == []
    shop.dispatch.slots.all[2].ready = True
    shop.fill()
    assert shop.recalled == [RecallRuns(slot, [(a4, a5)[slot].run])]
    shop.fill()
    assert shop.recalled == []


def test_a_run_at_hand_is_called_back_when_the_one_before_it_takes_too_long() -> None:
    """Three times what it was expected to; it is told of at 10 ms like any other."""
    shop = Shop()
    shop.learn(seconds=0.010)
    first, second = shop.queue("A1", "A2")
    assert shop.fill() == {0: ["A1", "A2"]}
    assert shop.dispatch.next_deadline() == BEGIN + LONG_RUN_S
    assert list(shop.dispatch.newly_long(BEGIN + LONG_RUN_S)) == [(first, BEGIN + LONG_RUN_S - BEGIN)]
    assert list(shop.dispatch.recall_behind(BEGIN + LONG_RUN_S)) == []
    due = shop.dispatch.next_deadline()
    assert due == pytest.approx(BEGIN + 0.030)
    assert list(shop.dispatch.recall_behind(due)) == [RecallRuns(0, [second.run])]
    assert shop.dispatch.next_deadline() is None


def test_the_earliest_deadline_counts() -> None:
    """Of several slots, the one whose run began first is looked at first."""
    shop = Shop(slots=2)
    shop.queue("A1")
    shop.fill(BEGIN)
    shop.queue("A2")
    shop.fill(BEGIN + 0.005)
    assert shop.dispatch.next_deadline() == BEGIN + LONG_RUN_S


def test_what_waits_behind_a_run_that_lasts_is_called_back_once() -> None:
    """But for what somebody wants back already; nothing is put behind it from then on."""
    shop = Shop()
    shop.learn()
    a1, a2, a3 = shop.queue("A1", "A2", "A3")
    shop.fill()
    a2.intent = Intent.WITHDRAW
    assert list(shop.dispatch.recall_behind(BEGIN + 0.009)) == []
    due = BEGIN + LONG_RUN_S
    assert list(shop.dispatch.recall_behind(due)) == [RecallRuns(0, [3])]
    assert (a1.intent, a2.intent, a3.intent) == (Intent.NONE, Intent.WITHDRAW, Intent.REBALANCE)
    assert list(shop.dispatch.recall_behind(due)) == []
    shop.queue("A4")
    assert shop.fill(due) == {}


def test_a_run_counts_with_its_way_to_the_worker_and_back() -> None:
    """The time since the slot was last heard of is shared by the runs that came back; a stall is not their way."""
    shop = Shop()
    assert shop.dispatch.share_s(0, 1, BEGIN) == 0.0
    shop.learn()
    shop.queue("A1", "A2")
    shop.fill()
    assert abs(shop.dispatch.share_s(0, 2, BEGIN + 0.0004) - 0.0002) < 1e-9
    assert shop.dispatch.share_s(0, 2, BEGIN + 60.0) == WAY_S
    assert shop.dispatch.share_s(0, 0, BEGIN + 60.0) == 0.0


def test_slots_that_are_busy_for_long_get_nothing() -> None:
    """There is a batch for each slot that has room, and no other."""
    shop = Shop(2)
    shop.learn("g", 60.0)
    shop.queue("A1", "A2", "A3", function="g")
    assert shop.fill() == {0: ["A1"], 1: ["A2"]}
    assert shop.fill() == {}


# ---------------------------------------------------------------------- priorities


def test_a_client_s_attempts_go_by_priority() -> None:
    """9 first, in order within one; those that come back are first of their own priority only."""
    shop = Shop()
    shop.learn(seconds=0.001)
    shop.queue("A1")
    shop.queue("A2", "A3", priority=9)
    shop.queue("A4", priority=0)
    assert shop.fill() == {0: ["A2", "A3"]}
    a2, a3 = shop.dispatch.vacate(0)
    shop.dispatch.slots.all[0].ready = True
    shop.queue("A5", priority=9)
    shop.dispatch.queue_first([a2, a3])
    assert shop.names("A") == ["A2", "A3", "A5", "A1", "A4"]
    assert shop.fill() == {0: ["A2", "A3"]}
    shop.end(3, 4)
    assert shop.fill() == {0: ["A5", "A1"]}
    shop.end(5, 6)
    assert shop.fill() == {0: ["A4"]}


def test_a_client_that_always_says_9_has_no_more_turns() -> None:
    """Clients are served in turn, whatever priorities they use."""
    shop = Shop()
    shop.learn(seconds=0.0004)
    shop.queue("A1", "A2", "A3", priority=9)
    shop.queue("B1", "B2", priority=0)
    assert shop.fill() == {0: ["A1", "B1", "A2", "B2", "A3"]}


def test_one_that_had_to_step_back_is_first_of_its_priority_again() -> None:
    """Its client has its turn as if it had just come."""
    shop = Shop()
    shop.queue("A1", "A2", "B1")
    [a3] = shop.queue("A3", priority=9)
    a1 = shop.clients["A"].lower[5][0]
    shop.dispatch.unqueue(a1)
    shop.dispatch.unqueue(a3)
    shop.dispatch.queue_ahead(a1)
    assert shop.names("A") == ["A1", "A2"]
    assert shop.dispatch.clear(shop.clients["B"]) != []
    shop.dispatch.clear(shop.clients["A"])
    shop.dispatch.queue_ahead(a1)
    assert shop.fill() == {0: ["A1"]}


# ---------------------------------------------------------------------- rate limits and expiry


def test_a_token_is_spent_by_a_start_and_freed_by_leaving_the_queue() -> None:
    """And what has started, or left, is not waited for any more."""
    shop = Shop()
    bucket = Bucket(1.0, Timers())
    helds = shop.queue("A1", "A2", "B1", function="g", rate_limit=1)
    for held in helds:
        assert held.terms is not None
        held.terms.bucket = bucket
        bucket._queued[held] = BEGIN
        shop.dispatch.alarms.set(held, BEGIN + 60.0)
    assert shop.fill() == {0: ["A1"]}
    assert bucket.seconds(1, BEGIN) == 3.0
    shop.dispatch.unqueue(helds[1])
    shop.dispatch.clear(shop.clients["B"])
    assert bucket.seconds(1, BEGIN) == 1.0
    assert len(shop.dispatch.alarms) == 0


def test_a_timed_attempt_without_a_limit() -> None:
    """It has no token to spend, or to free, and goes ahead like any other."""
    shop = Shop()
    shop.learn()
    shop.queue("A1", "A2", "A3", "B1", expires=60.0)
    shop.dispatch.unqueue(shop.clients["B"].queue[0])
    assert shop.fill() == {0: ["A1", "A2", "A3"]}


def test_at_a_low_rate_nothing_goes_ahead() -> None:
    """Neither behind another run, nor another behind it."""
    shop = Shop()
    shop.learn()
    [slow] = shop.queue("A1", rate_limit=1)
    assert slow.terms is not None
    slow.terms.bucket = Bucket(1.0, Timers())
    shop.queue("B1")
    assert shop.fill() == {0: ["A1"]}
    shop.end(1)
    assert shop.fill() == {0: ["B1"]}
    [slow] = shop.queue("A2", rate_limit=1)
    assert slow.terms is not None
    slow.terms.bucket = Bucket(1.0, Timers())
    assert shop.fill() == {}


def test_what_a_function_s_limit_holds_for() -> None:
    """All that is queued or ahead of it, but for calls with a limit of their own."""
    shop = Shop(slots=2)
    shop.learn()
    shop.queue("A0", "A1", "A2", "A3")
    shop.queue("A4", rate_limit=1)
    assert shop.fill() == {0: ["A0", "A2", "A4"], 1: ["A1", "A3"]}
    for slot in shop.dispatch.slots:
        slot.ready = False
    shop.queue("A5", "B1", "A6")
    shop.queue("A7", function="g")
    shop.queue("A8", rate_limit=1)
    assert [held.task[:2] for held in shop.dispatch.handed_out("f")] == [b"A0", b"A1", b"A2", b"A3", b"A4"]
    assert list(shop.dispatch.recall_ahead("f")) == [RecallRuns(0, [3]), RecallRuns(1, [4])]
    assert list(shop.dispatch.recall_ahead("f")) == []
    assert [held.task[:2] for held in shop.dispatch.take_out("f")] == [b"B1", b"A5", b"A6"]
    assert (shop.names("A"), shop.names("B")) == (["A7", "A8"], [])
    assert shop.dispatch.take_out("f") == []


def test_a_slot_that_closes_gets_nothing_more() -> None:
    """What waits behind its run is called back; what had been called back already is not asked for again."""
    shop = Shop()
    shop.learn()
    shop.queue("A1", "A2", "A3")
    shop.fill()
    [slot] = shop.dispatch.slots
    list(slot.runs.values())[1].intent = Intent.WITHDRAW
    assert list(shop.dispatch.close(slot)) == [RecallRuns(0, [3])]
    assert list(shop.dispatch.close(slot)) == []
    shop.queue("A4")
    assert shop.fill() == {}


def test_what_must_not_run_twice_is_told_of_as_it_begins() -> None:
    """Not only when it turns out to take long."""
    dispatch, client = Dispatch(1), ClientAccount(b"a" * 16, 0.0)
    dispatch.slots.all[0].ready = True
    held = Held(client, b"t" * 16, 1, "f", "msgpack", b"x", False, {"once": True})
    dispatch.queue(held)
    dispatch.fill(0.0)
    assert (dispatch.begun, held.reported) == ([held], True)


@pytest.mark.parametrize(
    ("signalled", "retired", "blamed"), [(0, False, True), (0, True, False), (7, False, True), (6, False, False)]
)
def test_a_run_answers_for_the_death_of_its_worker(signalled: int, retired: bool, blamed: bool) -> None:
    """Unless that was planned, or was meant for another run."""
    assert is_to_blame(7, signalled, WorkerGone(0, 7, "killed by SIGKILL", retired)) is blamed


def test_chunks_that_nobody_asked_for_are_taken_out() -> None:
    """Those of the function, of all clients; who has nothing else queued leaves the ring."""
    shop = Shop()
    shop.queue("A1", "A2", chunk="split")
    shop.queue("A3", "B1")
    shop.queue("C1", function="g", chunk="split")
    assert [held.task[:2] for held in shop.dispatch.take_chunks("f")] == [b"A1", b"A2"]
    assert (shop.names("A"), shop.names("B"), shop.names("C")) == (["A3"], ["B1"], ["C1"])
    assert [held.task[:2] for held in shop.dispatch.take_chunks("g")] == [b"C1"]
