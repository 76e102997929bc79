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
    run,
    short,
    start,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core.holding import RecallRuns
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Accepted, Credit, Started, Withdrawn


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
    """A mean above 20 ms keeps others from waiting behind it, and itself from waiting behind others."""
    talk = Conversation()
    talk.teach("g", 0.0001)
    n = talk.teach("h", 0.030)
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
        to(A, Started(task(0), 1, about(0.010)), Credit(3, 24), Accepted(task(2), 1), Accepted(task(4), 1)),
    )
    talk.wait(0.020)
    behind = [n + 2, n + 4]
    talk.hear(recalled(behind, behind), start(run(n + 6, 2), run(n + 7, 4), slot=1))


def test_a_run_at_hand_has_no_part_in_what_ends_its_worker() -> None:
    """The one that ran is to blame; the one behind it goes first to the next worker."""
    talk = Conversation(slots=2)
    n = talk.teach("f", 0.010)
    talk.say(
        A,
        [submit(i) for i in range(4)],
        start(run(n, 0), run(n + 2, 2)),
        start(run(n + 1, 1), run(n + 3, 3), slot=1),
    )
    talk.hear(gone(n), to(A, lost(0)))
    talk.say(A, rack(0))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 4, 2)))
    talk.hear(gone(n + 4), to(A, lost(2)))  # its own


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
    news = to(A, Started(task(1), 1, about(0.010)), Credit(3, 11), Accepted(task(3), 1))
    talk.wait(0.002, RecallRuns(0, [n + 2]), news)
    talk.hear(recalled([n + 2], [n + 2]), start(run(n + 4, 3), slot=1))
    talk.say(A, submit(5))


def test_a_run_may_be_called_back_time_and_again() -> None:
    """What was given back once, and waits behind a long run again, is asked for again."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.pass_time(0.011)
    talk.hear(recalled([n + 1, n + 2], [n + 1, n + 2]))
    talk.hear(short(n), start(run(n + 3, 2), run(n + 4, 3)), to(A, quick(1), Credit(4, 20)))
    talk.say(A, rack(1))
    talk.wait(0.011, RecallRuns(0, [n + 4]), to(A, Started(task(2), 1, about(0.010)), Credit(5, 3)))


def test_a_recall_that_comes_too_late_changes_nothing() -> None:
    """A run that its worker has started meanwhile, or finished, stays there."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    [recall, _] = talk.pass_time(0.011)
    assert recall == RecallRuns(0, [n + 1, n + 2])
    talk.hear(short(n, n + 1), to(A, quick(1), quick(2), Credit(4, 18)))
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
    talk.wait(0.005, to(A, Started(task(1), 1, about(0.010)), Credit(3, 3)))
