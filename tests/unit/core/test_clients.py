"""The clients of a node: greetings, the table of them, credit, leases, and what is handed back."""

from __future__ import annotations

import gc
import weakref

import pytest
from holder_conversation import (
    LONG_S,
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
    run,
    short,
    start,
    submit,
    task,
    to,
)

from meshq.core import clients as module
from meshq.core.events import Send
from meshq.core.holding import (
    ClientForgotten,
    ClientGreeted,
    ClientUnreachable,
    DrainAsked,
    Drained,
    HolderEffect,
    RecallRuns,
    ResizeAsked,
    StartRuns,
    StartWorker,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Bye, ByeAck, Credit, Draining, Nack, Parked, Refused, Started
from meshq.protocol.payload import Buffer

HANDED_BACK = (1, "draining", "the node finishes what it has and takes nothing new")


def test_who_greets_soon_hears_that_the_work_of_others_has_gone() -> None:
    """With its worker, say: else it sends the node nothing that another node could run, and waits there."""
    new = b"n" * 16
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.pass_time(0.06)  # in which it is counted
    talk.do(gone(1))
    talk.do(WorkerReady(0, 1, []))
    credits = [message.others for message in _told(talk.do(ClientGreeted(new)), new)]
    assert credits == [1]
    assert [message.others for message in _told(talk.pass_time(0.06), new)] == [0]


def _told(effects: list[HolderEffect], client: bytes) -> list[Credit]:
    """Return the credits that a client is told."""
    sends = [effect for effect in effects if isinstance(effect, Send) and effect.peer == client]
    return [message for send in sends for message in send.messages if isinstance(message, Credit)]


def test_a_client_out_of_reach_gets_everything_when_it_greets() -> None:
    """Nothing is sent while the connection is gone; on the next one come the credit and all results at once."""
    talk = Conversation(slots=2)
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), start(run(2, 2), slot=1))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(ClientUnreachable(A))
    talk.hear(done(2, slot=1))
    talk.wait(10.0)
    talk.hear(ClientGreeted(A), to(A, Credit(2, 3), result(1), result(2)))
    talk.wait(0.6, to(A, result(2)))


def test_started_is_said_again_on_a_new_connection() -> None:
    """STARTED may have been lost with the connection, or have come due without one."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.wait(0.1)
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2)))
    talk.wait(0.0, to(A, Started(task(1), 1, about(0.1))))
    talk.wait(1.0)


def test_a_full_table_of_clients_refuses_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newcomer hears why it is not served, and known clients are not disturbed."""
    monkeypatch.setattr(module, "MAX_CLIENTS", 1)
    talk = Conversation(clients=(A,))
    talk.hear(ClientGreeted(B), to(B, Refused("full", "the node has 1 clients")), ClientForgotten(B))
    talk.say(B, submit(1))
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2)))


def test_a_full_table_of_clients_gives_up_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of clients out of reach and without work here, the one not heard for longest makes room; never our own."""
    monkeypatch.setattr(module, "MAX_CLIENTS", 4)
    talk = Conversation(clients=(OWN, A, B, b"c" * 16))
    talk.hear(ClientUnreachable(OWN))
    talk.wait(1.0)
    talk.say(A, submit(1), start(run(1, 1)))
    for client in (A, B, b"c" * 16):
        talk.hear(ClientUnreachable(client))
    talk.hear(ClientGreeted(b"d" * 16), ClientForgotten(B), to(b"d" * 16, Credit(1, 2)))
    talk.hear(ClientGreeted(OWN), to(OWN, Credit(2, 2)))
    talk.hear(done(1))
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), result(1)))
    talk.hear(ClientGreeted(b"c" * 16), to(b"c" * 16, Credit(2, 2)))
    talk.hear(ClientGreeted(B), to(B, Refused("full", "the node has 4 clients")), ClientForgotten(B))


def test_a_stranger_s_lost_connection_means_nothing() -> None:
    """A connection may go before anybody greeted over it."""
    talk = Conversation()
    talk.hear(ClientUnreachable(B))
    talk.say(A, submit(1), start(run(1, 1)))


# ---------------------------------------------------------------------- credit


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
    n = talk.teach("f", SHORT_S)
    talk.teach("g", 1.0, client=B)
    n += 1
    talk.say(A, [submit(i, function="g") for i in range(8)], start(run(n, 0, function="g")))
    talk.say(B, submit(20, function="g"))
    assert credits(talk.pass_time(0.049)) == [to(A, Credit(3, 3))]  # the slot is at a long run
    assert credits(talk.pass_time(0.002)) == [to(A, Credit(4, 2, 1)), to(B, Credit(2, 2, 8))]
    assert credits(talk.pass_time(60.0)) == []


def test_a_client_does_not_hear_of_its_own_work_as_of_others() -> None:
    """However its own attempts come and go between two surveys, a client alone is told of no other."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(i) for i in range(40)], start(*[run(n + i, i) for i in range(4)]))
    talk.pass_time(0.051)
    talk.do(short(n))  # the slot is no longer at a long run, which A hears
    for _ in range(39):
        n += 1
        effects = talk.do(short(n))
        assert credits(effects) == []


