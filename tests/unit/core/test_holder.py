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
    gone,
    rack,
    result,
    run,
    start,
    submit,
    task,
    to,
)

from meshq.core import admission as module
from meshq.core import entrusting
from meshq.core.events import Send
from meshq.core.holding import ClientUnreachable, FunctionsKnown, RateLimitSet, StartRuns, TimeLimitSet
from meshq.core.work import Done, WorkerDone, WorkerReady
from meshq.errors import ChunkRefused
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import (
    LONGEST_TEXT,
    Accepted,
    Credit,
    Dead,
    Nack,
    Parked,
    Ping,
    Pong,
    Result,
    Started,
    Status,
    Submit,
    Withdrawn,
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


def test_a_copy_is_answered_and_not_run_again() -> None:
    """The same attempt again is answered with what is known of it: ACCEPTED, or the result."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(A, [submit(1), submit(2)], to(A, Accepted(task(1), 1), Accepted(task(2), 1)))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.say(A, submit(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(1), to(A, Withdrawn(task(1), 1, "unknown")))


def test_a_copy_after_started_has_it_said_again() -> None:
    """Where the client asks again it may have missed STARTED, which decides whether a death is charged."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.wait(0.011, to(A, Started(task(1), 1, about(0.010))))
    talk.wait(1.0)
    talk.say(A, submit(1), to(A, Accepted(task(1), 1)))
    talk.wait(0.001, to(A, Started(task(1), 1, about(1.011))))
    talk.wait(1.0)


def test_a_later_attempt_takes_over_the_earlier() -> None:
    """An attempt that its owner sends anew goes on here under its new number, whatever its state."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(A, [submit(1, 3), submit(2, 2)], to(A, Accepted(task(1), 3), Accepted(task(2), 2)))
    talk.hear(done(1), start(run(2, 2, 2)), to(A, result(1, 3)))
    talk.say(A, submit(1, 4), to(A, result(1, 4)))


def test_an_earlier_attempt_is_ignored() -> None:
    """What was overtaken by a later attempt neither answers nor changes anything."""
    talk = Conversation()
    talk.say(A, submit(1, 3), start(run(1, 1, 3)))
    talk.say(A, submit(1, 2))
    talk.hear(done(1), to(A, result(1, 3)))
    talk.say(A, [submit(1, 2), rack(1, 3)])
    talk.say(A, submit(1, 2), to(A, Withdrawn(task(1), 2, "unknown")))


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


def test_a_task_that_is_done_may_be_tried_again() -> None:
    """A later attempt of a task that was acknowledged is new work."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(1, 2), start(run(2, 1, 2)))


def test_owners_number_attempts_each_for_themselves() -> None:
    """What one client has had of a task says nothing of another client's attempts at it."""
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1, 3), start(run(1, 1, 3)))
    talk.hear(done(1), to(A, result(1, 3)))
    talk.say(A, rack(1, 3))
    talk.say(B, submit(1, 2), start(run(2, 1, 2)))


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


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        (submit(1, function="photos.blur"), "unknown-task", "the node does not offer photos.blur"),
        (submit(1, serializer="pickle"), "serializer", "the node does not take pickle"),
    ],
)
def test_what_the_node_does_not_offer_is_refused(message: Submit, reason: str, text: str) -> None:
    """A NACK says what is wrong; the next attempt is taken once the node offers what it needs."""
    talk = Conversation()
    talk.say(A, message, to(A, Nack(task(1), 1, reason, text)))
    talk.do(FunctionsKnown(frozenset({"photos.blur", "f"}), frozenset({"msgpack", "pickle"})))
    [effect] = talk.do_quietly(A, message._replace(attempt=2))
    assert isinstance(effect, StartRuns)


def test_a_refusal_is_short_whatever_was_asked_for() -> None:
    """It must fit into a message however long the name is that it repeats."""
    talk = Conversation()
    [effect] = talk.do_quietly(A, submit(1, function="f" * 1_000_000))
    assert isinstance(effect, Send)
    [nack] = effect.messages
    assert isinstance(nack, Nack)
    assert nack.text == ("the node does not offer " + "f" * LONGEST_TEXT)[:LONGEST_TEXT]


