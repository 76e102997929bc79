"""Detached tasks at a node, whose own owner takes them over."""

from __future__ import annotations

from typing import Any

import pytest
from holder_conversation import (
    OWN,
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
    withdraw,
)

from meshq.core import admission, entrusting
from meshq.core.holding import (
    ClientUnreachable,
    Disown,
    Entrust,
    EntrustedDone,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    RevokeAnswered,
    RevokeAsked,
)
from meshq.core.recalls import UNKNOWN
from meshq.protocol.messages import (
    Accepted,
    Bye,
    ByeAck,
    Credit,
    Nack,
    Result,
    Retrying,
    Started,
    Status,
    Withdrawn,
)
from meshq.protocol.payload import Payload


def entrust(number: int, client: bytes = A, payload: Payload = b"x") -> Entrust:
    """Return the effect of taking a detached task over."""
    return Entrust(client, task(number), "f", "msgpack", payload, None)


def entrusted_done(number: int, client: bytes = A) -> EntrustedDone:
    """Return our own owner's word that a task has ended."""
    return EntrustedDone(client, task(number), Status.OK, "msgpack", b"value")


def detached_result(number: int, attempt: int = 1) -> Result:
    """Return the result that ``entrusted_done`` leads to."""
    return result(number, attempt, 0.0)


def test_there_and_back() -> None:
    """A detached task is accepted at once and handed to our own owner, whose result goes to the client."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.wait(100.0)
    talk.say(A, submit(1, detached=True), to(A, Accepted(task(1), 1)))
    talk.hear(entrusted_done(1), to(A, detached_result(1)))
    talk.say(A, rack(1))
    talk.hear(entrusted_done(1))
    assert talk.holder.counts() == {"queued": 0, "parked": 0, "running": 0, "finished": 0, "clients": 1}


def test_our_own_attempt_is_another_than_the_client_s() -> None:
    """The task stands here twice while our own owner has it run here, and neither gets in the other's way."""
    talk = Conversation(clients=(A, OWN))
    talk.say(A, submit(1, 2, detached=True), entrust(1), to(A, Accepted(task(1), 2)))
    talk.say(OWN, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(OWN, result(1)))
    talk.say(OWN, rack(1))
    talk.hear(entrusted_done(1), to(A, detached_result(1, 2)))
    talk.say(A, rack(1, 2))


def test_it_goes_on_after_the_client_has_left() -> None:
    """BYE leaves a detached task alone; its result is kept for whoever asks."""
    talk = Conversation()
    talk.say(A, [submit(1, detached=True), submit(2)], entrust(1), start(run(1, 2)), to(A, Accepted(task(1), 1)))
    talk.do_quietly(A, Bye())
    talk.hear(done(1))
    talk.hear(ClientUnreachable(A))
    talk.wait(2_000.0)
    talk.hear(entrusted_done(1))
    talk.wait(3_590.0)
    assert talk.holder.survey.result(task(1), talk.now) == detached_result(1)


def test_a_result_of_a_client_that_leaves_is_kept_over_its_bye() -> None:
    """It is not sent again, and there for whoever asks."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.hear(entrusted_done(1), to(A, detached_result(1)))
    talk.say(A, Bye(), to(A, ByeAck(0)))
    assert talk.holder.counts()["finished"] == 0
    assert talk.holder.survey.result(task(1), talk.now) == detached_result(1)


def test_a_later_attempt_takes_over() -> None:
    """An attempt sent anew is accepted under its number, and not entrusted twice."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.say(A, submit(1, 2, detached=True), to(A, Accepted(task(1), 2)))
    talk.hear(entrusted_done(1), to(A, detached_result(1, 2)))


def test_past_the_byte_budget_they_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and a little for each task count; what has ended makes room."""
    monkeypatch.setattr(entrusting, "ENTRUSTED_BYTES", 3_000)
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    large: Payload = [b"x" * 1_000, memoryview(b"x" * 1_000)]
    talk.say(
        A,
        submit(2, detached=True, payload=large),
        entrust(2, payload=large),
        to(A, Accepted(task(2), 1)),
    )
    refusal = Nack(task(3), 1, "full", "detached tasks take up 4049 bytes here")
    talk.say(A, submit(3, detached=True), to(A, refusal))
    talk.say(A, submit(4), start(run(1, 4)))
    talk.hear(entrusted_done(2), to(A, detached_result(2)))
    talk.say(A, submit(3, 2, detached=True), entrust(3), to(A, Accepted(task(3), 2)))
    talk.say(A, [withdraw(1), withdraw(3, 2)], Disown(A, task(1)), Disown(A, task(3)))
    for number in (1, 3):
        talk.do(EntrustedWithdrawn(A, task(number), True))
    talk.say(A, submit(5, detached=True), entrust(5), to(A, Accepted(task(5), 1)))


def test_they_do_not_count_as_work_of_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a client's bound nor anybody's credit is touched by what may run elsewhere."""
    monkeypatch.setattr(admission, "MAX_KEPT", 2)
    talk = Conversation(clients=(A, B))
    n = talk.teach("g", SHORT_S)
    for number in range(10, 20):
        talk.say(A, submit(number, detached=True), entrust(number), to(A, Accepted(task(number), 1)))
    talk.say(A, submit(1), start(run(n, 1)))
    talk.say(B, submit(2))
    effects = talk.pass_time(0.06)
    assert effects[-2:] == [to(A, Credit(4, 2, 1)), to(B, Credit(2, 2, 1))]


