"""Attempts that wait at a node, called back to make room for tasks of a higher priority that wait at the owner.

A node gets a little more than it has slots. Where that is of a low priority and what runs takes long, it would
start before what is urgent, which its credit keeps from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshq.core.accounts import NodeAccount, WaitingQueue
from meshq.core.owned import OwnedTask, TaskState

PATIENCE_S = 0.02
"""How long an attempt must have been there; what is short has started by then, and its node has said so."""


def overtaken(
    nodes: Iterable[NodeAccount], queues: Iterable[WaitingQueue], now: float
) -> Iterator[tuple[NodeAccount, OwnedTask]]:
    """Yield attempts of the lowest priorities, as many as there are waiting tasks above them."""
    usable = [node for node in nodes if node.usable]
    taken: set[bytes] = set()
    for queue in queues:
        wanted = 0 if queue.detached else len(queue.tasks)
        for node in usable if wanted else ():
            if not node.can_run(queue):
                continue
            below = [task for task in node.in_flight.values() if task.priority < queue.priority]
            waiting = (task for task in sorted(below, key=_priority) if task.id not in taken and _waits(task, now))
            for task in list(waiting)[:wanted]:
                taken.add(task.id)
                wanted -= 1
                yield node, task


def _priority(task: OwnedTask) -> int:
    return task.priority


def _waits(task: OwnedTask, now: float) -> bool:
    """Whether the node has the attempt and has not started it, as far as is known here, and may let go of it."""
    is_wanted = task.withdrawing or task.recalled or task.revoked
    return (
        task.accepted
        and task.state is not TaskState.STARTED
        and not (task.detached or task.parked or is_wanted)
        and now - task.sent_at >= PATIENCE_S
    )
