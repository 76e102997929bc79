"""Revokes at a node: what each finds, what it does there, and what it answers."""

from __future__ import annotations

import pytest
from holder_conversation import (
    SHORT_S,
    A,
    B,
    Conversation,
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
)

from meshq.core import revocations
from meshq.core.holding import RecallRuns, RevokeAnswered, RevokeAsked, SignalWorker
from meshq.core.recalls import NOT_REMEMBERED, UNKNOWN
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Bye

TERM, KILL = 15, 9


def revoke(*numbers: int, signal: int = 0, token: str = "token") -> RevokeAsked:
    """Return the asking for a revoke."""
    return RevokeAsked(token, [task(number) for number in numbers], signal)


def answer(outcome: dict[int, str], token: str = "token") -> RevokeAnswered:
    """Return the answer to ``revoke``."""
    return RevokeAnswered(token, {task(number): text for number, text in outcome.items()})


def test_an_unknown_task_is_refused_when_it_comes() -> None:
    """The id is remembered: a task that comes later ends as revoked, without running, in every attempt."""
    talk = Conversation()
    talk.hear(revoke(1), answer({1: UNKNOWN}))
    talk.say(A, submit(1), to(A, revoked(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(1, 2), to(A, revoked(1, 2)))
    talk.say(A, submit(2, detached=False), start(run(1, 2)))


def test_a_detached_task_is_refused_as_well() -> None:
    """A revoked task is not entrusted to anybody."""
    talk = Conversation()
    talk.hear(revoke(1), answer({1: UNKNOWN}))
    talk.say(A, submit(1, detached=True), to(A, revoked(1)))


def test_a_detached_task_that_is_here_already_is_revoked_where_it_runs() -> None:
    """It is not ended here, since it runs as an attempt of this node's own owner."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.hear(revoke(1), answer({1: UNKNOWN}))


def test_a_full_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who revokes more than a node remembers is told which ids may still run."""
    monkeypatch.setattr(revocations.Revocations.__init__, "__defaults__", (1, 60.0))
    talk = Conversation()
    talk.hear(revoke(1, 2), answer({1: UNKNOWN, 2: NOT_REMEMBERED}))
    talk.say(A, submit(2), start(run(1, 2)))


def test_a_queued_task_is_dropped() -> None:
    """It ends as revoked at once, and the next in the queue is not touched."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(revoke(2), to(A, revoked(2)), answer({2: "dropped"}))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)))


def test_a_task_ahead_of_its_slot_is_fetched_back() -> None:
    """The answer comes when the worker has given it back."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(revoke(2), RecallRuns(0, [n + 1]))
    talk.hear(recalled([n + 1], [n + 1]), to(A, revoked(2)), answer({2: "dropped"}))
    talk.hear(short(n), to(A, quick(1)))


def test_a_running_task_goes_on_without_a_signal() -> None:
    """The answer is "running", and its result is its own."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(revoke(1), answer({1: "finished"}))


def test_a_running_task_is_terminated_with_a_signal() -> None:
    """The worker gets the signal; the answer is "terminated" once it is gone, and the task ends as revoked."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}))
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 2)))


def test_a_task_that_survives_the_signal() -> None:
    """Where a task ends of its own its result counts, and the answer is "finished"."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(done(1), to(A, result(1)), answer({1: "finished"}))


def test_a_task_that_ends_while_it_is_asked_for() -> None:
    """No signal is sent, since it would hit another run."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(done(1), to(A, result(1)), answer({1: "finished"}))
    talk.hear(recalled([1], []))


def test_a_stronger_signal_may_follow() -> None:
    """A task that ignores TERM can still be killed; both who asked are answered when it is gone."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM, token="first"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(revoke(1, signal=KILL, token="second"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}, "first"), answer({1: "terminated"}, "second"))


def test_a_revoke_without_a_signal_does_not_wait_for_one_with() -> None:
    """It is answered "running", the signal is not sent again, and the task still ends as revoked."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM, token="first"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(revoke(1, token="second"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}, "second"))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}, "first"))


def test_a_task_left_running_may_be_terminated_later() -> None:
    """A revoke without a signal is no obstacle to one with."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(revoke(1, signal=KILL), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}))


def test_a_task_left_running_may_die_of_itself() -> None:
    """Once the revoke is answered "running", a death is charged like any other."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(gone(1), to(A, lost(1)))


def test_a_worker_dies_before_it_answers() -> None:
    """A run that it had not started counts as dropped, and is not run again."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(revoke(1, 2), RecallRuns(0, [n]), RecallRuns(0, [n + 1]))
    talk.hear(gone(n), to(A, revoked(1), revoked(2)), answer({1: "terminated", 2: "dropped"}))
    talk.hear(WorkerReady(0, 4_001, []))


def test_several_ids_are_answered_together() -> None:
    """One answer, when the last of them is clear; an id named twice counts once."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(revoke(1, 2, 9, 2, 1), RecallRuns(0, [1]), to(A, revoked(2)))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)), answer({1: "finished", 2: "dropped", 9: UNKNOWN}))


def test_several_attempts_of_one_task() -> None:
    """Each client's attempt is revoked; the answer names what matters most."""
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(B, submit(1))
    talk.hear(revoke(1), RecallRuns(0, [1]), to(B, revoked(1)))
    talk.hear(recalled([1], []), answer({1: "running"}))


def test_revoking_for_a_client_that_left() -> None:
    """Nobody hears of the result, but who revoked has the answer."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do_quietly(A, Bye())
    talk.hear(revoke(1, signal=KILL), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(recalled([1], []))
    talk.hear(gone(1), answer({1: "terminated"}))
    assert talk.holder.counts()["finished"] == 0
