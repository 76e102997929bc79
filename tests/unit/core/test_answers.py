"""What nodes say of attempts: accepted, parked, started, refused; and what that does to the owner's books."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import A, B, joined, make_task, make_tasks, rack, result, said, send, sent, settle, start, submit

from meshq.core.accounts import ASKING_EACH, FULL_PAUSE_S
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.owner import Leaving, Owner, Submitted, WithdrawAsked
from meshq.protocol.messages import Accepted, Credit, Draining, Nack, Parked, Retrying, Started

DELAYED = {"countdown": 10.0}


def books(owner: Owner) -> tuple[int, int, int]:
    """Return what the node A has: credit in use, attempts parked, and those beyond credit that are unanswered."""
    account = owner._nodes[A]
    assert account.used == sum(account.used_of.values())
    return account.used, account.parked, account.asking // ASKING_EACH


def test_accepted_and_started_show_in_the_state(talk: Conversation, task: OwnedTask) -> None:
    """A late ACCEPTED changes nothing of a task that has started."""
    start(talk, task)
    for message, state in (
        (Accepted(task.id, 1), TaskState.QUEUED),
        (Started(task.id, 1), TaskState.STARTED),
        (Accepted(task.id, 1), TaskState.STARTED),
    ):
        talk.say(said(message))
        assert (task.state, task.accepted) == (state, True)


@pytest.mark.parametrize("kind", [Accepted, Started, Parked, Nack])
def test_news_of_another_attempt_are_ignored(talk: Conversation, task: OwnedTask, kind: type) -> None:
    """Only the attempt under way counts, and only at its node."""
    start(talk, task)
    words = ("full",) if kind is Nack else ()
    talk.say(said(kind(task.id, 2, *words), kind(b"?" * 16, 1, *words)))
    assert (task.state, task.accepted, task.node) == (TaskState.PENDING, False, A)


# ---------------------------------------------------------------------- parked


def test_a_parked_attempt_frees_its_credit(talk: Conversation, owner: Owner) -> None:
    """So that others go there; it is pending again, and is not sent again."""
    tasks = make_tasks(5)
    talk.say(joined(slots=2))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(said(Accepted(tasks[0].id, 1)))
    talk.say(said(Parked(tasks[0].id, 1, 3.0), *(Accepted(each.id, 1) for each in tasks[1:4])))
    talk.expect(send(submit(tasks[4])))
    assert (tasks[0].state, tasks[0].accepted, books(owner)) == (TaskState.PENDING, True, (4, 1, 0))
    talk.say(said(Accepted(tasks[4].id, 1)))
    talk.wait(5.0)


def test_a_delayed_task_is_sent_to_be_parked(talk: Conversation, owner: Owner) -> None:
    """It takes no credit from the first moment on, and goes beyond it."""
    plain, task = make_tasks(4), make_task(5, options=DELAYED)
    talk.say(joined(slots=2))
    talk.say(Submitted(plain))
    talk.expect(send(*map(submit, plain)))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    assert books(owner) == (4, 1, 1)
    for _ in range(2):
        talk.say(said(Parked(task.id, 1, 10.0)))
        assert books(owner) == (4, 1, 0)


@pytest.mark.parametrize("kind", [Accepted, Started])
@pytest.mark.parametrize("said_parked", [True, False])
def test_a_parked_attempt_that_goes_on_takes_credit(
    talk: Conversation, owner: Owner, kind: type, said_parked: bool
) -> None:
    """Whether or not the node has said that it was parked; in the end nothing is left in the books."""
    task = make_task(options=DELAYED)
    start(talk, task)
    if said_parked:
        talk.say(said(Parked(task.id, 1)))
    talk.say(said(kind(task.id, 1)), at=10.5)
    assert books(owner) == (1, 0, 0)
    assert task.state is (TaskState.QUEUED if kind is Accepted else TaskState.STARTED)
    talk.say(said(Parked(task.id, 1)))
    assert books(owner) == ((0, 1, 0) if kind is Accepted else (1, 0, 0))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))
    assert books(owner) == (0, 0, 0)


def test_a_result_of_a_parked_attempt_leaves_nothing(talk: Conversation, owner: Owner) -> None:
    """A result stands for all that was not said before it."""
    task = make_task(options=DELAYED)
    start(talk, task)
    talk.say(said(Parked(task.id, 1), result(task)))
    talk.expect(send(rack(task)), settle(task))
    assert books(owner) == (0, 0, 0)


def test_a_delayed_task_is_pending_until_it_may_start(talk: Conversation) -> None:
    """Also a detached one, which its node accepts at once."""
    task = make_task(options=DELAYED, detached=True)
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    assert (task.state, task.accepted, task.parked) == (TaskState.PENDING, True, False)


# ---------------------------------------------------------------------- refused


def test_a_full_node_is_left_alone_for_a_moment(talk: Conversation, task: OwnedTask) -> None:
    """The task goes elsewhere, or waits for a tenth of a second."""
    start(talk, task)
    talk.say(said(Nack(task.id, 1, "full")))
    talk.wait(0.2)
    talk.wait(0.25)
    talk.expect(send(submit(task, 2)))


@pytest.mark.parametrize("options", [None, DELAYED])
def test_a_node_that_may_park_no_more_is_tried_again(talk: Conversation, options: dict[str, float] | None) -> None:
    """After a second; another node gets the task at once."""
    task = make_task(options=options)
    start(talk, task)
    talk.say(said(Nack(task.id, 1, "parked")))
    talk.wait(0.99)
    talk.wait(1.0)
    [again] = [message for effect in talk.take() for message in effect.messages]
    assert (again.attempt, (again.options or {}).get("countdown")) == (2, options and 9.0)
    talk.say(said(Nack(task.id, 2, "parked")))
    talk.say(joined(B))
    [effect] = talk.take()
    assert effect.peer == B


@pytest.mark.parametrize(
    ("reason", "then"), [("unknown-task", "g"), ("serializer", ""), ("draining", ""), ("what?", "")]
)
def test_a_node_that_refuses_for_good(talk: Conversation, task: OwnedTask, reason: str, then: str) -> None:
    """It gets nothing more of the kind."""
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, reason)))
    talk.expect(send(submit(task, 2), to=B))
    other = make_task(1001, "g")
    talk.say(Submitted([other]))
    talk.expect(send(submit(other), to=A if then else B))


def test_credit_and_draining(talk: Conversation, owner: Owner) -> None:
    """The credit of the highest sequence counts; a node that drains is not used."""
    talk.say(joined())
    talk.say(said(Credit(2, 6, 3), Credit(1, 50), Draining()))
    account = owner._nodes[A]
    assert (account.cap, account.others, account.usable) == (6, 3, False)


def test_a_detached_task_that_is_tried_again_shows_it(talk: Conversation) -> None:
    """The node that took it over says so; of any other task it has no say in that."""
    detached, own = make_task(1, detached=True), make_task(2)
    talk.say(joined())
    talk.say(Submitted([detached, own]))
    talk.take()
    talk.say(said(Accepted(own.id, 1), Started(own.id, 1)))  # of the other one that was lost
    news = Retrying(detached.id, 1, 5.0, 1)
    talk.say(said(news, news, Retrying(own.id, 1, 5.0, 1), Retrying(own.id, 7, 5.0, 1)))
    assert detached.accepted, "it is said of what was accepted"
    assert (detached.state, own.state) == (TaskState.RETRY, TaskState.STARTED)
    assert (detached.retries, detached.due_at, own.retries, own.due_at) == (1, 5.0, 0, None)


def test_a_detached_task_that_is_given_back_goes_elsewhere(talk: Conversation) -> None:
    """The node that drains is told only once another has the task, and whenever it asks again after that."""
    task = make_task(detached=True)
    start(talk, task, A, B)
    talk.say(said(Accepted(task.id, 1)))
    given_back = said(Nack(task.id, 1, "draining"))
    talk.say(given_back)
    talk.expect(send(submit(task, 2), to=B))
    assert not task.accepted
    talk.say(given_back)
    talk.say(said(Accepted(task.id, 2), by=B))
    talk.expect(send(rack(task)))
    talk.say(given_back)
    talk.expect(send(rack(task)))
    talk.say(said(result(task, 2), by=B))
    talk.take()
    talk.say(given_back)
    talk.expect(send(rack(task)))


def test_what_is_remembered_of_tasks_given_back_has_an_end(talk: Conversation) -> None:
    """Those that were withdrawn meanwhile are forgotten; attached ones, which nodes do not keep, are not noted."""
    tasks = make_tasks(6, detached=True)
    talk.say(joined(A, slots=8))
    talk.say(Submitted([*tasks, attached := make_task(9)]))
    talk.take()
    talk.say(said(Nack(attached.id, 1, "draining"), *(Nack(task.id, 1, "draining") for task in tasks[:5])))
    talk.say(WithdrawAsked([attached.id, *(task.id for task in tasks[:5])]))
    talk.take()
    talk.say(said(Nack(tasks[5].id, 1, "draining")))
    owner: Any = talk.machine
    (answers,) = {handler.__self__ for kind, handler in owner._messages.items() if kind is Nack}
    assert set(answers._given_back) == {tasks[5].id}


@pytest.mark.parametrize(("deaths", "kept"), [(1, 1), (2, 2), (10**9, 2), (-1, 0)])
def test_what_a_detached_task_has_killed_comes_back_with_it(talk: Conversation, deaths: int, kept: int) -> None:
    """Whoever gets it next goes on counting; a number from outside is believed within reason."""
    task = make_task(detached=True)
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, "draining", "in words", deaths)))
    again = submit(task, 2)._replace(detached=True, options={"deaths": kept} if kept else None)
    assert send(again, to=B) in talk.take()
    assert task.state == (TaskState.RETRY if kept else TaskState.PENDING)


def test_deaths_are_taken_over_with_a_detached_task_that_is_given_back_alone(talk: Conversation) -> None:
    """Of one that was attached its owner knows itself; and a count is never lowered."""
    attached, charged, refused = make_task(), make_task(2, detached=True), make_task(3, detached=True)
    charged.deaths = ["one", "two"]
    for event in (joined(A), joined(B), Submitted([attached, charged, refused])):
        talk.say(event)
        talk.take()
    for task, reason in ((refused, "full"), (attached, "draining"), (charged, "draining")):
        talk.say(said(Nack(task.id, 1, reason, "", 2 if task is not charged else 1), by=task.node or b""))
        talk.take()
    assert (attached.deaths, charged.deaths, refused.deaths) == (None, ["one", "two"], None)


def test_who_has_left_takes_nothing_back(talk: Conversation) -> None:
    """What nodes have accepted is theirs to see to."""
    task = make_task(detached=True)
    start(talk, task, A, B)
    talk.say(said(Accepted(task.id, 1)))
    talk.say(Leaving())
    talk.take()
    talk.say(said(Nack(task.id, 1, "draining")))


def test_a_reason_of_nodes_to_come_is_taken_for_want_of_room(talk: Conversation, task: OwnedTask) -> None:
    """The task goes elsewhere, and the node gets others in a while."""
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, "too hot", "in words")))
    talk.expect(send(submit(task, 2), to=B))
    talk.wait(FULL_PAUSE_S)
    others = make_tasks(3, "g")
    talk.say(Submitted(others))
    assert A in sent(talk)
