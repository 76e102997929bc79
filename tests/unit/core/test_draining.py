"""The end of a drain's grace: what runs is ended, and goes elsewhere; and when a node has drained."""

from __future__ import annotations

import pytest
from holder_conversation import (
    OWN,
    SHORT_S,
    A,
    B,
    Conversation,
    done,
    gone,
    lost,
    rack,
    recalled,
    result,
    revoked,
    run,
    start,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core.asked import PATIENCE_S
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    EntrustedHandedOver,
    EntrustedWithdrawn,
    GraceOver,
    HandOver,
    KillWorker,
    RecallRuns,
    RevokeAnswered,
    RevokeAsked,
    TimeLimitSet,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Bye, Draining, Nack, Result, Status, Withdrawn

NO_TIME = b"the node was drained, and ended it after the grace for what runs"


def nack(number: int, attempt: int = 1) -> Nack:
    """Return the word that an attempt is to go elsewhere."""
    return Nack(task(number), attempt, "draining", "the node finishes what it has and takes nothing new")


def over(*stranded: int) -> GraceOver:
    """Return the end of the grace; no peer could run these tasks."""
    return GraceOver(frozenset(task(number) for number in stranded))


def test_a_run_is_ended_and_handed_back() -> None:
    """It counts for nothing: its client hears the same as of what waits."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.hear(over(), KillWorker(0))
    talk.hear(gone(1), to(A, nack(1)), Drained())


def test_what_was_ahead_is_handed_back_too() -> None:
    """Given back by its worker, or dead with it."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.hear(DrainAsked(), to(A, Draining()))
    assert RecallRuns(0, [n + 1, n + 2]) in talk.pass_time(0.012)
    talk.hear(over(), KillWorker(0))
    talk.hear(recalled([n + 1, n + 2], [n + 1]), to(A, nack(2)))
    talk.hear(gone(n), to(A, nack(1), nack(3)), Drained())


def test_what_waits_again_since_its_worker_has_died_is_handed_back() -> None:
    """It was to be finished here, in the time that is over now."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do(DrainAsked())
    talk.hear(gone(1, retired=True))
    talk.hear(over(), to(A, nack(1)), Drained())


def test_a_client_that_leaves_is_no_concern_before_the_drain() -> None:
    """Nor what it leaves to the node."""
    talk = Conversation(clients=(A, OWN))
    entrusted(talk, 1)
    talk.do_quietly(A, Bye())
    assert talk.pass_time(3.0)[-1:] != [HandOver([task(1)])]


def test_what_ends_just_before_its_worker_is_delivered() -> None:
    """It has ended, and is not handed back."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do(DrainAsked())
    talk.hear(over(), KillWorker(0))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(gone(1))
    talk.say(A, rack(1), Drained())


def test_what_must_not_run_twice_is_lost() -> None:
    """If it has started; what has not goes elsewhere."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.do_quietly(A, submit(1, once=True), submit(2, once=True))
    talk.do(DrainAsked())
    talk.hear(over(), KillWorker(0))
    ended = Result(task(1), 1, Status.WORKER_LOST, "", NO_TIME, 0.0)
    talk.hear(gone(n), to(A, ended, nack(2)))
    talk.say(A, rack(1), Drained())


def test_who_wanted_a_run_back_is_answered() -> None:
    """By the handing back; what was revoked ends as revoked."""
    talk = Conversation(slots=3)
    talk.say(A, [submit(1), submit(2), submit(3)], *(start(run(n, n), slot=n - 1) for n in (1, 2, 3)))
    talk.do(DrainAsked())
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.hear(RevokeAsked("before", [task(2)], 0), RecallRuns(1, [2]))
    talk.hear(over(), *(KillWorker(slot) for slot in range(3)))
    talk.hear(recalled([1], []))
    talk.hear(RevokeAsked("after", [task(3)], 0), RecallRuns(2, [3]))
    talk.hear(gone(1), to(A, nack(1)))
    talk.hear(gone(2, 1), to(A, revoked(2)), RevokeAnswered("before", {task(2): "terminated"}))
    talk.hear(gone(3, 2), to(A, revoked(3)), RevokeAnswered("after", {task(3): "terminated"}))


def test_a_run_past_its_time_limit_ends_as_that() -> None:
    """Its worker is being killed already."""
    talk = Conversation()
    talk.do(TimeLimitSet("f", None, 1.0))
    talk.do_quietly(A, submit(1))
    talk.do(DrainAsked())
    assert talk.pass_time(1.1)[-1] == KillWorker(0)
    talk.hear(over(), KillWorker(0))
    (sent,) = talk.do(gone(1))
    assert sent.messages[0].status == Status.TIME_LIMIT  # type: ignore[union-attr]


def entrusted(talk: Conversation, number: int, **options: object) -> None:
    """Let A have entrusted a task to the node, whose own owner has it run here."""
    talk.do_quietly(A, submit(number, detached=True, **options))
    talk.do_quietly(OWN, submit(number, **options))


def test_a_detached_task_that_runs_goes_back_to_its_client() -> None:
    """By way of our own owner, which is asked for it before its run is ended."""
    talk = Conversation(clients=(A, OWN))
    entrusted(talk, 1)
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    talk.say(OWN, withdraw(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), to(OWN, Withdrawn(task(1), 1, "running")))
    talk.hear(EntrustedWithdrawn(A, task(1), False))
    talk.hear(over(1), Disown(A, task(1)), KillWorker(0))
    talk.say(OWN, withdraw(1))
    talk.hear(gone(1), to(OWN, Withdrawn(task(1), 1, "dropped")))
    talk.hear(EntrustedWithdrawn(A, task(1), True), to(A, nack(1)))
    talk.say(A, rack(1), Drained())


def test_a_detached_task_of_a_client_that_is_away_goes_to_a_peer() -> None:
    """Who may come back is waited for no longer."""
    talk = Conversation(clients=(A, OWN))
    entrusted(talk, 1)
    talk.do(ClientUnreachable(A))
    talk.hear(DrainAsked())
    talk.hear(over(), HandOver([task(1)]), KillWorker(0))
    talk.hear(gone(1), to(OWN, Withdrawn(task(1), 1, "dropped")))
    talk.hear(EntrustedHandedOver(A, task(1)), Drained())


def test_what_could_only_start_here_again_is_left_to_run() -> None:
    """No peer could run it, and its client is gone; what else runs is ended all the same."""
    talk = Conversation(slots=2, clients=(A, B, OWN))
    entrusted(talk, 1)
    talk.do_quietly(B, submit(2))
    talk.do_quietly(A, Bye())
    talk.hear(DrainAsked(), HandOver([task(1)]), to(A, Draining()), to(B, Draining()))
    talk.hear(over(1), KillWorker(1))
    talk.hear(gone(2, 1), to(B, nack(2)))
    talk.hear(WorkerReady(1, 4_007, []))
    talk.hear(gone(1), to(OWN, lost(1)))
    talk.say(OWN, [rack(1), submit(1, 2)], start(run(3, 1, 2), slot=1))


def test_a_client_that_leaves_during_the_drain_is_seen_to_at_once() -> None:
    """What it leaves to the node goes to a peer; before, its client would have had it back."""
    talk = Conversation(clients=(A, OWN))
    talk.do_quietly(A, submit(1, detached=True))
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    talk.hear(EntrustedWithdrawn(A, task(1), False))
    talk.do_quietly(A, Bye())
    assert talk.pass_time(0.0) == [HandOver([task(1)])]
    talk.hear(EntrustedHandedOver(A, task(1)), Drained())


@pytest.mark.parametrize("back", [False, True])
def test_a_client_out_of_reach_hears_of_it_when_it_is_back(back: bool) -> None:
    """What was handed back meanwhile it asks for by itself; the node does not wait for it."""
    talk = Conversation()
    talk.do_quietly(A, submit(1))
    talk.do(ClientUnreachable(A))
    talk.do(DrainAsked())
    talk.hear(over(), KillWorker(0))
    talk.hear(gone(1), Drained())
    if back:
        talk.do(ClientGreeted(A))
        talk.say(A, withdraw(1), to(A, Withdrawn(task(1), 1, "unknown")))


def _drained_but_asked_for() -> Conversation:
    """Return a node that drains, whose only task has ended, and was asked for by somebody else."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.holder.asked.owners([task(1)], talk.now)
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    return talk


def test_who_waits_for_a_task_of_another_is_waited_for() -> None:
    """The node that drains ends only when the end was told, or nobody has asked for a while."""
    talk = _drained_but_asked_for()
    assert talk.holder.asked.owners([task(1)], talk.now) == {}, "it is answered from what is kept"
    talk.say(A, rack(9), Drained())


def test_who_waits_and_asks_no_more_is_not_waited_for() -> None:
    """It has ended, say."""
    talk = _drained_but_asked_for()
    talk.wait(PATIENCE_S, Drained())


def test_what_a_client_that_is_gone_has_left_is_finished_for_who_waits_for_it() -> None:
    """Nobody else would run it; what nobody waits for is dropped, as its owner would send it elsewhere."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(B, submit(3))
    talk.do(ClientUnreachable(A))
    talk.do(ClientUnreachable(B))
    talk.pass_time(10.0)
    talk.holder.asked.owners([task(2)], talk.now)
    talk.hear(DrainAsked())
    assert talk.holder.counts()["queued"] == 1
    talk.hear(done(1), start(run(2, 2)))
