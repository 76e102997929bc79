"""What a node parks: attempts whose time has not come, and those that a rate limit holds back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest.mock import ANY

import pytest
from holder_conversation import (
    OWN,
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    gone,
    rack,
    recalled,
    result,
    revoked,
    run,
    short,
    start,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core import parking as module
from meshq.core.holding import (
    FunctionsKnown,
    HolderEffect,
    RateLimitSet,
    RecallRuns,
    RevokeAnswered,
    RevokeAsked,
    StartRuns,
)
from meshq.core.work import Run, WorkerReady
from meshq.protocol.messages import Accepted, Nack, Parked, Result, Started, Status, Submit, Withdrawn


def parked(number: int, seconds: float, attempt: int = 1) -> Parked:
    """Return the word that a task is parked."""
    return Parked(task(number), attempt, about(seconds))


def expired(number: int) -> Result:
    """Return the result of a task that has expired."""
    return Result(task(number), 1, Status.EXPIRED, "", b"", 0.0)


def with_options(number: int, of: Submit, slot: int = 0) -> StartRuns:
    """Return the effect of giving a slot the run of this number, of this SUBMIT."""
    row = Run(number, of.task, of.attempt, of.function, of.serializer, of.payload, of.options)
    return start(row, slot=slot)


def limited(rate: float, slots: int = 1, clients: tuple[bytes, ...] = (A,), function: str = "f") -> Conversation:
    """Begin a conversation with a node where so many runs of a function may start in a second."""
    talk = Conversation(slots=slots, clients=clients)
    talk.hear(RateLimitSet(function, rate))
    return talk


def declared(options: dict[str, dict[str, Any]]) -> Conversation:
    """Begin a conversation with a node whose functions declare these options."""
    talk = Conversation()
    talk.do(FunctionsKnown(frozenset("fgh"), frozenset({"msgpack"}), options))
    return talk


def started(effects: list[HolderEffect]) -> list[int]:
    """Return the numbers of the tasks that these effects start."""
    runs = [one for effect in effects if isinstance(effect, StartRuns) for one in effect.runs]
    return [int.from_bytes(one.task, "big") for one in runs]


# ---------------------------------------------------------------------- its time has not come


def test_a_countdown_is_waited_for() -> None:
    """The client hears at once that it is parked; to the instant it is started, and not queued by a copy."""
    talk = Conversation()
    delayed = submit(1, countdown=5.0)
    talk.say(A, delayed, to(A, parked(1, 5.0)))
    assert talk.holder.counts() == {"queued": 0, "parked": 1, "running": 0, "finished": 0, "clients": 1}
    talk.wait(2.0)
    talk.say(A, delayed, to(A, parked(1, 3.0)))
    talk.wait(2.999)
    talk.wait(0.0012, with_options(1, delayed))
    talk.wait(0.012, to(A, Started(task(1), 1, about(0.010))))
    talk.hear(done(1), to(A, result(1)))
    assert talk.holder.counts()["parked"] == 0


def test_a_countdown_that_is_over_is_none() -> None:
    """What is left of it when the SUBMIT is sent may be nothing."""
    talk = Conversation()
    due = submit(1, countdown=0.0)
    talk.say(A, due, with_options(1, due))


def test_what_is_parked_takes_no_slot_and_holds_nobody_up() -> None:
    """Nor does it count against what a client may have here at a time, or as work of this node."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0), to(A, parked(1, 5.0)))
    talk.say(A, submit(2), start(run(1, 2)))
    assert talk.holder._accounts[A].to_run == 1


def test_a_later_attempt_of_what_is_parked_goes_on() -> None:
    """Its owner sent it anew; its time comes when that of the first comes."""
    talk = Conversation()
    later = submit(1, 2, countdown=4.0)
    talk.say(A, submit(1, countdown=5.0), to(A, parked(1, 5.0)))
    talk.wait(1.0)
    talk.say(A, later, to(A, parked(1, 4.0, attempt=2)))
    assert started(talk.pass_time(4.01)) == [1]
    talk.hear(done(1), to(A, result(1, 2)))


