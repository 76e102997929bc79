"""The holder: a task's way there and back, what it says on the way, and whom it serves first."""

from __future__ import annotations

import pytest
from holder_conversation import (
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    rack,
    result,
    run,
    start,
    submit,
    task,
    to,
)

from meshq.core.holding import ClientUnreachable, StartRuns
from meshq.core.work import WorkerReady
from meshq.protocol.messages import (
    Accepted,
    Credit,
    Dead,
    Nack,
    Ping,
    Pong,
    Result,
    Started,
    Status,
)


def test_there_and_back() -> None:
    """A task is run at once, its result sent, and all of it forgotten on acknowledgement."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    assert talk.holder.counts() == {"queued": 0, "parked": 0, "running": 1, "finished": 0, "clients": 1}
    talk.hear(done(1), to(A, result(1)))
    assert talk.holder.counts() == {"queued": 0, "parked": 0, "running": 0, "finished": 1, "clients": 1}
    talk.say(A, rack(1))
    assert talk.holder.counts() == {"queued": 0, "parked": 0, "running": 0, "finished": 0, "clients": 1}
    talk.wait(60.0)


def test_what_finds_no_slot_waits_in_order() -> None:
    """Tasks run in the order of their submission, one a slot while their time is not known."""
    talk = Conversation(slots=2)
    talk.say(A, [submit(n) for n in (1, 2, 3, 4)], start(run(1, 1)), start(run(2, 2), slot=1))
    talk.hear(done(2, slot=1), start(run(3, 3), slot=1), to(A, result(2)))
    talk.hear(done(1), start(run(4, 4)), to(A, result(1)))
    talk.hear(done(3, slot=1), to(A, result(3)))


def test_whoever_was_silent_for_long_hears_what_was_dropped_with_the_first_word() -> None:
    """Before anything else, and once."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.pass_time(910.0)
    dropped = Nack(task(2), 1, "full", "dropped, since nothing was heard of the client for 900 s")
    talk.say(A, Ping(1), to(A, dropped, Pong(1)))
    talk.say(A, Ping(2), to(A, Pong(2)))


def test_nothing_runs_before_a_worker_is_ready() -> None:
    """Tasks are accepted while the workers load their modules, and start as each is ready."""
    talk = Conversation(slots=2, ready=False)
    talk.say(A, [submit(1), submit(2)])
    talk.hear(WorkerReady(1, 4_001, []), start(run(1, 1), slot=1))
    talk.hear(WorkerReady(0, 4_000, []), start(run(2, 2)))


def test_a_quick_result_stands_alone() -> None:
    """Neither ACCEPTED nor STARTED is sent for what ends within 10 ms."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.wait(0.009)
    talk.hear(done(2), to(A, result(2)))
    talk.say(A, [rack(1), rack(2)])
    talk.wait(1.0)


def test_slow_ones_are_reported() -> None:
    """After 10 ms a client hears STARTED of what runs, which implies ACCEPTED, and ACCEPTED of what waits."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.wait(0.011, to(A, Started(task(1), 1, about(0.010)), Accepted(task(2), 1)))
    talk.wait(0.100)
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.say(A, rack(1))
    talk.wait(0.011, to(A, Started(task(2), 1, about(0.010))))
    talk.wait(60.0)


def test_a_run_that_began_late_is_first_accepted_then_started() -> None:
    """Each of the two is sent 10 ms after what it tells of."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.wait(0.005)
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.say(A, rack(1))
    talk.wait(0.006, to(A, Accepted(task(2), 1)))
    talk.wait(0.005, to(A, Started(task(2), 1, about(0.010))))


def test_the_acknowledgement_of_an_earlier_attempt_does_not_count() -> None:
    """The result is sent until it is acknowledged under the number that its owner waits for."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, submit(1, 2), to(A, result(1, 2)))
    talk.say(A, rack(1, 1))
    talk.say(A, submit(1, 2), to(A, result(1, 2)))
    talk.say(A, rack(1, 2))
    assert talk.holder.counts()["finished"] == 0


def test_results_are_sent_again_until_acknowledged() -> None:
    """The pauses between the sendings of a result double from 0.5 to 8 s."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 8.0):
        for _ in range(int(pause / 0.5) - 1):
            talk.wait(0.5)
            talk.say(A, Ping(1), to(A, Pong(1)))
        talk.wait(0.5, to(A, result(1)))
    talk.say(A, rack(1))
    talk.wait(60.0)


def test_a_result_asked_for_without_end_breaks_nothing() -> None:
    """A client may send the same SUBMIT thousands of times and never acknowledge."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, [submit(1)] * 2_000, to(A, *[result(1)] * 2_000))
    talk.wait(4.0)


