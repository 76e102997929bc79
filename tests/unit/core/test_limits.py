"""Time limits: which of several counts, when they act, and what becomes of the run and of those behind it."""

from __future__ import annotations

from typing import Any

import pytest
from holder_conversation import (
    SHORT_S,
    A,
    Conversation,
    about,
    done,
    gone,
    lost,
    rack,
    recalled,
    result,
    run,
    short,
    start,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core.holding import (
    FunctionsKnown,
    HolderEffect,
    KillWorker,
    RecallRuns,
    SoftLimit,
    TimeLimitSet,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Result, Started, Status


def known(**declared: dict[str, Any]) -> FunctionsKnown:
    """Return the event in which functions declare options."""
    return FunctionsKnown(frozenset({"f", "g", "h"}), frozenset({"msgpack"}), declared)


def limited(slots: int = 1, **options: Any) -> Conversation:
    """Return a conversation in which f declares these options."""
    talk = Conversation(slots)
    talk.do(known(f=options))
    return talk


def acts(effects: list[HolderEffect]) -> list[HolderEffect]:
    """Return those effects that limits bring about."""
    return [effect for effect in effects if isinstance(effect, SoftLimit | KillWorker)]


def ended(number: int, text: str) -> Result:
    """Return the result of a task whose worker was killed for it."""
    text = f"f ran past its time limit of {text}, and its worker was killed"
    return Result(task(number), 1, Status.TIME_LIMIT, "", text.encode(), 0.0)


def test_a_run_is_warned_once_and_then_its_worker_is_killed() -> None:
    """At the soft and the hard limit of its function, to the instant."""
    talk = limited(soft_time_limit=2.0, time_limit=3.0)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.wait(1.99, to(A, Started(task(1), 1, about(0.010))))
    talk.wait(0.02, SoftLimit(0, 1))
    talk.wait(0.98)
    talk.wait(0.02, KillWorker(0))
    talk.wait(60.0)
    talk.hear(gone(1), to(A, ended(1, "3 s")))
    talk.say(A, rack(1))
    assert talk.holder.next_deadline() is None or acts(talk.pass_time(60.0)) == []


def test_a_run_that_ends_in_time_is_left_alone() -> None:
    """And the clock of the next begins with it."""
    talk = limited(time_limit=3.0)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.pass_time(2.9)
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    assert acts(talk.pass_time(2.9)) == []
    assert acts(talk.pass_time(0.2)) == [KillWorker(0)]


def test_the_clock_of_a_run_that_went_ahead_starts_when_it_is_its_turn() -> None:
    """The time that it waits behind another in the worker does not count."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.do(known(f={"time_limit": 0.005}))
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.pass_time(0.004)
    talk.hear(short(n), to(A, result(1, seconds=SHORT_S)))
    assert acts(talk.pass_time(0.004)) == []
    assert acts(talk.pass_time(0.002)) == [KillWorker(0)]


def test_a_result_that_comes_before_the_end_of_the_worker_counts() -> None:
    """The run after it, which the kill then hits, goes again and is charged with nothing."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.do(known(f={"time_limit": 0.005}))
    talk.say(A, [submit(i) for i in (1, 2, 3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    assert acts(talk.pass_time(0.006)) == [KillWorker(0)]
    talk.hear(short(n), to(A, result(1, seconds=SHORT_S)))
    talk.hear(gone(n + 1))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 3, 2), run(n + 4, 3)))
    talk.hear(gone(n + 3), to(A, lost(2)))


def test_those_behind_a_run_that_is_killed_go_again() -> None:
    """On the next worker, in their order."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.do(known(f={"time_limit": 0.005}))
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.pass_time(0.006)
    talk.hear(gone(n), to(A, ended(1, "0.005 s")))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 2, 2)))


def test_a_worker_that_dies_before_its_run_began_is_charged_to_none() -> None:
    """Though the run's time was over, as far as the node knew, it goes again."""
    talk = limited(time_limit=1.0)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.pass_time(1.0)
    talk.hear(gone(0))
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 1)))


def test_a_death_before_the_limit_is_a_loss_and_stops_the_clock() -> None:
    """The next worker of the slot is not killed for it."""
    talk = limited(time_limit=1.0)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(gone(1), to(A, lost(1)))
    talk.say(A, rack(1))
    talk.hear(WorkerReady(0, 4_001, []))
    assert acts(talk.pass_time(2.0)) == []


def test_a_worker_that_was_to_go_anyway_is_killed_for_its_run_all_the_same() -> None:
    """A planned end is nobody's fault, but that of a run that was killed for its time."""
    talk = limited(time_limit=1.0)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.pass_time(1.0)
    talk.hear(gone(1, retired=True), to(A, ended(1, "1 s")))