def test_past_the_budget_nothing_more_is_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps it, and hears why; what need not wait is taken all the same."""
    monkeypatch.setattr(module, "MAX_PARKED", 4)
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(n, countdown=5.0) for n in (1, 2)], to(A, parked(1, 5.0), parked(2, 5.0)))
    text = "the node has 2 attempts parked, 2 of them this client's, with 2 bytes of arguments"
    talk.say(A, submit(3, countdown=5.0), to(A, Nack(task(3), 1, "parked", text)))
    talk.say(A, submit(4), start(run(1, 4)))
    talk.say(B, submit(5, countdown=5.0), to(B, parked(5, 5.0)))
    talk.say(A, withdraw(1), to(A, Withdrawn(task(1), 1, "dropped")))
    talk.say(B, submit(6, countdown=5.0), to(B, Nack(task(6), 1, "parked", ANY)))
    talk.say(A, withdraw(2), to(A, Withdrawn(task(2), 1, "dropped")))
    talk.say(B, submit(6, 2, countdown=5.0), to(B, parked(6, 5.0, attempt=2)))


def test_what_could_not_be_parked_stays_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it that comes when its time has come must not run: the next attempt may do so elsewhere."""
    monkeypatch.setattr(module, "MAX_PARKED", 0)
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0), to(A, Nack(task(1), 1, "parked", ANY)))
    talk.say(A, submit(1), to(A, Nack(task(1), 1, "full", "the node did not take this attempt before")))
    talk.say(A, submit(1, 2), start(run(1, 1, 2)))


def test_the_budget_is_one_of_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments in pieces count as well."""
    monkeypatch.setattr(module, "MAX_PARKED_BYTES", 60)
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1, countdown=5.0, payload=[b"x" * 20, b"y" * 10]), to(A, parked(1, 5.0)))
    text = "the node has 1 attempts parked, 1 of them this client's, with 30 bytes of arguments"
    talk.say(A, submit(2, countdown=5.0), to(A, Nack(task(2), 1, "parked", text)))
    talk.say(B, submit(3, countdown=5.0), to(B, parked(3, 5.0)))
    talk.say(A, withdraw(1), to(A, Withdrawn(task(1), 1, "dropped")))
    talk.say(A, submit(2, 2, countdown=5.0), to(A, parked(2, 5.0, attempt=2)))


def test_clients_come_to_have_equal_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single one has half of what there is for countdowns, and three a quarter each."""
    monkeypatch.setattr(module, "MAX_PARKED", 400)
    clients = (A, B, OWN)
    talk = Conversation(clients=clients)
    talk.do_quietly(A, *[submit(n, countdown=50.0) for n in range(1000)])
    assert talk.holder._accounts[A].parked == 150
    talk.do_quietly(A, *[withdraw(n) for n in range(1000)])
    for number in range(1000, 2000):
        for client in clients:
            talk.do_quietly(client, submit(number, countdown=50.0))
    assert [talk.holder._accounts[client].parked for client in clients] == [75, 75, 75]


@pytest.mark.parametrize("greedy", [{"countdown": 900.0}, {"rate_limit": "1/h"}])
def test_no_client_brings_the_function_of_another_to_a_stand(
    monkeypatch: pytest.MonkeyPatch, greedy: dict[str, Any]
) -> None:
    """Whose owner, told that there is no more room, waits a second before it sends more."""
    monkeypatch.setattr(module, "MAX_PARKED", 1_000)
    crowd = tuple(bytes([number]) * 16 for number in range(5 if "countdown" in greedy else 1))
    talk = limited(100.0, slots=4, clients=(A, *crowd))
    for client in crowd:
        talk.do_quietly(client, *[submit(n, function="g", **greedy) for n in range(1_000)])
    starts, effects = 0, list[HolderEffect]()
    for second in range(1, 6):
        effects += talk.do_quietly(A, *[submit(1_000 * second + n) for n in range(300)])
        for _ in range(100):
            for effect in effects:  # of which there are more as runs end
                if isinstance(effect, StartRuns):
                    starts += len(effect.runs)
                    effects += talk.do(done(*[one.run for one in effect.runs], slot=effect.slot))
            talk.do_quietly(A, *[rack(number) for number in started(effects)])
            effects = talk.pass_time(0.01)
    assert starts == pytest.approx(500, abs=5)


# ---------------------------------------------------------------------- its time is over


def test_what_expires_in_the_queue_ends_then() -> None:
    """Not when its turn comes; what has started does not expire."""
    talk = Conversation()
    first = submit(1, expires=1.0)
    talk.say(A, [first, submit(2, expires=1.0), submit(3)], with_options(1, first))
    talk.pass_time(0.5)
    talk.wait(0.501, to(A, expired(2)))
    talk.say(A, rack(2))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)))
    talk.say(A, rack(1))
    talk.pass_time(0.1)
    talk.wait(60.0)


