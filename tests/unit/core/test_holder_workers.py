"""The holder and its workers: what goes ahead, what is called back, and who answers for a death."""

from __future__ import annotations

from holder_conversation import (
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    gone,
    lost,
    quick,
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

from meshq.core.holding import RecallRuns, RevokeAnswered, RevokeAsked, SignalWorker, StartRuns
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Accepted, Credit, Started, Status, Withdrawn


def test_short_runs_go_ahead() -> None:
    """Runs whose mean is known to be 0.5 ms go to a worker four at a time: some 2 ms of work."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(6)], start(*[run(n + i, i) for i in range(4)]))
    talk.hear(short(n, n + 1), start(run(n + 4, 4), run(n + 5, 5)), to(A, quick(0), quick(1)))


def test_idle_slots_come_before_going_ahead() -> None:
    """Short runs are spread over the slots, the least loaded first."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(
        A,
        [submit(i) for i in range(3)],
        start(run(n, 0), run(n + 2, 2)),
        start(run(n + 1, 1), slot=1),
    )


def test_nothing_goes_ahead_of_an_unknown_run() -> None:
    """While a run's time is not known, not even one that takes no time waits behind it in the worker."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("g", 0.0, client=B)
    talk.say(A, [submit(1), submit(2, function="g")], start(run(n, 1)))
    talk.hear(done(n), start(run(n + 1, 2, function="g")), to(A, result(1)))


def test_nothing_goes_ahead_of_a_long_run_nor_does_such_a_run() -> None:
    """A mean above 2 ms keeps others from waiting behind it, and itself from waiting behind others."""
    talk = Conversation()
    talk.teach("g", 0.0001)
    n = talk.teach("h", 0.003)
    talk.say(A, [submit(1, function="h"), submit(2, function="g")], start(run(n, 1, function="h")))
    talk.hear(short(n), start(run(n + 1, 2, function="g")), to(A, quick(1)))
    talk.say(A, submit(3, function="h"))


def test_who_must_wait_does_not_hold_up_the_others() -> None:
    """The short task of one client goes ahead though the one whose turn it is has none that may."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("g", SHORT_S)
    talk.say(A, submit(1, function="g"), start(run(n, 1, function="g")))
    talk.say(A, submit(2))
    talk.say(B, submit(3, function="g"), start(run(n + 1, 3, function="g")))
    talk.hear(short(n, n + 1), start(run(n + 2, 2)), to(A, quick(1)), to(B, quick(3), Credit(2, 22)))


def test_what_waits_behind_a_long_run_is_called_back_and_given_to_a_free_slot() -> None:
    """A run expected to be short that lasts 10 ms gives up those behind it, which run elsewhere, in order."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(
        A,
        [submit(i) for i in range(6)],
        start(run(n, 0), run(n + 2, 2), run(n + 4, 4)),
        start(run(n + 1, 1), run(n + 3, 3), run(n + 5, 5), slot=1),
    )
    talk.hear(short(n + 1, n + 3, n + 5, slot=1), to(A, quick(1), quick(3), quick(5)))
    talk.say(A, [rack(1), rack(3), rack(5)])
    talk.wait(
        0.011,
        RecallRuns(0, [n + 2, n + 4]),
        to(A, Started(task(0), 1, about(0.010)), Accepted(task(2), 1), Accepted(task(4), 1)),
    )
    talk.wait(0.020)
    behind = [n + 2, n + 4]
    talk.hear(recalled(behind, behind), start(run(n + 6, 2), run(n + 7, 4), slot=1))


def test_a_slot_with_a_long_run_gets_nothing() -> None:
    """What was called back does not go behind the long run again; a busier slot takes it where it has room."""
    talk = Conversation(slots=2)
    talk.teach("g", 0.0015)
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2, function="g")], start(run(n, 1)), start(run(n + 1, 2, function="g"), slot=1))
    talk.say(A, submit(3), start(run(n + 2, 3)))
    talk.wait(0.009)
    talk.hear(short(n + 1, slot=1), to(A, quick(2)))
    talk.say(A, [rack(2), submit(4, function="g")], start(run(n + 3, 4, function="g"), slot=1))
    talk.wait(0.002, RecallRuns(0, [n + 2]), to(A, Started(task(1), 1, about(0.010)), Accepted(task(3), 1)))
    talk.hear(recalled([n + 2], [n + 2]), start(run(n + 4, 3), slot=1))
    talk.say(A, submit(5))


def test_a_run_may_be_called_back_time_and_again() -> None:
    """What was given back once, and waits behind a long run again, is asked for again."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.pass_time(0.011)
    talk.hear(recalled([n + 1, n + 2], [n + 1, n + 2]))
    talk.hear(short(n), start(run(n + 3, 2), run(n + 4, 3)), to(A, quick(1)))
    talk.say(A, rack(1))
    talk.wait(0.011, RecallRuns(0, [n + 4]), to(A, Started(task(2), 1, about(0.010))))