def test_a_silent_client_is_sent_nothing_again_until_it_is_heard() -> None:
    """Results rest while a client has been silent for 5 s, and go out again as soon as it speaks."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.wait(4.0, to(A, Started(task(1), 1, about(0.010))))
    talk.hear(done(1), to(A, result(1)))
    talk.wait(0.6, to(A, result(1)))
    talk.wait(60.0)
    talk.say(A, Ping(7), to(A, Pong(7)))
    talk.wait(0.6, to(A, result(1)))


def test_clients_take_turns() -> None:
    """The one task of a client starts next, though another has 1,000 queued."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(n) for n in range(1, 1_001)], start(run(1, 1)))
    talk.say(B, submit(5_000))
    talk.hear(done(1), start(run(2, 5_000)), to(A, result(1)))
    talk.hear(done(2), start(run(3, 2)), to(B, result(5_000)))
    talk.hear(done(3), start(run(4, 3)), to(A, result(2)))


def test_a_newcomer_does_not_overtake_those_who_wait_longer() -> None:
    """Who comes second while the first still waits for its first turn comes second."""
    talk = Conversation(clients=(A, B, b"c" * 16))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(B, [submit(2), submit(3)])
    talk.say(b"c" * 16, submit(4))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.hear(done(2), start(run(3, 4)), to(B, result(2)))


def test_several_clients_get_equal_shares() -> None:
    """Two clients with work queued have their tasks run alternately, in the same batch too."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S, client=B)
    talk.say(A, submit(9, function="g"), start(run(n, 9, function="g")))
    talk.say(A, [submit(1), submit(2)])
    talk.say(B, [submit(3), submit(4)])
    turns = [run(n + 1 + i, number) for i, number in enumerate((3, 1, 4, 2))]
    talk.hear(done(n), start(*turns), to(A, result(9)))


def test_a_client_that_sends_a_large_payload_hears_that_the_node_lives() -> None:
    """Each quarter of a second, as its PINGs wait behind the pieces."""
    talk = Conversation()
    talk.say(A, [], to(A, Pong(0)))
    talk.pass_time(0.2)
    talk.say(A, [])
    talk.pass_time(0.05)
    talk.say(A, [], to(A, Pong(0)))


def test_heartbeats_are_answered() -> None:
    """A PING is answered with its number at once."""
    talk = Conversation()
    talk.say(A, Ping(17), to(A, Pong(17)))


def test_strangers_and_strange_messages_are_ignored() -> None:
    """Who has not greeted is not served, and what only nodes say means nothing from a client."""
    talk = Conversation()
    talk.say(B, [submit(1), Ping(1)])
    talk.say(A, [Pong(1), result(1), rack(1), Credit(1, 1)])
    talk.hear(ClientUnreachable(B))


def test_an_unknown_event_is_an_error() -> None:
    """The shell learns at once when it passes on what the holder does not know."""
    with pytest.raises(KeyError):
        Conversation().do(object())  # type: ignore[arg-type]


def test_a_task_that_was_given_up_is_listed() -> None:
    """As its owner tells of it."""
    talk = Conversation()
    talk.say(A, Dead(task(1), "f", "story"))
    assert [view[:3] for view in talk.holder.dead.views(talk.now)] == [(task(1), "f", "story")]


def test_what_expires_while_the_node_is_late_does_not_start() -> None:
    """It is looked for before a slot that has become free is filled."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2, expires=5.0)], start(run(1, 1)))
    talk.now += 6.0
    effects = talk.do(done(1))
    expired = Result(task(2), 1, Status.EXPIRED, "", b"", 0.0)
    assert to(A, result(1), expired) in effects
    assert not any(isinstance(effect, StartRuns) for effect in effects)


def test_what_must_not_run_twice_is_said_to_have_started() -> None:
    """At once when it is given to a worker."""
    talk = Conversation()
    talk.say(A, submit(1, once=True), start(run(1, 1, once=True)), to(A, Started(task(1), 1)))
    talk.wait(1.0)
    talk.hear(done(1), to(A, result(1)))
