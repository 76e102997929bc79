"""Nodes come and go, tasks die with them or under their workers: what an owner does then."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import (
    CANCELLED,
    A,
    B,
    C,
    joined,
    lost,
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

from meshq.core.losses import take_over_deaths
from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    NodeLost,
    NodeReturned,
    NodeSuspected,
    Revoked,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.protocol.messages import (
    LONGEST_TEXT,
    Accepted,
    Credit,
    Dead,
    Message,
    Nack,
    Result,
    Started,
    Withdraw,
    Withdrawn,
)

# ---------------------------------------------------------------------- nodes come and go


def test_a_suspect_node_gets_nothing_new_until_it_returns(talk: Conversation, task: OwnedTask) -> None:
    """A suspect node keeps what it has; new work waits for it, or goes elsewhere."""
    start(talk, task)
    talk.say(NodeSuspected(A))
    later = make_task(2)
    talk.say(Submitted([later]))
    talk.say(NodeReturned(A))
    talk.expect(send(submit(later)))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))


def test_tasks_of_a_lost_node_go_elsewhere_before_all_others(talk: Conversation) -> None:
    """What a lost node had is sent to another, in its order, before what has waited all along."""
    tasks = make_tasks(8)
    talk.say(joined(A))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.say(joined(B, slots=3))
    talk.expect(send(*(submit(each, 2) for each in tasks[:4]), *map(submit, tasks[4:6]), to=B))


def test_attempts_re_sent_elsewhere_are_withdrawn_when_the_node_returns(
    talk: Conversation, task: OwnedTask
) -> None:
    """A node that was out of reach and comes back is told what it need not run any more, once."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(joined(A), at=5.0)
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.say(joined(A))


def test_a_task_goes_back_to_the_only_node_when_it_returns(talk: Conversation, task: OwnedTask) -> None:
    """The earlier attempt is withdrawn, and the task is sent there with the next number."""
    start(talk, task)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.say(joined(A), at=4.0)
    talk.expect(send(Withdraw(task.id, 1)), send(submit(task, 2)))


def test_what_the_withdrawal_of_an_earlier_attempt_took_along_goes_out_again(
    talk: Conversation, task: OwnedTask
) -> None:
    """A node that dropped the attempt under way, though that was not asked for, gets a new one."""
    start(talk, task)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.say(joined(A), at=4.0)
    talk.expect(send(Withdraw(task.id, 1)), send(submit(task, 2)))
    talk.say(said(Accepted(task.id, 2), Withdrawn(task.id, 2, "dropped")))
    talk.expect(send(submit(task, 3)))


def test_a_restarted_node_has_lost_everything(talk: Conversation, task: OwnedTask) -> None:
    """A new incarnation means that the old one died: its tasks go out again, with nothing to withdraw."""
    start(talk, task)
    talk.say(said(Credit(9, 0), Accepted(task.id, 1)))
    talk.say(joined(incarnation=2))
    talk.expect(send(submit(task, 2)))
    assert task.deaths is None


def test_a_node_that_restarted_while_it_was_lost(talk: Conversation, task: OwnedTask) -> None:
    """A new incarnation knows nothing of what the old one had, so nothing is withdrawn there."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(joined(A, incarnation=2))


def test_a_node_that_says_something_new_keeps_its_tasks(talk: Conversation, task: OwnedTask) -> None:
    """The same incarnation, with another function: nothing under way is touched, and waiting work goes there."""
    start(talk, task)
    new = make_task(2, "new")
    talk.say(Submitted([new]))
    talk.say(joined(functions=("f", "new")))
    talk.expect(send(submit(new)))


def test_a_node_can_be_lost_only_once(talk: Conversation, task: OwnedTask) -> None:
    """A second verdict on a lost node, or one on a node never seen, changes nothing."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    for event in (NodeLost(C, "", died=True), NodeSuspected(C), NodeReturned(C)):
        talk.say(event)


