"""Tasks that wait in vain: for any node, or for one that offers what they need."""

from __future__ import annotations

import pytest
from conversation import Conversation
from owner_words import (
    A,
    B,
    joined,
    make_task,
    make_tasks,
    said,
    send,
    settle,
    start,
    submit,
)

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    NodeLost,
    Owner,
    Settle,
    Submitted,
)
from meshq.protocol.messages import (
    Accepted,
    Nack,
)


def test_a_function_that_no_node_offers_is_given_up_within_a_second(talk: Conversation) -> None:
    """While there are nodes, and none offers the function, it fails after 0.9 s."""
    task, later = make_task(1, "nowhere"), make_task(2, "nowhere")
    talk.say(joined())
    talk.say(Submitted([task]), at=7.1)
    talk.wait(7.9)
    talk.say(Submitted([later]))
    talk.wait(7.999)
    talk.wait(8.0)
    unknown = Outcome(Ending.UNKNOWN_TASK)
    talk.expect(Settle([(task, unknown), (later, unknown)]))
    assert task.state is TaskState.FAILURE


def test_giving_up_does_not_hasten_other_things(talk: Conversation, owner: Owner, task: OwnedTask) -> None:
    """After a task was given up, the next tick comes in its own time."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    unknown = make_task(2, "nowhere")
    talk.say(Submitted([unknown]))
    talk.wait(0.9)
    talk.expect(settle(unknown, Outcome(Ending.UNKNOWN_TASK)))
    assert owner.next_deadline() == pytest.approx(1.15)


def test_the_first_nodes_have_time_to_appear(talk: Conversation) -> None:
    """What waited for any node at all is not given up the moment that the first one lacks its function."""
    task = make_task(1, "new")
    talk.say(Submitted([task]))
    talk.wait(4.0)
    talk.say(joined(A))
    talk.wait(4.5)
    talk.say(joined(B, functions=["new"]))
    talk.expect(send(submit(task), to=B))


def test_a_refused_function_has_its_time_too(talk: Conversation, task: OwnedTask) -> None:
    """Where the only node turns out to lack the function, it is given up 0.9 s from then."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(10.0)
    talk.say(said(Nack(task.id, 1, "unknown-task")))
    talk.wait(10.89)
    talk.wait(11.0)
    talk.expect(settle(task, Outcome(Ending.UNKNOWN_TASK)))


def test_there_is_patience_where_a_lost_node_offered_the_function(talk: Conversation, task: OwnedTask) -> None:
    """A node that was lost may come back, so its functions are unknown only after the wait for nodes."""
    start(talk, task)
    talk.say(joined(B, functions=["other"]))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False), at=1.0)
    talk.wait(6.5)
    talk.wait(7.0)
    talk.expect(settle(task, Outcome(Ending.UNKNOWN_TASK)))


def test_no_nodes_at_all(talk: Conversation) -> None:
    """Without any node a task fails after the timeout, each in its own time."""
    first, second = make_tasks(2)
    talk.say(Submitted([first]))
    talk.say(Submitted([second]), at=2.0)
    talk.wait(4.9)
    talk.wait(5.5)
    talk.expect(settle(first, Outcome(Ending.NO_NODES)))
    talk.wait(6.9)
    talk.wait(7.5)
    talk.expect(settle(second, Outcome(Ending.NO_NODES)))


def test_no_nodes_any_more(talk: Conversation, task: OwnedTask) -> None:
    """The wait for nodes begins when the last one was lost."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(100.0)
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.wait(104.9)
    talk.wait(105.5)
    talk.expect(settle(task, Outcome(Ending.NO_NODES)))


def test_nodes_that_drain_are_no_nodes(talk: Conversation) -> None:
    """Where all that is seen takes nothing new, tasks are given up as if there was no node."""
    talk.say(joined(draining=True))
    task = make_task(1)
    talk.say(Submitted([task]), at=1.0)
    talk.wait(5.9)
    talk.wait(6.25)
    talk.expect(settle(task, Outcome(Ending.NO_NODES)))


def test_there_is_patience_where_a_node_drains_that_offered_the_function(talk: Conversation) -> None:
    """It may be about to be restarted; until then a node without the function is no reason to give up."""
    talk.say(joined(A, functions=["other"]))
    talk.say(joined(B, draining=True))
    task = make_task(1)
    talk.say(Submitted([task]), at=1.0)
    talk.wait(5.9)
    talk.say(joined(B))
    talk.expect(send(submit(task), to=B))


def test_a_node_that_drains_for_long_offers_nothing(talk: Conversation) -> None:
    """After the time that any node is waited for it is not."""
    talk.say(joined(A, functions=["other"]))
    talk.say(joined(B, draining=True))
    task = make_task(1)
    talk.say(Submitted([task]), at=1.0)
    talk.wait(7.5)
    talk.expect(settle(task, Outcome(Ending.UNKNOWN_TASK)))