def test_a_recall_that_comes_too_late_changes_nothing() -> None:
    """A run that its worker has started meanwhile, or finished, stays there."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    [recall, _] = talk.pass_time(0.011)
    assert recall == RecallRuns(0, [n + 1, n + 2])
    talk.hear(short(n, n + 1), to(A, quick(1), quick(2)))
    talk.hear(recalled([n + 1, n + 2], []))
    talk.hear(short(n + 2), to(A, quick(3)))


def test_a_recall_does_not_make_the_head_younger() -> None:
    """STARTED comes 10 ms after the start, though a run behind is taken back meanwhile."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.say(A, submit(1), start(run(n, 1)))
    talk.say(B, submit(2), start(run(n + 1, 2)))
    talk.wait(0.006)
    talk.say(B, withdraw(2), RecallRuns(0, [n + 1]))
    talk.hear(recalled([n + 1], [n + 1]), to(B, Withdrawn(task(2), 1, "dropped")))
    talk.wait(0.005, to(A, Started(task(1), 1, about(0.010))))


def test_what_is_wanted_back_ends_with_its_worker() -> None:
    """A run that had not started, and was being called back, goes to no other worker."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.say(A, submit(1), start(run(n, 1)))
    talk.say(B, submit(2), start(run(n + 1, 2)))
    talk.say(B, withdraw(2), RecallRuns(0, [n + 1]))
    effects = talk.do(gone(n))
    assert to(B, Withdrawn(task(2), 1, "dropped")) in effects
    assert not any(isinstance(effect, StartRuns) for effect in effects)


def test_only_the_started_run_is_lost_with_its_worker() -> None:
    """The run that had started ends as WORKER_LOST; those ahead start again first, in order, on a new worker."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(7)], start(*[run(n + i, i) for i in range(4)]))
    talk.hear(short(n), start(run(n + 4, 4)), to(A, quick(0)))
    talk.say(A, rack(0))
    talk.hear(gone(n + 1), to(A, lost(1)))
    talk.say(A, rack(1))
    talk.hear(WorkerReady(0, 4_001, []), start(*[run(n + 3 + i, i) for i in range(2, 6)]))


def test_a_worker_that_dies_before_it_starts_anything_is_charged_to_none() -> None:
    """All its runs go to the next worker."""
    talk = Conversation(slots=2, clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1)), start(run(n + 1, 2), slot=1))
    talk.say(B, submit(3), start(run(n + 2, 3)))
    talk.hear(gone(0), start(run(n + 3, 1), run(n + 4, 3), slot=1))
    talk.hear(WorkerReady(0, 4_001, []))


