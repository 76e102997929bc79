"""The holder and its workers: what goes ahead, what is called back, and who answers for a death."""

from __future__ import annotations

from holder_conversation import (
    LONG_S,
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    gone,
    lost,
    rack,
    recalled,
    result,
    run,
    start,
    submit,
    task,
    to,
)

from meshq.core.holding import RecallRuns
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Accepted, Bye, ByeAck, Credit, Started, Status


def test_short_runs_go_ahead() -> None:
    """Runs whose mean is known to be 0.5 ms go to a worker four at a time: some 2 ms of work."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(6)], start(run(n, 0), run(n + 1, 1), run(n + 2, 2), run(n + 3, 3)))
    talk.hear(
        done(n, n + 1, seconds=SHORT_S),
        start(run(n + 4, 4), run(n + 5, 5)),
        to(A, result(0, seconds=SHORT_S), result(1, seconds=SHORT_S), Credit(2, 22)),
    )


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


def test_nothing_goes_ahead_of_an_unknown_or_long_run() -> None:
    """Behind a run of unknown time, or of a mean above 2 ms, nothing waits in the worker; nor does such a run."""
    talk = Conversation()
    talk.teach("g", 0.0)
    n = talk.teach("h", 0.003)
    short = submit(2, function="g")
    talk.say(A, [submit(1), short], start(run(n, 1)))
    talk.hear(done(n), start(run(n + 1, 2, function="g")), to(A, result(1)))
    talk.hear(done(n + 1), to(A, result(2)))
    talk.say(A, [submit(3, function="h"), submit(4, function="g")], start(run(n + 2, 3, function="h")))
    talk.hear(done(n + 2), start(run(n + 3, 4, function="g")), to(A, result(3)))
    talk.say(A, submit(5, function="h"))


def test_what_waits_behind_a_long_run_is_called_back_and_given_to_a_free_slot() -> None:
    """A run expected to be short that lasts 10 ms gives up those behind it, which run elsewhere, in order."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(B, [])
    talk.say(
        A,
        [submit(i) for i in range(4)],
        start(run(n, 0), run(n + 2, 2)),
        start(run(n + 1, 1), run(n + 3, 3), slot=1),
    )
    talk.hear(done(n + 1, n + 3, slot=1), to(A, result(1), result(3), Credit(2, 4)))
    talk.say(A, [rack(1), rack(3)])
    talk.wait(0.011, RecallRuns(0, [n + 2]), to(A, Started(task(0), 1, about(0.010)), Accepted(task(2), 1)))
    talk.wait(0.020)
    talk.hear(recalled([n + 2], [n + 2]), start(run(n + 4, 2), slot=1))


def test_what_was_called_back_does_not_go_behind_the_long_run_again() -> None:
    """Where no slot is free it waits in the queue; a slot with a long run gets nothing, another that is short does."""
    talk = Conversation(slots=2, clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.teach("g", 0.0015)
    n += 1
    talk.say(A, [submit(1), submit(2, function="g")], start(run(n, 1)), start(run(n + 1, 2, function="g"), slot=1))
    talk.say(A, submit(3), start(run(n + 2, 3)))
    talk.wait(0.009)
    talk.hear(done(n + 1, slot=1), to(A, result(2)))
    talk.say(A, rack(2))
    talk.say(A, submit(4, function="g"), start(run(n + 3, 4, function="g"), slot=1))
    talk.wait(
        0.002,
        RecallRuns(0, [n + 2]),
        to(A, Started(task(1), 1, about(0.010)), Accepted(task(3), 1)),
    )
    talk.hear(recalled([n + 2], [n + 2]), start(run(n + 4, 3), slot=1))
    talk.say(A, [submit(5, function="g")])
    talk.pass_time(0.1)


def test_a_recall_that_comes_too_late_changes_nothing() -> None:
    """A run that its worker has started meanwhile, or finished, stays there."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    [recall, _] = talk.pass_time(0.011)
    assert recall == RecallRuns(0, [n + 1, n + 2])
    talk.hear(done(n, n + 1), to(A, result(1), result(2), Credit(2, 2)))
    talk.hear(recalled([n + 1, n + 2], []))
    talk.hear(done(n + 2), to(A, result(3)))


def test_a_recall_does_not_make_the_head_younger() -> None:
    """STARTED comes 10 ms after the start, though a run behind is taken back meanwhile."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1)], start(run(n, 1)))
    talk.say(B, [])
    talk.do(module_greeting(B))
    talk.say(B, submit(2), start(run(n + 1, 2)))
    talk.wait(0.006)
    talk.say(B, Bye(), RecallRuns(0, [n + 1]), to(B, ByeAck(0)))
    talk.hear(recalled([n + 1], [n + 1]))
    talk.wait(0.005, to(A, Started(task(1), 1, about(0.010))))


def test_only_the_started_run_is_lost_with_its_worker() -> None:
    """The run that had started ends as WORKER_LOST; those ahead start again first, in order, on a new worker."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(6)], start(*[run(n + i, i) for i in range(4)]))
    talk.hear(done(n), start(run(n + 4, 4)), to(A, result(0), Credit(2, 2)))
    talk.say(A, rack(0))
    talk.hear(gone(n + 1), to(A, lost(1)))
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
    talk.hear(done(n), to(A, result(1), Credit(2, 2)))
    talk.hear(gone(n + 1), to(A, lost(2)))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 3, 3)))


def test_a_failure_is_a_result() -> None:
    """What the worker says of a run reaches the client as it is."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1, status=Status.FAILURE), to(A, result(1)._replace(status=Status.FAILURE)))


def test_credit_grows_with_short_means() -> None:
    """A client whose runs take 2 ms may have more at the node; long ones bring it back to the least, in steps."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1, seconds=0.002), to(A, result(1, seconds=0.002), Credit(2, 7)))
    talk.say(A, [rack(1), submit(2)], start(run(2, 2)))
    talk.hear(done(2, seconds=0.0021), to(A, result(2, seconds=0.0021)))
    talk.say(A, [rack(2), submit(3)], start(run(3, 3)))
    talk.hear(done(3, seconds=LONG_S), to(A, result(3), Credit(3, 4)))


def test_credit_is_shared_among_those_who_have_work() -> None:
    """Within 50 ms of a second client's first task both hear of their share, and of each other's load, once."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(i) for i in range(1, 10)], start(run(1, 1)))
    talk.hear(done(1, seconds=0.0005), start(run(2, 2), run(3, 3), run(4, 4), run(5, 5)),
              to(A, result(1, seconds=0.0005), Credit(2, 22)))  # fmt: skip
    talk.say(A, rack(1))
    talk.say(B, submit(20))
    effects = talk.pass_time(0.051)
    assert to(A, Credit(3, 11, 1)) in [_only_credit(effect) for effect in effects]
    assert to(B, Credit(2, 2, 8)) in [_only_credit(effect) for effect in effects]
    talk.wait(60.0)
