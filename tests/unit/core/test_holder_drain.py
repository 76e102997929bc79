"""The holder that drains: finish what runs, hand back what waits, take nothing new."""

from __future__ import annotations

from holder_conversation import (
    OWN,
    SHORT_S,
    A,
    B,
    Conversation,
    done,
    gone,
    quick,
    rack,
    result,
    run,
    short,
    start,
    submit,
    task,
    to,
)

from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    EntrustedDone,
    EntrustedHandedOver,
    EntrustedWithdrawn,
    GraceOver,
    HandOver,
    KillWorker,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Accepted, Bye, Credit, Draining, Nack, Result, Status, Withdrawn

HANDED_BACK = (1, "draining", "the node finishes what it has and takes nothing new")


def test_an_idle_node_is_drained_at_once_and_once() -> None:
    """Drained comes with the asking where there is nothing to wait for, and never again."""
    talk = Conversation()
    talk.hear(DrainAsked(), to(A, Draining()), Drained())
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.wait(60.0)


def test_what_waits_is_handed_back_and_what_runs_is_finished() -> None:
    """Queued tasks come back as NACK; Drained comes when the last result is acknowledged."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    nacks = [Nack(task(number), *HANDED_BACK) for number in (2, 3)]
    talk.hear(DrainAsked(), to(A, *nacks, Draining()), to(B, Draining()))
    talk.say(B, submit(4), to(B, Nack(task(4), *HANDED_BACK)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1), Drained())
    talk.say(B, submit(4), to(B, Nack(task(4), *HANDED_BACK)))


def test_a_task_handed_back_is_refused_again_should_it_come_again() -> None:
    """The NACK may have been lost: a copy of the task is answered, never swallowed."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(DrainAsked(), to(A, Nack(task(2), *HANDED_BACK), Draining()))
    talk.say(A, submit(2), to(A, Nack(task(2), *HANDED_BACK)))


def test_what_is_ahead_is_finished_here() -> None:
    """Runs in the hands of a worker stay, even where it dies under one of them."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.hear(gone(0))
    talk.hear(WorkerReady(0, 4_001, []), start(run(n + 2, 1), run(n + 3, 2)))
    talk.hear(short(n + 2, n + 3), to(A, quick(1), quick(2)))
    talk.say(A, [rack(1), rack(2)], Drained())


def test_entrusted_tasks_that_run_are_finished_first() -> None:
    """Our own owner may go on submitting here, and what was entrusted to it has its result delivered."""
    talk = Conversation(clients=(A, OWN))
    entrusted = Entrust(A, task(1), "f", "msgpack", b"x", None)
    talk.say(A, submit(1, detached=True), entrusted, to(A, Accepted(task(1), 1)))
    talk.say(OWN, [submit(1), submit(8)], start(run(1, 1)))
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    talk.hear(EntrustedWithdrawn(A, task(1), False))
    talk.say(OWN, submit(9))
    talk.hear(done(1), start(run(2, 8)), to(OWN, result(1)))
    value = (Status.OK, "msgpack", b"value")
    talk.hear(EntrustedDone(A, task(1), *value), to(A, Result(task(1), 1, *value, 0.0)))
    talk.say(A, rack(1))
    talk.hear(done(2), start(run(3, 9)), to(OWN, result(8)))
    talk.hear(done(3), to(OWN, result(9)))
    talk.say(OWN, [rack(1), rack(8), rack(9)], Drained())


def test_entrusted_tasks_are_given_back_or_handed_over() -> None:
    """To their clients that are there, and to peers; a late copy of what a peer has is not refused."""
    talk = Conversation(clients=(A, B, OWN))
    for client, number in ((A, 1), (B, 2)):
        talk.do_quietly(client, submit(number, detached=True))
    talk.do_quietly(B, Bye())
    talk.hear(DrainAsked(), Disown(A, task(1)), HandOver([task(2)]), to(A, Draining()), to(B, Draining()))
    talk.hear(EntrustedWithdrawn(A, task(1), True), to(A, Nack(task(1), *HANDED_BACK)))
    talk.hear(EntrustedHandedOver(B, task(2)))
    talk.do(ClientGreeted(B))
    talk.say(B, submit(2, detached=True), to(B, Accepted(task(2), 1)))
    talk.say(A, rack(1), Drained())


def test_after_the_grace_what_runs_is_ended() -> None:
    """A detached one too, though our own owner is to have it done."""
    talk = Conversation(slots=2, clients=(A, OWN))
    talk.do_quietly(A, submit(1))
    talk.do_quietly(OWN, submit(2))
    talk.do(DrainAsked())
    talk.hear(GraceOver(frozenset()), KillWorker(0), KillWorker(1))
    talk.hear(gone(1), to(A, Nack(task(1), *HANDED_BACK)))
    talk.hear(gone(2, 1), to(OWN, Withdrawn(task(2), 1, "dropped")), Drained())


def test_a_client_out_of_reach_does_not_hold_up_the_drain() -> None:
    """Its results cannot be delivered; what it has running is finished all the same."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.hear(DrainAsked())
    talk.hear(done(1), Drained())
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), result(1)))


def test_a_client_that_is_gone_without_a_word_is_not_waited_for() -> None:
    """Its result is kept; but where it is silent, with no break of the connection noticed, the drain ends."""
    talk = Conversation()
    talk.say(A, [submit(1)], start(run(1, 1)))
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.hear(done(1), to(A, result(1)))
    ends = [effect for effect in talk.pass_time(11.0) if isinstance(effect, Drained)]
    assert ends == [Drained()]