def test_a_node_lost_long_ago_is_forgotten(talk: Conversation, task: OwnedTask) -> None:
    """A quarter of an hour after it was lost, a node that returns is a new one."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(Accepted(task.id, 2), by=B))
    talk.wait(901.0)
    talk.say(joined(A))


# ---------------------------------------------------------------------- deaths


def test_a_task_that_kills_three_workers_is_given_up(talk: Conversation, task: OwnedTask) -> None:
    """Each lost worker is charged; the third ends the task, and its story names all three."""
    start(talk, task)
    for attempt in (1, 2):
        talk.say(said(lost(task, attempt)))
        talk.expect(send(rack(task, attempt)), send(submit(task, attempt + 1)))
        assert task.state is TaskState.RETRY
    talk.say(said(Accepted(task.id, 3)))
    assert task.state is TaskState.QUEUED
    talk.say(said(lost(task, 3, b"exit code 3")))
    story = (
        "attempt 1 on node@a: killed by signal 9; attempt 2 on node@a: killed by signal 9; "
        "attempt 3 on node@a: exit code 3"
    )
    talk.expect(
        send(Dead(task.id, "f", story)),
        send(rack(task, 3)),
        settle(task, Outcome(Ending.WORKER_LOST, text=story)),
    )
    assert task.state is TaskState.LOST


def test_only_started_attempts_are_charged_when_a_node_dies(talk: Conversation) -> None:
    """Of a node's tasks, the running one is charged with its death; the queued ones are not."""
    running, queued = make_tasks(2)
    talk.say(joined(A))
    talk.say(Submitted([running, queued]))
    talk.expect(send(submit(running), submit(queued)))
    talk.say(said(Started(running.id, 1), Accepted(queued.id, 1)))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    assert (running.state, running.deaths) == (
        TaskState.RETRY,
        ["attempt 1 on node@a: the node was lost (the connection was refused)"],
    )
    assert (queued.state, queued.deaths) == (TaskState.PENDING, None)
    talk.say(joined(B))
    talk.expect(send(submit(queued, 2), submit(running, 2), to=B))


def test_a_node_out_of_reach_charges_nobody(talk: Conversation, task: OwnedTask) -> None:
    """Where it is not known that a node died, the attempts that ran there are not charged."""
    start(talk, task, A, B)
    talk.say(said(Started(task.id, 1)))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    assert (task.state, task.deaths) == (TaskState.PENDING, None)


def test_a_task_that_kills_three_nodes_is_given_up(talk: Conversation, task: OwnedTask) -> None:
    """The deaths of nodes under a task count like those of workers."""
    start(talk, task)
    for attempt in (1, 2, 3):
        talk.say(said(Started(task.id, attempt)))
        talk.say(joined(incarnation=attempt + 1))
        if attempt < 3:
            talk.expect(send(submit(task, attempt + 1)))
    story = "; ".join(f"attempt {n} on node@a: the node was lost (it was restarted)" for n in (1, 2, 3))
    talk.expect(settle(task, Outcome(Ending.WORKER_LOST, text=story)))


# ---------------------------------------------------------------------- what must not go out again


@pytest.mark.parametrize(
    "message", [Nack(make_task().id, 1, "draining"), lost(make_task(), 1)], ids=["refused", "worker lost"]
)
def test_what_comes_back_while_it_is_withdrawn_stays(
    talk: Conversation, task: OwnedTask, message: Message
) -> None:
    """A refused or failed attempt whose task is being withdrawn is not tried again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(message))
    talk.expect(WithdrawAnswered(task.id, True, deaths=int(isinstance(message, Result))))
    if isinstance(message, Result):
        talk.expect(send(rack(task)))
    talk.expect(settle(task, CANCELLED))


@pytest.mark.parametrize("died", [True, False])
@pytest.mark.parametrize("started", [True, False])
def test_a_node_is_lost_while_a_task_is_withdrawn_there(
    talk: Conversation, task: OwnedTask, died: bool, started: bool
) -> None:
    """The loss of the node completes the withdrawal."""
    start(talk, task, A, B)
    if started:
        talk.say(said(Started(task.id, 1)))
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(NodeLost(A, "gone", died=died))
    talk.expect(WithdrawAnswered(task.id, True, deaths=int(died and started)), settle(task, CANCELLED))


def test_a_revoked_task_is_not_sent_out_again(talk: Conversation, task: OwnedTask) -> None:
    """When its node is lost, a revoked task ends."""
    start(talk, task, A, B)
    talk.say(Revoked([task.id]))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(settle(task, Outcome(Ending.REVOKED)))


def test_what_has_expired_is_not_sent_out_again(talk: Conversation) -> None:
    """It was its node's to start in time; that is over with the node."""
    task = make_task(options={"expires": 1.0})
    start(talk, task, A, B)
    talk.say(said(Accepted(task.id, 1)))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False), at=3.0)
    talk.expect(settle(task, Outcome(Ending.EXPIRED)))


# ---------------------------------------------------------------------- what must not run twice

ONCE = {"once": True}


def lost_on_a(attempt: int, story: str, ending: Ending = Ending.LOST) -> Outcome:
    """Return the outcome of a task that may have run."""
    return Outcome(ending, text=f"attempt {attempt} on node@a: {story}")