def test_nobody_is_to_blame_for_a_planned_end() -> None:
    """What a retired worker leaves is run again, and is reported anew as it starts."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.wait(0.011, to(A, Started(task(1), 1, about(0.010))))
    talk.hear(gone(1, retired=True))
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 1)))
    talk.wait(0.011, to(A, Started(task(1), 1, about(0.010))))


def test_a_death_after_a_late_recall_is_charged() -> None:
    """A run that was to be called back, and had started, is lost like any other."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.pass_time(0.011)
    talk.hear(short(n), to(A, quick(1)))
    talk.hear(gone(n + 1), to(A, lost(2)))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 3, 3)))


def test_a_failure_is_a_result() -> None:
    """What the worker says of a run reaches the client as it is."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1, status=Status.FAILURE), to(A, result(1)._replace(status=Status.FAILURE)))


def test_the_attempt_after_a_death_is_run() -> None:
    """It comes in answer to the loss, even where that is not acknowledged yet: one death is not reported twice."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(gone(1), to(A, lost(1)))
    talk.say(A, submit(1), to(A, lost(1)))
    talk.say(A, submit(1, 2))
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 1, 2)))
    talk.say(A, [submit(1), rack(1)])
    talk.hear(done(2), to(A, result(1, 2)))


def signalled_for(talk: Conversation, slot: int, number: int) -> None:
    """Have the worker of a slot be sent a signal that is meant for a run."""
    talk.holder._dispatch.slots.all[slot].signalled = number


def test_who_dies_of_a_signal_that_was_meant_for_another_is_not_charged() -> None:
    """It goes again; the next worker's death is counted as ever."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    signalled_for(talk, 0, n)
    talk.hear(short(n), to(A, quick(1)))
    talk.hear(gone(n + 1))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 3, 2), run(n + 4, 3)))
    talk.hear(gone(n + 3), to(A, lost(2)))


def test_who_was_signalled_is_to_blame_even_where_the_worker_was_to_go() -> None:
    """Its end was not the one that was planned."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    signalled_for(talk, 0, 1)
    talk.hear(gone(1, retired=True), to(A, lost(1)))


def test_a_worker_of_no_slot_changes_nothing() -> None:
    """It was on its way in, or out, when its slot was given up."""
    talk = Conversation()
    talk.hear(WorkerReady(7, 4_007, []))
    talk.hear(gone(0, slot=7, retired=True))
    talk.say(A, submit(1), start(run(1, 1)))


def test_a_run_that_was_revoked_with_a_signal_ends_as_revoked() -> None:
    """Its worker's death is nobody's loss."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do(RevokeAsked("token", [task(1)], 15))
    talk.hear(recalled([1], []), SignalWorker(0, 15))
    talk.hear(gone(1), to(A, revoked(1)), RevokeAnswered("token", {task(1): "terminated"}))


def test_a_run_that_was_killed_for_its_time_ends_with_words_for_it() -> None:
    """It is neither lost nor tried again."""
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    talk.pass_time(1.0)
    text = b"f ran past its time limit of 1 s, and its worker was killed"
    talk.hear(gone(1), to(A, lost(1)._replace(status=Status.TIME_LIMIT, payload=text)))


def test_what_must_not_run_twice_is_said_to_have_started() -> None:
    """At once when it is given to a worker."""
    talk = Conversation()
    talk.say(A, submit(1, once=True), start(run(1, 1, once=True)), to(A, Started(task(1), 1)))
    talk.wait(1.0)
    talk.hear(done(1), to(A, result(1)))


def test_what_must_not_run_twice_does_not_go_again_once_it_has_started() -> None:
    """Neither the last that the dead worker had started nor those before it, whose ends were not heard."""
    talk = Conversation(slots=1)
    first = talk.teach("f", SHORT_S)
    talk.do_quietly(A, *(submit(number, once=True) for number in (1, 2, 3)), submit(4))
    effects = talk.do(gone(first + 1, retired=True))
    assert effects == [to(A, lost(1), lost(2))]
    effects = talk.do(WorkerReady(0, 5_000, []))
    assert [run.task for run in effects[0].runs] == [task(3), task(4)]
