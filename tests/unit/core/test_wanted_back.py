"""Tasks that are wanted back: withdrawn, revoked, or called back from a busy node."""

from __future__ import annotations

import pytest
from conversation import Conversation
from owner_words import (
    CANCELLED,
    A,
    B,
    joined,
    make_task,
    make_tasks,
    rack,
    result,
    said,
    send,
    settle,
    start,
    submit,
)

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    Owner,
    Revoked,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.protocol.messages import (
    Accepted,
    Credit,
    Parked,
    Started,
    Status,
    Withdraw,
    Withdrawn,
)

# ---------------------------------------------------------------------- withdraw


def test_a_waiting_task_is_withdrawn_at_once(talk: Conversation, task: OwnedTask) -> None:
    """What no node has is answered for, and cancelled."""
    talk.say(Submitted([task]))
    talk.say(WithdrawAsked([task.id]))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))
    assert task.state is TaskState.REVOKED
    talk.say(joined())


def test_what_is_not_known_cannot_be_withdrawn(talk: Conversation, task: OwnedTask) -> None:
    """A task that has ended, or never was, is answered with no."""
    talk.say(WithdrawAsked([task.id]))
    talk.expect(WithdrawAnswered(task.id, False))


@pytest.mark.parametrize("outcome", ["dropped", "unknown"])
def test_a_node_is_asked_to_drop_what_it_has(talk: Conversation, task: OwnedTask, outcome: str) -> None:
    """What the node has not started is cancelled, once it says so; its credit is free again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))
    tasks = make_tasks(6)[1:]
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))


@pytest.mark.parametrize("outcome", ["running", "finished", "an answer of a later version"])
def test_what_runs_is_not_withdrawn(talk: Conversation, task: OwnedTask, outcome: str) -> None:
    """A task that runs goes on, and is settled by its result."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.expect(WithdrawAnswered(task.id, False))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))


def test_a_withdraw_that_is_not_answered_is_sent_again(talk: Conversation, task: OwnedTask) -> None:
    """WITHDRAW goes out each second from when it was first sent, in place of SUBMIT, until answered."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(3.1)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.wait(4.0)
    talk.wait(4.3)
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))


def test_a_result_beats_the_withdraw(talk: Conversation, task: OwnedTask) -> None:
    """A result that was under way settles the task; the withdrawal is answered with no."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(result(task)))
    talk.expect(WithdrawAnswered(task.id, False), send(rack(task)), settle(task))
    talk.say(said(Withdrawn(task.id, 1, "finished")))


def test_a_copy_of_withdraw_drops_a_task_that_was_kept(talk: Conversation, task: OwnedTask) -> None:
    """Where the node dropped the task after its owner was told that it runs, it goes out again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "running"), Withdrawn(task.id, 1, "dropped")))
    talk.expect(WithdrawAnswered(task.id, False), send(submit(task, 2)))


# ---------------------------------------------------------------------- revoke


def test_a_revoked_task_that_waits_ends_at_once(talk: Conversation, task: OwnedTask) -> None:
    """What no node has ends as revoked; ids that are not known are passed over."""
    talk.say(Submitted([task]))
    talk.say(Revoked([b"?" * 16, task.id]))
    talk.expect(settle(task, Outcome(Ending.REVOKED)))


def test_a_revoked_task_is_the_nodes_to_end(talk: Conversation, task: OwnedTask) -> None:
    """What a node has is ended by the node's result."""
    start(talk, task)
    talk.say(Revoked([task.id]))
    talk.say(said(result(task, status=Status.REVOKED)))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.REVOKED, "msgpack", b"42")))


# ---------------------------------------------------------------------- called back


def test_what_waits_at_a_busy_node_is_called_back_for_an_idle_one() -> None:
    """A task behind a long one goes to the node that has joined since; see ``test_rebalance``."""
    talk = Conversation(Owner())
    tasks = make_tasks(2)
    talk.say(joined(A, slots=1))
    talk.say(Submitted(tasks))
    talk.take()
    talk.say(said(Started(tasks[0].id, 1), Accepted(tasks[1].id, 1)))
    talk.say(joined(B, slots=1))
    talk.wait(0.4)
    talk.expect(send(Withdraw(tasks[1].id, 1)))
    talk.end()


def test_what_a_rate_holds_back_goes_to_the_node_that_it_was_called_back_for() -> None:
    """Not to the one that had it, though that may answer for the rest later than there is credit there."""
    talk = Conversation(Owner())
    tasks = make_tasks(4)
    talk.say(joined(A))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks)))
    talk.say(said(*(Parked(task.id, 1, 9.0) for task in tasks)))
    talk.say(joined(B, slots=1))
    talk.wait(0.25)
    talk.expect(send(Withdraw(tasks[3].id, 1)), send(Withdraw(tasks[2].id, 1)))
    talk.say(said(Credit(1, 0), by=B))
    talk.say(said(*(Withdrawn(task.id, 1, "dropped") for task in tasks[2:])))
    talk.say(said(Credit(2, 2), by=B))
    talk.expect(send(submit(tasks[3], 2), submit(tasks[2], 2), to=B))
    talk.end()


# ---------------------------------------------------------------------- priorities


def test_an_urgent_task_takes_the_place_of_one_that_was_sent_before(talk: Conversation) -> None:
    """It goes out as soon as the node has let go of the other, which waits for it."""
    talk.say(joined(slots=1))
    first, low, high = tasks = make_tasks(3)
    for task, priority in zip(tasks, (5, 1, 9), strict=True):
        task.options = {"priority": priority}
    talk.say(Submitted([first, low]))
    talk.expect(send(submit(first), submit(low)))
    talk.say(said(Started(first.id, 1), Accepted(low.id, 1)), at=0.011)
    talk.say(Submitted([high]), at=0.02)
    talk.wait(0.041)
    talk.expect(send(Withdraw(low.id, 1)))
    talk.say(said(Withdrawn(low.id, 1, "dropped")))
    talk.expect(send(submit(high)))
    talk.say(said(result(first)), at=1.0)
    talk.expect(send(rack(first)), settle(first), send(submit(low, 2)))


def test_what_must_not_run_twice_and_is_unknown(talk: Conversation) -> None:
    """Its node has let go of it for good where it was asked to; else it may have run there, and been forgotten."""
    asked, forgotten = (make_task(number, options={"once": True}) for number in (1, 2))
    talk.say(joined())
    talk.say(Submitted([asked, forgotten]))
    talk.take()
    talk.say(WithdrawAsked([asked.id]))
    talk.take()
    talk.say(said(Withdrawn(asked.id, 1, "unknown")))
    talk.expect(WithdrawAnswered(asked.id, True), settle(asked, CANCELLED))
    talk.say(said(Withdrawn(forgotten.id, 1, "unknown")))
    story = "attempt 1 on node@a: the node knows nothing of it any more"
    talk.expect(settle(forgotten, Outcome(Ending.LOST, text=story)))