def test_long_runs_are_looked_at_for_all_clients_a_hundred_times_a_second() -> None:
    """With thousands of clients it would be no end of work; what was left out comes 50 ms later."""
    talk = Conversation(slots=2)
    n = talk.teach("f", SHORT_S)
    talk.say(A, submit(1), start(run(n, 1)))
    talk.pass_time(0.005)
    talk.say(A, submit(2), start(run(n + 1, 2), slot=1))
    assert credits(talk.pass_time(0.014)) == [to(A, Credit(3, 24))]  # of 43
    assert credits(talk.pass_time(0.050)) == [to(A, Credit(4, 5))]


def test_who_has_no_work_hears_nothing_of_long_runs() -> None:
    """There may be thousands of clients that wait for something else, and a long run each millisecond."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S)
    talk.teach("f", SHORT_S, client=B)
    told: list[bytes] = []
    for number in range(n + 1, n + 11):
        effects = talk.do_quietly(A, submit(number))
        effects += talk.pass_time(0.015)
        effects += talk.do(short(number))
        told += [each.peer for each in credits(effects)]
        talk.do_quietly(A, rack(number))
    assert told.count(A) >= 10
    assert told.count(B) <= 2  # of how busy the node is


def credits(effects: list[HolderEffect]) -> list[Send]:
    """Return the CREDIT messages among these effects."""
    sends = [effect for effect in effects if isinstance(effect, Send)]
    return [to(send.peer, message) for send in sends for message in send.messages if isinstance(message, Credit)]


# ---------------------------------------------------------------------- clients that leave or vanish


def test_a_client_that_left_is_forgotten() -> None:
    """Within seconds of its BYE and its last run a client takes up no room."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, Bye(), RecallRuns(0, [1]), to(A, ByeAck(0)))
    talk.hear(recalled([1], []))
    talk.pass_time(6.0)
    assert len(talk.holder._accounts) == 1
    talk.hear(short(1))
    talk.wait(6.0, ClientForgotten(A))
    assert len(talk.holder._accounts) == 0
    assert talk.holder.next_deadline() is None


def test_a_queue_outlives_its_client_by_15_minutes() -> None:
    """Then it is dropped; the client, should it come back, hears of each, and may send it again."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.wait(890.0)
    assert talk.holder.counts()["queued"] == 1
    talk.wait(20.0)
    assert talk.holder.counts()["queued"] == 0
    talk.hear(done(1))
    talk.say(A, [])
    text = "dropped, since nothing was heard of the client for 900 s"
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), Nack(task(2), 1, "full", text), result(1)))
    talk.say(A, submit(2, 2), start(run(2, 2, 2)))


def test_a_dropped_queue_keeps_no_arguments() -> None:
    """The budget has let go of them; the client is told no more than which attempts they were."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    [waiting] = talk.holder._accounts[A].queued()
    waiting.payload = Weighty([b"x" * 1_000_000])
    kept = weakref.ref(waiting.payload)
    del waiting
    talk.hear(ClientUnreachable(A))
    talk.wait(910.0)
    gc.collect()
    assert kept() is None


class Weighty(list[Buffer]):
    """Arguments that tell when they are gone."""


def test_a_client_whose_account_is_closed_is_forgotten() -> None:
    """The shell is told, so that the id is anybody's again: no sooner than the account, and no later."""
    talk = Conversation(clients=(OWN, A, B))
    talk.say(B, Bye(), to(B, ByeAck(0)))
    talk.wait(6.0, ClientForgotten(B))
    talk.hear(ClientUnreachable(A))
    talk.wait(3_590.0)
    talk.wait(10.0, ClientForgotten(A))


def test_results_outlive_their_client_by_an_hour() -> None:
    """They are there for a client that comes back in time, counted from the end of its last task."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.wait(5_000.0)
    talk.hear(done(1))
    talk.wait(3_590.0)
    assert talk.holder.counts()["finished"] == 1
    talk.wait(20.0, ClientForgotten(A))
    assert talk.holder.counts()["finished"] == 0
    talk.hear(ClientGreeted(A), to(A, Credit(1, 2)))


def test_a_client_without_work_is_forgotten_after_an_hour() -> None:
    """An idle node with no client left has nothing to wait for."""
    talk = Conversation()
    talk.say(A, [submit(1), rack(9)], start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.wait(3_610.0, ClientForgotten(A))
    assert talk.holder.next_deadline() is None


def test_who_asks_for_a_task_keeps_what_its_client_has_left() -> None:
    """For as long as somebody asks, the whole queue stays; 15 minutes after the last asking it is dropped."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    for _ in range(4):
        talk.wait(800.0)
        assert talk.holder.asked.owners([task(3), task(99)], talk.now) == {task(3): A[:8]}
    assert talk.holder.counts()["queued"] == 2
    talk.wait(890.0)
    assert talk.holder.counts()["queued"] == 2
    talk.wait(20.0)
    assert talk.holder.counts()["queued"] == 0


