"""Finishing: runs that end, workers that are ready or die, and who answers for a death."""

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

from meshq.core.events import Send
from meshq.core.holding import (
    DrainAsked,
    Drained,
    GraceOver,
    KillWorker,
    RecallRuns,
    RevokeAnswered,
    RevokeAsked,
    SignalWorker,
    StartRuns,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Credit, Nack, Started, Status, Withdrawn


def test_the_others_hear_before_long_that_there_is_less_to_do() -> None:
    """Also where nothing has come that would have them told."""
    talk = Conversation(clients=(A, B))
    talk.do_quietly(A, submit(1), submit(2))
    talk.pass_time(1.0)
    talk.do(done(1))
    told = [effect for effect in talk.pass_time(0.06) if isinstance(effect, Send) and effect.peer == B]
    assert told == [to(B, Credit(3, 2, 1))]


def test_words_of_workers_on_unknown_runs_are_ignored() -> None:
    """A run that is not here, or no longer, changes nothing."""
    talk = Conversation()
    talk.hear(done(9))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(done(1))
    talk.hear(gone(1))


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
    talk.hear(short(n), to(A, quick(1), Credit(4, 20)))
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


def test_what_must_not_run_twice_does_not_go_again_once_it_has_started() -> None:
    """Neither the last that the dead worker had started nor those before it, whose ends were not heard."""
    talk = Conversation(slots=1)
    first = talk.teach("f", SHORT_S)
    talk.do_quietly(A, *(submit(number, once=True) for number in (1, 2, 3)), submit(4))
    effects = talk.do(gone(first + 1, retired=True))
    assert effects == [to(A, lost(1), lost(2))]
    effects = talk.do(WorkerReady(0, 5_000, []))
    assert [run.task for run in effects[0].runs] == [task(3), task(4)]


def test_a_failure_is_counted() -> None:
    """Beside all runs of its function."""
    talk = Conversation()
    for number, status in enumerate((Status.OK, Status.FAILURE, Status.OK), 1):
        talk.do_quietly(A, submit(number))
        talk.do(done(number, status=status))
    assert talk.holder.totals() == ({"f": 3}, {"f": 1})


def test_many_runs_end_at_once() -> None:
    """Each client hears of its own, in their order, and, where it has wanted one back, that it is too late."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.do_quietly(A, submit(1), submit(2), submit(3))
    talk.do_quietly(B, submit(4))
    talk.say(A, withdraw(2), RecallRuns(0, [n + 1]))
    late = Withdrawn(task(2), 1, "finished")
    ends = to(A, quick(1), late, quick(2), quick(3)), to(B, quick(4), Credit(2, 22, 0))
    talk.hear(short(n, n + 1, n + 2, n + 3), *ends)


def test_a_worker_ends_its_own_runs_alone() -> None:
    """Its process runs the code of users, which may write anything to the node."""
    talk = Conversation(slots=2)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), start(run(2, 2), slot=1))
    talk.hear(done(2, slot=0))
    talk.hear(done(2, slot=1), to(A, result(2)))


def test_a_run_that_was_cut_after_the_grace_goes_back_to_its_client() -> None:
    """Its worker was killed as the node is to end, and nobody counts that."""
    talk = Conversation()
    talk.do_quietly(A, submit(1))
    talk.do(DrainAsked())
    talk.hear(GraceOver(frozenset()), KillWorker(0))
    words = "the node finishes what it has and takes nothing new"
    talk.hear(gone(1), to(A, Nack(task(1), 1, "draining", words)), Drained())