def test_what_is_no_longer_entrusted_frees_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many detached tasks have come and gone, a client's other attempts are bounded as ever."""
    monkeypatch.setattr(admission, "MAX_KEPT", 1)
    talk = Conversation()
    for number, withdrawn in ((1, False), (2, True)):
        talk.say(A, submit(number, detached=True), entrust(number), to(A, Accepted(task(number), 1)))
        if withdrawn:
            talk.say(A, withdraw(number), Disown(A, task(number)))
        talk.do(EntrustedWithdrawn(A, task(number), True) if withdrawn else entrusted_done(number))
        talk.say(A, rack(number))
    talk.say(A, submit(3), start(run(1, 3)))
    text = "the client has 1 attempts and unacknowledged results here"
    talk.say(A, submit(4), to(A, Nack(task(4), 1, "full", text)))


def test_withdrawing() -> None:
    """Our own owner decides: the client hears "dropped" and nothing more, or "running" and the result."""
    talk = Conversation()
    for number in (1, 2):
        talk.say(A, submit(number, detached=True), entrust(number), to(A, Accepted(task(number), 1)))
        talk.say(A, withdraw(number), Disown(A, task(number)))
        talk.say(A, withdraw(number))
    talk.hear(EntrustedWithdrawn(A, task(1), True), to(A, Withdrawn(task(1), 1, "dropped")))
    talk.say(A, submit(1, detached=True), to(A, Withdrawn(task(1), 1, "unknown")))
    talk.hear(EntrustedWithdrawn(A, task(2), False), to(A, Withdrawn(task(2), 1, "running")))
    talk.hear(entrusted_done(2), to(A, detached_result(2)))
    talk.hear(EntrustedWithdrawn(A, task(2), True))
    talk.hear(EntrustedWithdrawn(B, task(2), True))


def test_a_later_attempt_calls_off_the_withdrawal() -> None:
    """What our own owner has let go of meanwhile is entrusted to it again."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.say(A, withdraw(1), Disown(A, task(1)))
    talk.say(A, submit(1, 2, detached=True), to(A, Accepted(task(1), 2)))
    talk.hear(EntrustedWithdrawn(A, task(1), True), entrust(1))
    talk.hear(EntrustedWithdrawn(A, task(1), False))
    talk.hear(entrusted_done(1), to(A, detached_result(1, 2)))


def test_withdrawing_the_later_attempt_as_well() -> None:
    """Our own owner is asked once; its answer goes out under the later number."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.say(A, withdraw(1), Disown(A, task(1)))
    talk.say(A, submit(1, 2, detached=True), to(A, Accepted(task(1), 2)))
    talk.say(A, withdraw(1, 2))
    talk.hear(EntrustedWithdrawn(A, task(1), True), to(A, Withdrawn(task(1), 2, "dropped")))


def test_revoking() -> None:
    """An entrusted task is revoked where it runs, as an attempt of our own owner; here its id is remembered."""
    talk = Conversation()
    talk.say(A, submit(1, detached=True), entrust(1), to(A, Accepted(task(1), 1)))
    talk.hear(RevokeAsked("token", [task(1)], 0), RevokeAnswered("token", {task(1): UNKNOWN}))


def test_a_client_hears_that_its_detached_task_has_started() -> None:
    """This node's own owner learns it as any owner does, and the client from it."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.hear(EntrustedStarted(A, task(1), 0.25), to(A, Started(task(1), 1, 0.25)))
    talk.hear(EntrustedStarted(A, task(2), 0.25))


def test_what_is_left_of_its_time_goes_with_it() -> None:
    """Our own owner hears the options as they came; entrusted to it once more, with what is left of them."""
    talk = Conversation()
    options: dict[str, Any] = {"countdown": 5.0, "expires": 60.0, "priority": 7}
    first = entrust(1)._replace(options=options)
    talk.say(A, submit(1, detached=True, **options), first, to(A, Accepted(task(1), 1)))
    talk.wait(2.0)
    talk.say(A, withdraw(1), Disown(A, task(1)))
    talk.say(A, submit(1, 2, detached=True, **options), to(A, Accepted(task(1), 2)))
    left = {"countdown": about(3.0), "expires": about(58.0), "priority": 7}
    talk.hear(EntrustedWithdrawn(A, task(1), True), entrust(1)._replace(options=left))


def test_options_that_know_no_time_are_passed_on_as_they_are() -> None:
    """They are for the worker, or for our own owner."""
    talk = Conversation()
    passed = entrust(1)._replace(options={"chunk": True})
    talk.say(A, submit(1, detached=True, chunk=True), passed, to(A, Accepted(task(1), 1)))


def test_a_task_that_is_tried_again() -> None:
    """Its client is told, and it is remembered until when, as long as the task is here."""
    talk = Conversation()
    talk.say(A, submit(1, 4, detached=True), entrust(1), to(A, Accepted(task(1), 4)))
    talk.hear(EntrustedRetrying(A, task(1), 5.0, 2), to(A, Retrying(task(1), 4, 5.0, 2)))
    assert list(talk.holder._entrusting.retry_at.values()) == [talk.now + 5.0]
    talk.hear(entrusted_done(1), to(A, detached_result(1, 4)))
    assert not talk.holder._entrusting.retry_at
    talk.hear(EntrustedRetrying(A, task(1), 5.0))