def test_a_client_that_sends_a_large_payload_hears_that_the_node_lives() -> None:
    """Each quarter of a second, as its PINGs wait behind the pieces."""
    talk = Conversation()
    talk.say(A, [], to(A, Pong(0)))
    talk.pass_time(0.2)
    talk.say(A, [])
    talk.pass_time(0.05)
    talk.say(A, [], to(A, Pong(0)))


def test_a_client_that_exceeds_its_credit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client makes the node keep is bounded: attempts, and results that it does not acknowledge."""
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    text = "the client has 2 attempts and unacknowledged results here"
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(n) for n in (1, 2, 3)], start(run(1, 1)), to(A, Nack(task(3), 1, "full", text)))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.hear(done(2), to(A, result(2)))
    talk.say(A, submit(3), to(A, Nack(task(3), 1, "full", text)))
    talk.say(B, submit(3), start(run(3, 3)))
    talk.say(A, [rack(1), submit(3, 2)])


def test_an_attempt_that_was_refused_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner has sent the next elsewhere: a copy of it that comes late, when there is room, must not run."""
    monkeypatch.setattr(module, "MAX_KEPT", 1)
    text = "the client has 1 attempts and unacknowledged results here"
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)), to(A, Nack(task(2), 1, "full", text)))
    talk.hear(done(1), to(A, result(1)))
    again = Nack(task(2), 1, "full", "the node did not take this attempt before")
    talk.say(A, [rack(1), submit(2)], to(A, again))
    talk.say(A, submit(2, 2), start(run(2, 2, 2)))


def test_what_is_parked_is_not_counted_against_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no credit either; it has a budget of its own."""
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    talk = Conversation()
    talk.do_quietly(A, *[submit(number, countdown=60.0) for number in range(10, 20)])
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    text = "the client has 2 attempts and unacknowledged results here"
    talk.say(A, submit(3), to(A, Nack(task(3), 1, "full", text)))


def test_a_copy_of_what_is_parked_is_told_so_again() -> None:
    """The first word of it may have been lost; a later attempt goes on under its number."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=60.0), to(A, Parked(task(1), 1, about(60.0))))
    talk.wait(10.0)
    talk.say(A, submit(1, countdown=60.0), to(A, Parked(task(1), 1, about(50.0))))
    talk.say(A, submit(1, 2, countdown=50.0), to(A, Parked(task(1), 2, about(50.0))))


def test_a_node_full_of_detached_tasks_refuses_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client hears why; what is not detached is taken all the same."""
    monkeypatch.setattr(entrusting, "ENTRUSTED_BYTES", 1_000)
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    refusal = Nack(task(2), 1, "full", "detached tasks take up 1025 bytes here")
    talk.say(A, submit(2, detached=True), to(A, refusal))
    talk.say(A, submit(3), start(run(1, 3)))


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


def test_words_of_workers_on_unknown_runs_are_ignored() -> None:
    """A run that is not here, or no longer, changes nothing."""
    talk = Conversation()
    talk.hear(done(9))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(done(1))
    talk.hear(gone(1))


def test_an_unknown_event_is_an_error() -> None:
    """The shell learns at once when it passes on what the holder does not know."""
    with pytest.raises(KeyError):
        Conversation().do(object())  # type: ignore[arg-type]


def test_a_new_task_of_an_old_id_is_asked_for_under_a_new_number() -> None:
    """Its first attempt looks like a copy of what is over; told that it is unknown, its owner sends the next."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(1), to(A, Withdrawn(task(1), 1, "unknown")))
    talk.say(A, submit(1, 2), start(run(2, 1, 2)))


