"""Tasks that ask for another try: how often they get it, when, and what ends them meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import CANCELLED, A, B, joined, make_task, rack, result, said, send, settle, start, submit

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    NodeLost,
    Owner,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Revoked,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.retries import MAX_PAUSE_S
from meshq.protocol.messages import Result, Status, Submit
from meshq.protocol.retries import RetryAsked, dump_retry

FAILED = Outcome(Ending.FAILURE, "msgpack", b"failure")


def asks(task: OwnedTask, attempt: int = 1, most: int = 3, **asked: Any) -> Result:
    """Return the RESULT of an attempt that asks for another try."""
    payload = dump_retry(RetryAsked(b"failure", most=most, **{"backoff": 1.0, **asked}))
    return Result(task.id, attempt, Status.RETRY, "msgpack", payload, 0.02)


def planned(task: OwnedTask, seconds: float) -> RetryPlanned:
    """Return the effect that tells of the next try."""
    return RetryPlanned(task.id, seconds)


def again(task: OwnedTask, attempt: int) -> Submit:
    """Return the SUBMIT of a further try, which tells how many there were."""
    return submit(task, attempt)._replace(options={"retries": task.retries})


def fail(talk: Conversation, task: OwnedTask, seconds: float = 1.0, **asked: Any) -> None:
    """Let a task's first attempt ask for another."""
    start(talk, task)
    talk.say(said(asks(task, **asked)))
    talk.expect(planned(task, seconds), send(rack(task)))


def test_a_task_goes_out_again_after_its_pauses(talk: Conversation, task: OwnedTask) -> None:
    """Each twice as long as the one before, until it has had all its retries: then its failure is its end."""
    fail(talk, task, most=2)
    assert task.state is TaskState.RETRY
    talk.wait(0.99)
    talk.wait(1.0)
    talk.expect(send(again(task, 2)))
    talk.say(said(asks(task, 2, most=2)))
    talk.expect(planned(task, 2.0), send(rack(task, 2)))
    talk.wait(3.0)
    talk.expect(send(again(task, 3)))
    talk.say(said(asks(task, 3, most=2)))
    talk.expect(send(rack(task, 3)), settle(task, FAILED))
    assert task.state is TaskState.FAILURE


def test_a_later_try_may_work(talk: Conversation, task: OwnedTask) -> None:
    """And the task is DONE as any other."""
    fail(talk, task, backoff=0.0, seconds=0.0)
    talk.wait(0.0)
    talk.expect(send(again(task, 2)))
    talk.say(said(result(task, 2)))
    talk.expect(send(rack(task, 2)), settle(task))
    talk.wait(100.0)


def test_a_task_may_name_the_pause(talk: Conversation, task: OwnedTask) -> None:
    """Whatever its function declares."""
    fail(talk, task, seconds=7.5, delay=7.5, jitter=True)
    talk.wait(7.5)
    talk.expect(send(again(task, 2)))


def test_pauses_have_an_end(talk: Conversation, task: OwnedTask) -> None:
    """They do not double for ever."""
    start(talk, task)
    task.retries = 5_000
    talk.say(said(asks(task, most=1_000_000)))
    talk.expect(planned(task, MAX_PAUSE_S), send(rack(task)))


def test_pauses_are_cut_at_random(task: OwnedTask) -> None:
    """Between a half and the whole of them, where jitter is asked for."""

    class Low:
        def uniform(self, a: float, b: float, /) -> float:
            assert (a, b) == (0.5, 1.0)
            return a

    talk = Conversation(Owner(rng=Low()))
    fail(talk, task, 0.5, jitter=True)
    other = make_task(2)
    talk.say(Submitted([other]))
    talk.expect(send(submit(other)))
    talk.say(said(asks(other, jitter=False)))
    talk.expect(planned(other, 1.0), send(rack(other)))


def test_it_may_go_to_another_node(talk: Conversation, task: OwnedTask) -> None:
    """Also when the one that had it has gone, which is no death of the task."""
    fail(talk, task)
    talk.say(joined(B))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.wait(1.0)
    talk.expect(send(again(task, 2), to=B))
    assert task.deaths is None


def test_a_pause_longer_than_nodes_are_waited_for(talk: Conversation, task: OwnedTask) -> None:
    """Does not count as waiting for nodes: when it is over, they are given their time to come."""
    fail(talk, task, 60.0, delay=60.0)
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.wait(62.0)
    talk.say(joined(B))
    talk.expect(send(again(task, 2), to=B))


@pytest.mark.parametrize("attempt", [1, 2])
def test_only_the_attempt_under_way_is_tried_again(talk: Conversation, task: OwnedTask, attempt: int) -> None:
    """A copy of what has been said already, or the word of a node that has lost the task, changes nothing."""
    fail(talk, task)
    talk.say(said(asks(task, attempt)))
    talk.expect(send(rack(task, attempt)))
    talk.wait(1.0)
    talk.expect(send(again(task, 2)))
    talk.say(joined(B))
    talk.say(said(asks(task, 2), by=B))
    talk.expect(send(rack(task, 2), to=B))
    assert task.retries == 1


def test_a_result_of_an_earlier_attempt_wins(talk: Conversation, task: OwnedTask) -> None:
    """While the task waits for its next try."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(asks(task, 2), by=B))
    talk.expect(planned(task, 1.0), send(rack(task, 2), to=B))
    talk.say(joined(A))
    talk.take()
    talk.say(said(result(task, 1)))
    talk.expect(send(rack(task, 1)), settle(task))
    talk.wait(100.0)


def test_what_ends_a_task_that_waits(talk: Conversation) -> None:
    """A revoke, a withdrawal, a purge, its expiry: as if it waited for a node."""
    tasks = [make_task(number) for number in (1, 2, 3)]
    expiring = make_task(4, options={"expires": 5.0})
    talk.say(joined(slots=4))
    talk.say(Submitted([*tasks, expiring]))
    talk.take()
    for task in (*tasks, expiring):
        talk.say(said(asks(task, delay=10.0)))
        talk.take()
    talk.say(Revoked([tasks[0].id]))
    talk.expect(settle(tasks[0], Outcome(Ending.REVOKED)))
    talk.say(WithdrawAsked([tasks[1].id]))
    talk.expect(WithdrawAnswered(tasks[1].id, True), settle(tasks[1], CANCELLED))
    talk.wait(5.0)
    talk.expect(settle(expiring, Outcome(Ending.EXPIRED, text="1 try that failed")))
    talk.say(PurgeAsked(b"command"))
    talk.expect(settle(tasks[2], Outcome(Ending.REVOKED)), PurgeAnswered(b"command", 1))
    talk.wait(100.0)


def test_what_is_not_wanted_is_not_tried_again(talk: Conversation, task: OwnedTask) -> None:
    """A task that was revoked while it ran ends as that."""
    start(talk, task)
    talk.say(Revoked([task.id]))
    talk.say(said(asks(task)))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.REVOKED)))


def test_a_malformed_question_is_a_failure(talk: Conversation, task: OwnedTask) -> None:
    """The task ends, and whoever waits for it is told that it cannot be read."""
    start(talk, task)
    talk.say(said(Result(task.id, 1, Status.RETRY, "msgpack", b"\xc1")))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.FAILURE, "msgpack", b"")))
