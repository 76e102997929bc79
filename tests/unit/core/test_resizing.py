"""A node whose number of slots is changed while it serves."""

from __future__ import annotations

from holder_conversation import (
    SHORT_S,
    A,
    Conversation,
    done,
    gone,
    lost,
    recalled,
    result,
    run,
    short,
    start,
    submit,
    to,
)

from meshq.core.holding import RecallRuns, ResizeAsked, StartWorker, StopWorker
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Credit


def numbers(talk: Conversation) -> list[int]:
    """Return the numbers of the slots that there are."""
    return [slot.number for slot in talk.holder._dispatch.slots]


def test_new_slots_start_workers_and_take_what_waits() -> None:
    """The clients hear at once of the credit that there is now."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(ResizeAsked(3), StartWorker(1), StartWorker(2), to(A, Credit(2, 6)))
    talk.hear(WorkerReady(1, 4_001, []), start(run(2, 2), slot=1))
    talk.hear(WorkerReady(2, 4_002, []), start(run(3, 3), slot=2))


def test_idle_slots_go_first_and_at_once() -> None:
    """What runs is not touched."""
    talk = Conversation(slots=3)
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(ResizeAsked(1), StopWorker(2), StopWorker(1), to(A, Credit(2, 2)))
    assert numbers(talk) == [0]
    talk.hear(gone(0, slot=2, retired=True))
    talk.hear(WorkerReady(1, 4_001, []))
    talk.say(A, submit(2))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))


def test_a_slot_without_a_worker_goes_before_one_that_is_idle() -> None:
    """It is of the least use."""
    talk = Conversation(slots=2)
    talk.hear(gone(0, retired=True))
    talk.hear(ResizeAsked(1), StopWorker(0), to(A, Credit(2, 2)))
    assert numbers(talk) == [1]


def test_a_busy_slot_ends_after_its_run() -> None:
    """It gets nothing more, and what was ahead there is called back and runs elsewhere."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(
        A,
        [submit(i) for i in range(4)],
        start(run(n, 0), run(n + 2, 2)),
        start(run(n + 1, 1), run(n + 3, 3), slot=1),
    )
    effects = talk.do(ResizeAsked(1))
    assert effects[:2] == [RecallRuns(1, [n + 3]), StopWorker(1)]
    talk.do(short(n))
    talk.hear(recalled([n + 3], [n + 3], slot=1), start(run(n + 4, 3)))
    talk.do(short(n + 1, slot=1))
    assert numbers(talk) == [0, 1]
    talk.say(A, submit(5), start(run(n + 5, 5)))
    talk.hear(gone(n + 1, slot=1, retired=True))
    assert numbers(talk) == [0]


def test_what_a_worker_that_ends_has_not_started_goes_again() -> None:
    """Whether it was called back in time or not; a crash on its last run is charged like any other."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(2)], start(run(n, 0)), start(run(n + 1, 1), slot=1))
    talk.do(ResizeAsked(1))
    talk.hear(gone(n + 1, slot=1), to(A, lost(1)))
    assert numbers(talk) == [0]


def test_slots_that_are_ending_count_no_more() -> None:
    """Two that were given up and are wanted again are two new ones, with numbers of their own."""
    talk = Conversation(slots=2)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), start(run(2, 2), slot=1))
    talk.hear(ResizeAsked(1), StopWorker(1), to(A, Credit(2, 2)))
    talk.hear(ResizeAsked(2), StartWorker(2), to(A, Credit(3, 4)))
    assert numbers(talk) == [0, 1, 2]
    talk.hear(done(2, slot=1), to(A, result(2)))
    talk.hear(gone(2, slot=1, retired=True))
    assert numbers(talk) == [0, 2]


def test_the_same_number_changes_nothing() -> None:
    """But for the credit, which is said again."""
    talk = Conversation(slots=2)
    talk.hear(ResizeAsked(2), to(A, Credit(2, 4)))