def test_who_asks_for_another_client_s_task_renews_nothing() -> None:
    """Each client has a lease of its own."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(B, submit(3))
    for client in (A, B):
        talk.hear(ClientUnreachable(client))
    for _ in range(2):
        talk.wait(600.0)
        talk.holder.asked.owners([task(3)], talk.now)
    assert [view.task for view in talk.holder.survey.reserved(talk.now)] == [task(3)]


def test_who_asks_for_a_result_keeps_it() -> None:
    """For an hour from then on; after that only its state is known, or its value where that is small."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.hear(done(1))
    talk.wait(3_000.0)
    talk.holder.asked.owners([task(1)], talk.now)
    talk.wait(3_590.0)
    assert talk.holder.counts()["finished"] == 1
    talk.wait(20.0, ClientForgotten(A))
    assert talk.holder.counts()["finished"] == 0


def test_a_client_that_returns_within_its_lease_has_missed_nothing() -> None:
    """What was queued has run meanwhile, and what was not runs; nothing is handed back."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.wait(800.0)
    talk.hear(done(1), start(run(2, 2)))
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), result(1)))
    talk.say(A, rack(1))
    talk.hear(done(2), start(run(3, 3)), to(A, result(2)))


def test_our_own_owner_is_never_forgotten() -> None:
    """It says nothing for hours while it has nothing to do, and does not greet again."""
    talk = Conversation(clients=(OWN,))
    talk.say(OWN, [submit(1), submit(2)], start(run(1, 1)))
    talk.pass_time(10_000.0)
    talk.hear(done(1), start(run(2, 2)), to(OWN, result(1)))


def test_what_is_parked_outlives_its_client_no_longer_than_what_is_queued() -> None:
    """For 15 minutes without a word; then the client, should it come back, may send it again."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, countdown=3_000.0))
    talk.hear(ClientUnreachable(A))
    talk.wait(890.0)
    assert talk.holder.counts()["parked"] == 1
    talk.wait(20.0)
    assert talk.holder.counts()["parked"] == 0
    text = "dropped, since nothing was heard of the client for 900 s"
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), Nack(task(1), 1, "full", text)))


def test_on_a_new_connection_a_client_hears_again_what_is_parked() -> None:
    """The first word may have been lost, and what is parked takes up none of its credit."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, countdown=60.0))
    talk.hear(ClientUnreachable(A))
    talk.wait(10.0)
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), Parked(task(1), 1, about(50.0))))


def test_what_is_parked_is_no_work_of_others() -> None:
    """However much a client has parked, another hears of no load, and has all that one alone would have."""
    talk = Conversation(clients=(A, B))
    talk.do_quietly(A, *[submit(number, countdown=60.0) for number in range(100)])
    talk.do_quietly(B, submit(200))
    assert credits(talk.pass_time(1.0)) == [to(A, Credit(2, 2, 1))]


# ---------------------------------------------------------------------- draining


def test_a_client_out_of_reach_has_its_queue_handed_back_when_it_greets() -> None:
    """It would wait for ever for what was accepted and then dropped without a word."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(ClientUnreachable(A))
    talk.hear(DrainAsked())
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), Nack(task(2), *HANDED_BACK)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1), Drained())


def test_our_own_owner_keeps_its_queue_while_the_node_drains() -> None:
    """Other clients have theirs handed back and are told; what was entrusted to the node is finished there."""
    talk = Conversation(clients=(A, OWN))
    talk.say(OWN, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(A, submit(3))
    talk.hear(DrainAsked(), to(A, Nack(task(3), *HANDED_BACK), Draining()))
    talk.hear(done(1), start(run(2, 2)), to(OWN, result(1)))


def test_what_is_parked_is_handed_back_too() -> None:
    """But for what was entrusted to the node, which is finished here however long that takes."""
    talk = Conversation(clients=(A, OWN))
    talk.do_quietly(OWN, submit(1, countdown=60.0))
    talk.do_quietly(A, submit(2, countdown=60.0))
    talk.hear(DrainAsked(), to(A, Nack(task(2), *HANDED_BACK), Draining()))
    [started] = [effect for effect in talk.pass_time(60.005) if isinstance(effect, StartRuns)]
    talk.hear(done(1), to(OWN, result(1)))
    talk.say(OWN, rack(1), Drained())
    assert started.slot == 0


def test_all_hear_of_a_new_number_of_slots() -> None:
    """But those out of reach, who hear of it when they greet."""
    talk = Conversation(clients=(A, B))
    talk.hear(ClientUnreachable(B))
    talk.hear(ResizeAsked(2), StartWorker(1), to(A, Credit(2, 4)))
    talk.hear(ClientGreeted(B), to(B, Credit(2, 4)))


def test_peers_are_no_clients() -> None:
    """Other nodes are not counted among them; they get credit all the same, for what is entrusted to them."""
    talk = Conversation()
    talk.hear(ClientGreeted(B, "node", "node on HOST"), to(B, Credit(1, 2)))
    assert talk.holder.counts()["clients"] == 1