def test_a_function_is_one_whichever_of_its_names_it_is_called_by() -> None:
    """A limit holds for both, runs are counted together, and workers get the one name."""
    talk = Conversation(slots=2)
    names = frozenset({"f", "_f"})
    talk.do(FunctionsKnown(names, frozenset({"msgpack"}), {"f": {"rate_limit": 1}}, {"_f": "f"}))
    talk.say(A, submit(1, function="_f"), start(run(1, 1)))
    talk.say(A, submit(2), to(A, Parked(task(2), 1, about(1.0))))
    talk.do(done(1))
    assert talk.holder.totals()[0] == {"f": 1}


def test_the_next_try_is_another_run() -> None:
    """It may come before the acknowledgement of the one before, and is not answered with that one's failure."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    asked = result(1)._replace(status=Status.RETRY)
    talk.hear(done(1, status=Status.RETRY), to(A, asked))
    talk.say(A, submit(1), to(A, asked))
    talk.say(A, submit(1, 2), start(run(2, 1, 2)))
    talk.say(A, rack(1))
    talk.hear(done(2), to(A, result(1, 2)))


def test_a_key_s_result_is_answered_with() -> None:
    """That of another client, kept or not yet acknowledged there; what has failed is run again."""
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1, key=True), start(run(1, 1, key=True)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(B, submit(1, 7, key=True), to(B, result(1, 7, 0.0)))
    talk.say(B, rack(1, 7))
    talk.say(A, rack(1))
    talk.say(B, submit(1, 8, key=True, detached=True), to(B, result(1, 8, 0.0)))
    talk.say(B, submit(2, key=True), start(run(2, 2, key=True)))
    talk.hear(done(2, status=Status.FAILURE), to(B, result(2)._replace(status=Status.FAILURE)))
    talk.say(A, submit(2, key=True), start(run(3, 2, key=True)))


def test_a_key_s_result_in_another_serializer_is_not_answered_with() -> None:
    """As it would be refused; nor is one for a call without a key."""
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1, key=True), start(run(1, 1, key=True)))
    talk.hear(
        WorkerDone(0, [Done(1, Status.OK, "json", b"1", 0.02)]),
        to(A, Result(task(1), 1, Status.OK, "json", b"1", 0.02)),
    )
    talk.say(B, submit(1, key=True), start(run(2, 1, key=True)))
    talk.hear(done(2), to(B, result(1)))
    talk.say(A, rack(1))
    assert talk.do_quietly(A, submit(1, 2))[0].runs == [run(3, 1, 2)]


def test_a_task_that_was_given_up_is_listed() -> None:
    """As its owner tells of it."""
    talk = Conversation()
    talk.say(A, Dead(task(1), "f", "story"))
    assert [view[:3] for view in talk.holder.dead.views(talk.now)] == [(task(1), "f", "story")]


def test_a_chunk_that_nobody_asked_for_is_refused_where_calls_are_limited() -> None:
    """Each call is to count; one that its caller has cut is taken, as it is where there are no limits."""
    talk = Conversation()
    talk.hear(RateLimitSet("f", 1000.0))
    (sent,) = talk.do_quietly(A, submit(1, chunk="split"))
    assert isinstance(sent, Send)
    (refused,) = sent.messages
    assert isinstance(refused, Result)
    assert (refused.task, refused.status) == (task(1), Status.FAILURE)
    assert isinstance(load_failure(refused.payload), ChunkRefused)
    talk.hear(RateLimitSet("f", 0.0))
    talk.say(A, submit(2, chunk="split"), start(run(1, 2, chunk="split")))


@pytest.mark.parametrize("limit", [RateLimitSet("f", 1000.0), TimeLimitSet("f", None, 5.0)])
def test_queued_chunks_that_nobody_asked_for_end_when_a_limit_is_set(limit: RateLimitSet | TimeLimitSet) -> None:
    """The limit is to hold for each of their calls; other tasks stay."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, [submit(2, chunk="split"), submit(3), submit(4, chunk=True)])
    effects = talk.do(limit)
    results = [m for each in effects if isinstance(each, Send) for m in each.messages if isinstance(m, Result)]
    assert [(each.task, each.status) for each in results] == [(task(2), Status.FAILURE)]
    assert talk.holder.counts()["queued"] + talk.holder.counts()["parked"] == 2
