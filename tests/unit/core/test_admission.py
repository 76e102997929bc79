"""Admission: which attempts a node takes, what it says of copies, and why it refuses."""

from __future__ import annotations

import pytest
from holder_conversation import (
    OWN,
    A,
    B,
    Conversation,
    about,
    done,
    rack,
    result,
    revoked,
    run,
    start,
    submit,
    task,
    to,
    withdraw,
)
from hypothesis import given
from hypothesis import strategies as st

from meshq.core import admission as module
from meshq.core import entrusting
from meshq.core.events import Send
from meshq.core.holding import (
    ClientGreeted,
    DrainAsked,
    Entrust,
    EntrustedHandedOver,
    FunctionsKnown,
    RateLimitSet,
    RevokeAsked,
    StartRuns,
    TimeLimitSet,
)
from meshq.core.work import Done, WorkerDone
from meshq.errors import ChunkRefused
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import (
    LONGEST_TEXT,
    Accepted,
    Bye,
    ByeAck,
    Nack,
    Parked,
    Result,
    Started,
    Status,
    Submit,
    Withdrawn,
)


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
        WorkerDone(0, [Done(1, Status.OK, "json", b"1", 0.03)]),
        to(A, Result(task(1), 1, Status.OK, "json", b"1", 0.03)),
    )
    talk.say(B, submit(1, key=True), start(run(2, 1, key=True)))
    talk.hear(done(2), to(B, result(1)))
    talk.say(A, rack(1))
    assert talk.do_quietly(A, submit(1, 2))[0].runs == [run(3, 1, 2)]


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


def test_what_is_detached_now_makes_room_for_itself() -> None:
    """Where a peer that drains sends anew, as this node's own, what is here; but what runs stays the peer's."""
    talk = Conversation()
    talk.do_quietly(A, submit(1), submit(2))
    entrusted = Entrust(A, task(2), "f", "msgpack", b"x", None)
    talk.say(A, submit(2, 2, detached=True), entrusted, to(A, Accepted(task(2), 2)))
    talk.say(A, submit(2, 2, detached=True), to(A, Accepted(task(2), 2)))
    talk.say(A, submit(1, 2, detached=True))
    talk.hear(done(1), to(A, result(1, 2)))


def test_a_copy_of_what_was_taken_back_is_ignored() -> None:
    """Its client has left, and waits for no answer."""
    talk = Conversation()
    talk.say(A, Bye(), to(A, ByeAck(0)))
    talk.say(A, [submit(1), submit(2)])
    assert talk.holder.counts()["queued"] == 0


def test_what_is_revoked_ends_at_once() -> None:
    """So does each copy of it, and what else comes in the same message is run."""
    talk = Conversation()
    talk.do(RevokeAsked(None, [task(2)], 0))
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)), to(A, revoked(2)))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)))


def test_large_arguments_are_taken_as_long_as_there_is_room() -> None:
    """The client hears why the next are not."""
    talk = Conversation(hold_bytes=16_000)
    large = bytes(4_000)
    assert talk.do_quietly(A, submit(1, payload=large))
    text = "the client has 4000 bytes of arguments here, and comes with 4000 more"
    talk.say(A, [submit(2, payload=large), submit(3)], to(A, Nack(task(2), 1, "full", text)))
    assert talk.holder.budget.arguments == 4_000


def test_a_node_that_drains_takes_nothing_new() -> None:
    """But from its own owner; and a copy of what a peer has taken over is not refused."""
    talk = Conversation(clients=(A, B, OWN))
    talk.do_quietly(B, submit(1, detached=True), Bye())
    talk.do(DrainAsked())
    talk.do(EntrustedHandedOver(B, task(1)))
    talk.do(ClientGreeted(B))
    talk.say(B, submit(1, detached=True), to(B, Accepted(task(1), 1)))
    words = "the node finishes what it has and takes nothing new"
    talk.say(A, submit(2), to(A, Nack(task(2), 1, "draining", words)))
    talk.say(OWN, submit(3), start(run(1, 3)))


TASKS = st.integers(1, 6)
SUBMITS = st.one_of(
    st.builds(submit, TASKS, st.integers(1, 3)),
    st.builds(submit, TASKS, function=st.sampled_from(["f", "g", "also g", "limited", "no such function"])),
    st.builds(submit, TASKS, serializer=st.sampled_from(["msgpack", "json", "pickle"])),
    st.builds(submit, TASKS, payload=st.sampled_from([b"x", bytes(3_000), [b"in", b"pieces"], [bytes(3_000)]])),
    st.builds(submit, TASKS, priority=st.integers(0, 9)),
    st.builds(submit, TASKS, countdown=st.just(60.0)),
    st.builds(submit, TASKS, detached=st.just(True)),
)


@given(st.lists(SUBMITS, max_size=12), st.lists(SUBMITS, min_size=1, max_size=8))
def test_many_are_taken_as_each_would_be_alone(before: list[Submit], messages: list[Submit]) -> None:
    """The ordinary ones of a message have a way of their own, which is to make no difference."""
    assert _outcome(before, [messages]) == _outcome(before, [[message] for message in messages])


def _outcome(before: list[Submit], batches: list[list[Submit]]) -> object:
    """Return what a client is told and what is held of it, after these messages."""
    talk = Conversation(ready=False, hold_bytes=40_000)
    options = {"limited": {"rate_limit": 0.1}}
    names = frozenset({"f", "g", "also g", "limited"})
    talk.do(FunctionsKnown(names, frozenset({"msgpack", "json"}), options, {"also g": "g"}))
    talk.do(RevokeAsked(None, [task(5)], 0))
    talk.do_quietly(A, *before)
    talk.do_quietly(A, withdraw(1), withdraw(6, 2))
    effects = [effect for batch in batches for effect in talk.do_quietly(A, *batch)]
    told = [message for effect in effects if isinstance(effect, Send) for message in effect.messages]
    others = [effect for effect in effects if not isinstance(effect, Send)]
    client = talk.holder._accounts[A]
    queued = [(held.task, held.attempt, held.function, held.serializer, held.payload) for held in client.queued()]
    states = [(held.task, held.attempt, held.state, held.booked, held.priority) for held in client.held.values()]
    return told, others, queued, states, talk.pass_time(0.02)