def test_what_has_expired_on_its_way_is_not_started() -> None:
    """Whether or not a slot is free."""
    Conversation().say(A, submit(1, expires=0.0), to(A, expired(1)))


def test_what_expires_before_its_countdown_is_over() -> None:
    """Nobody waits for it any longer than that."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0, expires=2.0), to(A, parked(1, 5.0)))
    talk.wait(1.99)
    talk.wait(0.02, to(A, expired(1)))
    assert talk.holder.counts()["parked"] == 0


def test_after_its_countdown_it_may_still_expire() -> None:
    """While it waits for a slot."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, submit(2, countdown=1.0, expires=2.0), to(A, parked(2, 1.0)))
    talk.pass_time(1.5)
    assert talk.holder.counts()["queued"] == 1
    talk.wait(0.51, to(A, expired(2)))


def test_what_expires_under_a_rate_limit() -> None:
    """It takes no token with it."""
    talk = limited(1.0, slots=2)
    talk.say(A, [submit(1), submit(2, expires=0.5), submit(3)],
             start(run(1, 1)), to(A, parked(2, 1.0), parked(3, 2.0)))  # fmt: skip
    talk.pass_time(0.4)
    talk.wait(0.11, to(A, expired(2)))
    talk.say(A, rack(2))
    assert started(talk.pass_time(0.48)) == []
    assert started(talk.pass_time(0.02)) == [3]


def test_what_expired_ahead_of_its_worker_is_not_started_again() -> None:
    """It was a moment from being started, and came back."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    late = submit(2, expires=0.005)
    talk.do_quietly(A, submit(1), late)
    [recall, *_] = talk.pass_time(0.011)
    assert recall == RecallRuns(0, [n + 1])
    talk.hear(recalled([n + 1], [n + 1]), to(A, expired(2)))


def test_what_functions_declare_counts_from_the_arrival() -> None:
    """Where the call says nothing of it: a call by name knows nothing of what the function declares."""
    talk = declared({"f": {"expires": 1.0}, "g": {"priority": 9}})
    talk.say(A, submit(1, function="h"), start(run(1, 1, function="h")))
    talk.say(A, [submit(2), submit(3, expires=2.0), submit(4, function="g"), submit(5, function="g", priority=0)])
    assert [int.from_bytes(held.task, "big") for held in talk.holder._accounts[A].queued()] == [4, 2, 3, 5]
    talk.pass_time(0.9)
    talk.wait(0.11, to(A, expired(2)))
    talk.say(A, rack(2))
    talk.wait(0.9)
    talk.wait(0.11, to(A, expired(3)))


# ---------------------------------------------------------------------- rate limits


def test_two_a_second_start_half_a_second_apart() -> None:
    """The first at once; the others are parked, and their clients are told for how long."""
    talk = limited(2.0, slots=4)
    assert talk.holder._parking.rate_of("f") == 2.0
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)), to(A, parked(2, 0.5), parked(3, 1.0)))
    assert talk.holder.counts()["parked"] == 2
    talk.pass_time(0.1)
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, [rack(1), submit(4, function="g")], start(run(2, 4, function="g")))
    talk.hear(done(2), to(A, result(4)))
    talk.say(A, rack(4))
    talk.wait(0.39)
    talk.wait(0.02, start(run(3, 2)))
    assert talk.holder.counts()["parked"] == 1
    assert started(talk.pass_time(0.48)) == []
    assert started(talk.pass_time(0.02)) == [3]


def test_nothing_bursts_after_the_slots_were_busy() -> None:
    """What would have been allowed meanwhile is not made up for, and what waits for a slot waits in order."""
    talk = limited(2.0, slots=2)
    talk.say(A, submit(8, function="g"), start(run(1, 8, function="g")))
    talk.say(A, submit(9, function="g"), start(run(2, 9, function="g"), slot=1))
    talk.do_quietly(A, *[submit(n) for n in (1, 2, 3)])
    talk.pass_time(60.0)
    assert (talk.holder.counts()["queued"], talk.holder.counts()["parked"]) == (1, 2)
    assert started(talk.do(done(1))) == [1]
    assert started(talk.do(done(2, slot=1))) == []
    assert started(talk.pass_time(0.49)) == []
    assert started(talk.pass_time(0.02)) == [2]


def test_a_thousand_a_second() -> None:
    """On slots that are quick enough, within a few percent, and never more than 20 ms of it at once."""
    talk = limited(1000.0, slots=4)
    talk.do_quietly(A, *[submit(n) for n in range(1_500)])
    begin, starts = talk.now, []
    working: list[StartRuns] = [effect for effect in talk.do_quietly(A) if isinstance(effect, StartRuns)]
    working += [StartRuns(slot.number, [run(r, 0) for r in slot.runs]) for slot in talk.holder._dispatch.slots]
    starts += [talk.now] * 4
    while talk.holder.counts()["parked"]:
        effects = talk.pass_time(0.0005)
        for busy in working:
            effects += talk.do(short(*[one.run for one in busy.runs], slot=busy.slot))
        working = [effect for effect in effects if isinstance(effect, StartRuns)]
        starts += [talk.now for batch in working for _ in batch.runs]
    assert len(starts) / (talk.now - begin) == pytest.approx(1000.0, rel=0.03)
    assert all(later - earlier > 0.020 for earlier, later in zip(starts, starts[45:], strict=False))


def test_at_a_low_rate_nothing_starts_behind_another_run() -> None:
    """It would start some time later than its token says, and the next one too soon after it."""
    talk = Conversation()
    talk.teach("f", SHORT_S)
    n = talk.teach("g", SHORT_S)
    talk.hear(RateLimitSet("f", 2.0))
    talk.say(A, submit(1, function="g"), start(run(n, 1, function="g")))
    talk.say(A, submit(2))
    talk.hear(short(n), start(run(n + 1, 2)), to(A, result(1, seconds=SHORT_S)))
    talk.say(A, submit(3, function="g"))


def test_a_call_may_bring_its_own_limit() -> None:
    """It has a bucket of its own, whatever its function's limit is; 0 is none."""
    talk = limited(0.001, slots=8)
    talk.do_quietly(A, submit(1))
    calls = [submit(n, rate_limit=1) for n in (2, 3)]
    talk.say(A, [*calls], with_options(2, calls[0], slot=1), to(A, parked(3, 1.0)))
    free = [submit(n, rate_limit=0) for n in (4, 5)]
    talk.say(A, [*free], with_options(3, free[0], slot=2), with_options(4, free[1], slot=3))
    assert started(talk.pass_time(1.01)) == [3]


