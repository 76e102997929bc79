"""Tasks of a high priority that wait while those of a low one have been sent already."""

from __future__ import annotations

import pytest
from owner_words import A, B, joined, make_task

from meshq.core.accounts import NodeAccount, WaitingQueue
from meshq.core.overtaking import PATIENCE_S, overtaken
from meshq.core.owned import OwnedTask, TaskState

LATE = PATIENCE_S + 0.001


def busy(*priorities: int, node: bytes = A, first: int = 1) -> tuple[NodeAccount, list[OwnedTask]]:
    """Return a node whose first task runs, and the others wait."""
    account = NodeAccount(joined(node, slots=1))
    tasks = [make_task(first + index) for index, _ in enumerate(priorities)]
    for task, task.priority in zip(tasks, priorities, strict=True):
        account.put(task)
        account.accept(task)
        task.state = TaskState.QUEUED
    tasks[0].state = TaskState.STARTED
    return account, tasks


def waiting(priority: int, count: int = 1, *, function: str = "f", detached: bool = False) -> WaitingQueue:
    """Return a queue of waiting tasks."""
    queue = WaitingQueue((function, "msgpack", frozenset(), detached, priority), 0.0)
    queue.tasks.extend(make_task(100 * priority + n, function) for n in range(count))
    return queue


def called_back(queues: list[WaitingQueue], *nodes: NodeAccount, now: float = LATE) -> list[OwnedTask]:
    """Return what makes room."""
    return [task for _, task in overtaken(nodes, queues, now)]


def test_the_lowest_make_room_for_as_many_as_wait() -> None:
    """What runs stays, and so does what is of the same priority."""
    node, tasks = busy(0, 5, 1, 9)
    assert called_back([waiting(9)], node) == [tasks[2]]
    assert called_back([waiting(9, 5)], node) == [tasks[2], tasks[1]]
    assert called_back([waiting(5, 5)], node) == [tasks[2]]
    assert called_back([waiting(1, 5)], node) == []


def test_each_makes_room_once() -> None:
    """Several queues and several nodes share what there is."""
    (one, [_, low]), (two, [_, other]) = busy(5, 1), busy(5, 1, node=B, first=11)
    assert called_back([waiting(9), waiting(7)], one) == [low]
    assert called_back([waiting(9, 2)], one, two) == [low, other]
    assert called_back([waiting(9)], one, two) == [low]


@pytest.mark.parametrize("word", ["withdrawing", "recalled", "revoked", "detached", "parked"])
def test_what_is_not_ours_to_move_stays(word: str) -> None:
    """What is wanted back already, is the node's own, or takes no credit."""
    node, [_, low] = busy(5, 1)
    setattr(low, word, True)
    assert called_back([waiting(9)], node) == []


def test_who_gains_nothing_by_it_calls_nothing_back() -> None:
    """A detached task needs no credit, a node without the function no room, and what has just come may run."""
    node, [_, low] = busy(5, 1)
    assert called_back([waiting(9, detached=True)], node) == []
    assert called_back([waiting(9, function="nowhere")], node) == []
    assert called_back([waiting(9)], node, now=PATIENCE_S / 2) == []
    low.accepted = False
    assert called_back([waiting(9)], node) == []
    node.suspect = low.accepted = True
    assert called_back([waiting(9)], node) == []