@pytest.mark.parametrize(
    ("call", "command", "expected"),
    [
        ({}, None, (1.0, 2.0)),
        ({}, (3.0, 4.0), (3.0, 4.0)),
        ({}, (None, 4.0), (None, 4.0)),
        ({}, (None, None), (None, None)),
        ({"time_limit": 5.0}, None, (1.0, 5.0)),
        ({"soft_time_limit": 0.5}, (3.0, 4.0), (0.5, 4.0)),
        ({"soft_time_limit": 6.0, "time_limit": 7.0}, (3.0, 4.0), (6.0, 7.0)),
        ({"time_limit": None}, None, (1.0, None)),
        ({"time_limit": "soon"}, None, (1.0, 2.0)),
    ],
)
def test_the_call_counts_more_than_the_command_and_that_more_than_the_function(
    call: dict[str, Any], command: tuple[float | None, float | None] | None, expected: tuple[float | None, ...]
) -> None:
    """Each limit by itself of what the call says; a command replaces both."""
    talk = limited(soft_time_limit=1.0, time_limit=2.0)
    if command is not None:
        talk.do(TimeLimitSet("f", *command))
        assert talk.holder._limits.limits_of("f") == command
    talk.say(A, submit(1, **call), start(run(1, 1, **call)))
    came: list[tuple[str, float]] = []
    began_at = talk.now
    for _ in range(80):
        came += [(type(effect).__name__, talk.now - began_at) for effect in acts(talk.pass_time(0.1))]
    soft, hard = ([at for name, at in came if name == kind] for kind in ("SoftLimit", "KillWorker"))
    assert soft == ([] if expected[0] is None else [pytest.approx(expected[0], abs=0.11)])
    assert hard == ([] if expected[1] is None else [pytest.approx(expected[1], abs=0.11)])


def test_a_limit_set_by_command_acts_on_what_is_queued_and_not_on_what_runs() -> None:
    """The limits in force when a run begins are its own; a function may get its first ones while it runs."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(TimeLimitSet("f", None, 1.0))
    assert acts(talk.pass_time(5.0)) == []
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.do(TimeLimitSet("f", None, None))
    assert acts(talk.pass_time(1.1)) == [KillWorker(0)]


def test_lifted_limits_are_forgotten() -> None:
    """Nothing is watched any more when the last clock has stopped, and all of it again with the next limit."""
    talk = Conversation()
    limits = talk.holder._limits
    talk.do(TimeLimitSet("f", 1.0, None))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do(TimeLimitSet("f", None, None))
    assert limits.is_in_use
    assert acts(talk.pass_time(1.1)) == [SoftLimit(0, 1)]
    talk.do(done(1))
    assert not limits.is_in_use
    assert not limits.timers.live
    talk.do(TimeLimitSet("g", None, 1.0))
    talk.say(A, [rack(1), submit(2, function="g")], start(run(2, 2, function="g")))
    assert acts(talk.pass_time(1.1)) == [KillWorker(0)]


def test_a_call_brings_the_first_limit() -> None:
    """What the same client calls without one has none; one that lifts none changes nothing."""
    talk = Conversation(slots=2)
    talk.say(A, submit(1, priority=3), start(run(1, 1, priority=3)))
    assert not talk.holder._limits.is_in_use
    talk.say(A, submit(2, soft_time_limit=1.0), start(run(2, 2, soft_time_limit=1.0), slot=1))
    assert acts(talk.pass_time(5.0)) == [SoftLimit(1, 2)]
    talk.do(done(1))
    talk.do(done(2, slot=1))
    talk.say(A, submit(3, time_limit=1.0), start(run(3, 3, time_limit=1.0)))
    assert acts(talk.pass_time(5.0)) == [KillWorker(0)]


def test_a_limit_far_away_is_none() -> None:
    """However far: no number is too large for the clock."""
    talk = limited(time_limit=1e300)
    talk.say(A, submit(1), start(run(1, 1)))
    assert acts(talk.pass_time(100_000.0)) == []
    talk.hear(done(1), to(A, result(1)))


def test_who_wanted_the_run_back_before_its_time_was_over_is_answered() -> None:
    """A withdrawal by the result, which says what became of the task."""
    talk = limited(time_limit=1.0)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.pass_time(1.0)
    talk.hear(recalled([1], []))
    talk.hear(gone(1), to(A, ended(1, "1 s")))


def test_what_has_ended_at_the_same_instant_has_nothing_to_be_killed_for() -> None:
    """Limits are looked at after all that has come is dealt with."""
    talk = limited(slots=2, soft_time_limit=1.0, time_limit=2.0)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), start(run(2, 2), slot=1))
    talk.pass_time(1.9)
    talk.hear(done(1), to(A, result(1)))
    assert acts(talk.pass_time(0.2)) == [KillWorker(1)]