def test_what_a_function_declares_is_its_limit() -> None:
    """Until a command sets another."""
    talk = declared({"f": {"rate_limit": "1/s"}})
    assert (talk.holder._parking.rate_of("f"), talk.holder._parking.rate_of("g")) == (1.0, 0.0)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), to(A, parked(2, 1.0)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.hear(RateLimitSet("f", 0.0), start(run(2, 2)))
    assert talk.holder._parking.rate_of("f") == 0.0


def test_after_its_countdown_a_rate_limit_may_hold_it_back() -> None:
    """Its client knows that it is parked; it comes behind those that wait there already."""
    talk = limited(1.0, slots=4)
    talk.say(A, [submit(1, countdown=0.5), submit(2), submit(3)],
             start(run(1, 2)), to(A, parked(1, 0.5), parked(3, 1.0)))  # fmt: skip
    talk.wait(0.009)
    talk.hear(done(1), to(A, result(2)))
    talk.say(A, rack(2))
    talk.wait(0.6)
    assert started(talk.pass_time(0.4)) == [3]
    assert started(talk.pass_time(1.0)) == [1]


def test_priority_counts_among_those_that_wait_for_the_limit() -> None:
    """Within one client; clients take turns."""
    talk = limited(1.0, slots=8, clients=(A, B))
    talk.do_quietly(A, submit(1), submit(2), submit(3, priority=9), submit(4, priority=0), submit(5, priority=9))
    talk.do_quietly(B, submit(6, priority=0))
    assert [started(talk.pass_time(1.0001)) for _ in range(5)] == [[3], [6], [5], [2], [4]]


def test_a_client_that_makes_no_use_of_its_token_does_not_keep_it_from_others() -> None:
    """Whose attempt stays behind its own of a higher priority steps back, and is first in its line later."""
    talk = limited(0.1, clients=(A, B))
    talk.say(A, submit(1, function="g"), start(run(1, 1, function="g")))
    talk.say(A, [submit(2, priority=0), *[submit(n, function="g") for n in range(10, 20)]])
    talk.do_quietly(B, submit(3))
    talk.pass_time(0.6)
    assert {view.held.task for view in talk.holder._parking.parked(talk.now)} == {task(2)}
    assert started(talk.do(done(1))) == [3]
    talk.do(done(2))
    talk.do_quietly(A, submit(4, function="h", priority=0))
    talk.pass_time(10.0)
    assert [held.task for held in talk.holder._accounts[A].queued()][-2:] == [task(2), task(4)]


def test_a_run_that_comes_back_unstarted_gives_back_its_token() -> None:
    """It goes first when its worker is replaced, though the next token is an hour away."""
    talk = limited(1 / 3600)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), to(A, parked(2, 3600.0)))
    talk.hear(gone(0), to(A, parked(1, 3600.0)))
    talk.wait(0.0)
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 1)))