@pytest.mark.parametrize("died", [True, False])
def test_what_must_not_run_twice_is_lost_with_its_node(talk: Conversation, died: bool) -> None:
    """Whether it was known to run, to wait or not even to have arrived; a node that comes back drops it."""
    tasks = [make_task(number, options=ONCE) for number in (1, 2, 3)]
    talk.say(joined(A))
    talk.say(joined(B, functions=()))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks)))
    talk.say(said(Started(tasks[0].id, 1), Accepted(tasks[1].id, 1)))
    talk.say(NodeLost(A, "silent", died=died))
    outcome = lost_on_a(1, "the node was lost (silent)")
    talk.expect(Settle([(task, outcome) for task in tasks]))
    assert [task.state for task in tasks] == [TaskState.LOST] * 3
    talk.say(joined(A))
    talk.expect(send(*(Withdraw(task.id, 1) for task in tasks)))


def test_what_must_not_run_twice_is_lost_with_its_worker(talk: Conversation) -> None:
    """It is not tried again."""
    task = make_task(options=ONCE)
    start(talk, task)
    talk.say(said(lost(task, 1)))
    talk.expect(send(rack(task, 1)), settle(task, lost_on_a(1, "killed by signal 9")))


def test_what_was_revoked_ends_as_that(talk: Conversation) -> None:
    """Also where it must not run twice."""
    task = make_task(options=ONCE)
    start(talk, task)
    talk.say(Revoked([task.id]))
    talk.say(joined(A, incarnation=2))
    talk.expect(settle(task, lost_on_a(1, "the node was lost (it was restarted)", Ending.REVOKED)))


def test_what_has_provably_not_started_goes_elsewhere(talk: Conversation) -> None:
    """A node has refused it, or has let go of it."""
    task = make_task(options=ONCE)
    start(talk, task)
    talk.say(said(Nack(task.id, 1, "draining")))
    talk.say(joined(B))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(Withdrawn(task.id, 2, "dropped"), by=B))
    talk.expect(send(submit(task, 3), to=B))


def test_a_dead_task_is_told_to_a_node_that_is_there(talk: Conversation, task: OwnedTask) -> None:
    """Where the last one has died with it."""
    start(talk, task)
    task.deaths = ["first", "second"]
    talk.say(said(Started(task.id, 1)))
    talk.say(joined(B))
    talk.say(NodeLost(A, "refused", died=True))
    story = "first; second; attempt 1 on node@a: the node was lost (refused)"
    talk.expect(send(Dead(task.id, "f", story), to=B), settle(task, Outcome(Ending.WORKER_LOST, text=story)))


def test_who_wants_to_know_is_told_of_what_comes_back(talk: Conversation) -> None:
    """Before it waits again; not of what ends there and then."""
    again, ends = make_tasks(2)
    owner: Any = talk.machine
    told: list[tuple[OwnedTask, bytes | None]] = []
    owner._losses.on_taken_back = lambda task, now: told.append((task, task.node))
    talk.say(joined())
    talk.say(Submitted([again, ends]))
    talk.take()
    talk.say(WithdrawAsked([ends.id]))
    talk.take()
    talk.say(said(Nack(again.id, 1, "full"), Nack(ends.id, 1, "full")))
    talk.take()
    assert told == [(again, None)]


def test_a_chunk_that_killed_a_worker_is_not_tried_again(talk: Conversation) -> None:
    """Its calls were put together unasked: whoever did that sends each for itself, so that one is to blame."""
    task = make_task(options={"chunk": "split"})
    start(talk, task)
    talk.say(said(lost(task, 1, b"exit code 3")))
    story = "attempt 1 on node@a: exit code 3"
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.WORKER_LOST, text=story)))


def test_long_stories_are_cut(talk: Conversation, task: OwnedTask) -> None:
    """Whatever a node says of its workers, what is told of the task in the end fits into any message."""
    start(talk, task)
    for attempt in range(1, 4):
        talk.say(said(lost(task, attempt, "\u00e9".encode() * 250_000)))
        effects = talk.take()
    [dead] = [m for effect in effects if hasattr(effect, "messages") for m in effect.messages if type(m) is Dead]
    assert len(dead.story) == LONGEST_TEXT
    assert dead.story.startswith("attempt 1 on node@a: \u00e9\u00e9")
    [outcome] = [outcome for effect in effects if isinstance(effect, Settle) for _, outcome in effect.ended]
    assert len(outcome.text) < 4 * LONGEST_TEXT
    assert "\ufffd" not in outcome.text


def test_deaths_that_a_task_has_had_elsewhere_count(task: OwnedTask) -> None:
    """A later word takes none back, and none brings more than a task that goes on may have had."""
    take_over_deaths(task, 0)
    assert task.deaths is None
    take_over_deaths(task, 1)
    take_over_deaths(task, 0)
    assert len(task.deaths or ()) == 1
    take_over_deaths(task, 99)
    assert len(task.deaths or ()) == 2