def test_a_run_that_was_withdrawn_unstarted_gives_back_its_token() -> None:
    """For the next one."""
    talk = limited(1 / 3600)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), to(A, parked(2, 3600.0)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.do(recalled([1], [1]))
    assert started(talk.pass_time(0.0)) == [2]


# ---------------------------------------------------------------------- a limit is changed


def test_a_new_limit_holds_for_what_is_queued_and_ahead() -> None:
    """What was queued is parked, in its order, behind what is fetched back from the worker."""
    talk = Conversation()
    n = talk.teach("f", 0.0009)
    talk.say(A, [submit(1), submit(2), submit(3), submit(4, function="g"), submit(5), submit(6, rate_limit=5)],
             start(run(n, 1), run(n + 1, 2)))  # fmt: skip
    talk.hear(
        RateLimitSet("f", 2.0),
        RecallRuns(0, [n + 1]),
        to(A, parked(5, 0.5)),
    )
    talk.hear(recalled([n + 1], [n + 1]), to(A, parked(2, 1.0)))
    talk.hear(RateLimitSet("f", 2.0), to(A, parked(3, 1.0)))
    assert [held.task for held in talk.holder._accounts[A].queued()] == [task(4), task(6), task(2)]


def test_a_rate_that_is_changed_acts_at_once() -> None:
    """On what is parked, with the tokens that are there."""
    talk = limited(0.001, slots=4)
    talk.do_quietly(A, *[submit(n) for n in (1, 2, 3)])
    talk.pass_time(60.0)
    talk.hear(RateLimitSet("f", 2.0))
    assert started(talk.pass_time(0.46)) == []
    assert started(talk.pass_time(0.02)) == [2]
    assert started(talk.pass_time(0.5)) == [3]


def test_what_is_queued_goes_back_where_the_rate_is_lowered() -> None:
    """Nothing of the higher rate is left over."""
    talk = limited(1000.0, slots=1)
    talk.do_quietly(A, submit(1, function="g"), *[submit(n) for n in range(2, 40)])
    assert talk.holder.counts()["queued"] == 20
    effects = talk.do(RateLimitSet("f", 2.0))
    assert talk.holder.counts() == {"queued": 1, "parked": 37, "running": 1, "finished": 0, "clients": 1}
    assert len(effects[0].messages) == 19  # type: ignore[union-attr]
    assert started(talk.do(done(1))) == [2]


def test_lifting_a_limit_lets_all_go() -> None:
    """In their order, at once; what had no limit is not touched, and nothing is left to wait for."""
    talk = limited(0.001, slots=4)
    talk.hear(RateLimitSet("g", 0.0))
    talk.do_quietly(A, *[submit(n) for n in (1, 2, 3)], submit(4, expires=900.0))
    assert started(talk.do(RateLimitSet("f", 0.0))) == [2, 3, 4]
    assert started(talk.do_quietly(A, submit(5))) == []
    assert started(talk.do(done(1))) == [5]
    assert not any(timers.live for timers in talk.holder._parking.timers)
    assert talk.holder._parking.count == talk.holder._accounts[A].parked_bytes == 0


def test_what_a_lifted_limit_has_let_go_waits_like_any_other() -> None:
    """Parked or queued, it goes ahead at a worker, behind other runs."""
    talk = Conversation()
    n = talk.teach("f", 0.0004)
    talk.hear(RateLimitSet("f", 2.0))
    talk.say(A, submit(1, function="g"), start(run(n, 1, function="g")))
    talk.do_quietly(A, submit(2), submit(3))
    assert (talk.holder.counts()["queued"], talk.holder.counts()["parked"]) == (1, 1)
    talk.hear(RateLimitSet("f", 0.0))
    assert started(talk.do(done(n))) == [2, 3]


# ---------------------------------------------------------------------- taken out, and looked at


@pytest.mark.parametrize("options", [{"countdown": 5.0}, {"rate_limit": 1}])
def test_what_is_parked_can_be_taken_out(options: dict[str, Any]) -> None:
    """Withdrawn, or all of a client; nothing of it is left to wait for."""
    talk = Conversation(clients=(A, B))
    talk.do_quietly(B, submit(9, **options))
    talk.do_quietly(A, *[submit(n, expires=900.0, **options) for n in (10, 1, 2, 3)])
    talk.say(A, withdraw(2), to(A, Withdrawn(task(2), 1, "dropped")))
    account = talk.holder._accounts[A]
    left = talk.holder._parking.clear(account)
    assert {held.task for held in left} >= {task(1), task(3)}
    assert (account.parked, talk.holder._parking.clear(account)) == (0, [])
    assert [view.held.client for view in talk.holder._parking.parked(talk.now)] in ([], [talk.holder._accounts[B]])


def test_what_is_parked_is_shown_soonest_first() -> None:
    """With its reason, and how long it has to wait as things stand."""
    talk = limited(1.0, slots=2)
    talk.do_quietly(A, submit(1, countdown=5.0), submit(2), submit(3), submit(4), submit(5, countdown=1.5))
    views = [(view.held.task, view.seconds, view.reason) for view in talk.holder._parking.parked(talk.now)]
    assert views == [
        (task(3), about(1.0), "rate limit"),
        (task(5), about(1.5), "countdown"),
        (task(4), about(2.0), "rate limit"),
        (task(1), about(5.0), "countdown"),
    ]


def test_a_detached_task_is_parked_at_the_node_that_runs_it() -> None:
    """The node that took it over passes its options on to its own owner."""
    talk = Conversation(clients=(A, OWN))
    [entrust, said] = talk.do_quietly(A, submit(1, detached=True, countdown=5.0))
    assert entrust.options == {"countdown": 5.0}  # type: ignore[union-attr]
    assert said == to(A, Accepted(task(1), 1))
    talk.say(OWN, submit(1, countdown=5.0), to(OWN, parked(1, 5.0)))


def test_a_revoked_task_that_is_parked_ends_at_once() -> None:
    """As one that is queued does."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0), to(A, parked(1, 5.0)))
    answer = RevokeAnswered("token", {task(1): "dropped"})
    talk.hear(RevokeAsked("token", [task(1)], 0), to(A, revoked(1)), answer)
    talk.say(A, rack(1))
    talk.wait(60.0)


def test_starts_are_spaced_whatever_comes_between() -> None:
    """A steady trickle, in a node whose slots are busy now and then."""
    talk = limited(4.0, slots=2)
    starts: list[float] = []
    busy: list[StartRuns] = []
    for number in range(1_500):
        effects = talk.do_quietly(A, submit(number)) if number % 7 == 0 else []
        effects += talk.pass_time(0.01)
        if busy and number % 60 > 30:
            one = busy.pop(0)
            effects += talk.do(done(*[each.run for each in one.runs], slot=one.slot))
        busy += [effect for effect in effects if isinstance(effect, StartRuns)]
        starts += [talk.now] * len(started(effects))
    assert len(starts) > 20
    assert all(later - earlier >= 0.239 for earlier, later in pairwise(starts))


def test_what_is_parked_takes_up_its_own_budget_only() -> None:
    """Large arguments that a limit holds back leave the node's, and come back to it when they may start."""
    talk = Conversation()
    talk.do_quietly(A, *[submit(number, payload=bytes(5_000)) for number in (1, 2, 3)])
    assert talk.holder.budget.arguments == 15_000
    talk.do(RateLimitSet("f", 0.001))  # for one there is a token
    assert (talk.holder.budget.arguments, talk.holder._parking.bytes) == (10_000, 5_000)
    talk.do(RateLimitSet("f", 0.0))
    assert (talk.holder.budget.arguments, talk.holder._parking.bytes) == (15_000, 0)
