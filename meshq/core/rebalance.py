"""Attempts that wait at a busy node while another is idle: which of them the owner calls back.

A node gets a little more than it has slots, so that none of them idles. Where a task then takes far longer than
others, what was sent behind it would wait for its end; a free slot elsewhere is reason to fetch it back. So it is
for what a node has parked for a rate limit, as each node has a limit of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from meshq.core.accounts import NodeAccount
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.schedule import is_delayed

PATIENCE_S = 0.2
"""How long an attempt must have waited; sooner it may have started without our having heard of it."""


def called_back(nodes: Iterable[NodeAccount], now: float) -> Iterator[tuple[NodeAccount, OwnedTask]]:
    """Yield attempts that wait where others run, as many as there are free slots that could take them."""
    usable = [node for node in nodes if node.usable]
    free = {node.node: node.slots - len(node.in_flight) + node.parked - node.others for node in usable}
    if len(usable) < 2 or max(free.values()) <= 0:
        return
    for node in usable:
        for task in node.in_flight.values() if free[node.node] < 0 else ():
            if task.parked or not _waits(task, now):
                continue
            taker = next((other for other in usable if free[other.node] > 0 and other.can_run(task)), None)
            if taker is not None:
                free[taker.node] -= 1
                yield node, task
    if any(node.parked > 1 for node in usable):
        yield from _parked(usable, free, now)


def _parked(
    usable: list[NodeAccount], free: dict[bytes, int], now: float
) -> Iterator[tuple[NodeAccount, OwnedTask]]:
    """Yield attempts parked for a rate limit that nodes with none of their function parked could take.

    Half of a function's at a node, so that none goes to and fro between two; they take no slot, so all at once.
    """
    limited = {
        node.node: [task for task in node.in_flight.values() if task.parked and _is_limited(task, now)]
        for node in usable
    }
    counts = {node: Counter(task.function for task in tasks) for node, tasks in limited.items()}
    example = {task.function: task for tasks in limited.values() for task in tasks}
    wanted: set[str] = set()
    for other in (node for node in usable if free[node.node] > 0):
        # Those that have come a moment ago count too, or a node would be given half again and again.
        has = {task.function for task in other.in_flight.values() if task.parked and not is_delayed(task, now)}
        wanted.update(
            function for function, task in example.items() if function not in has and other.can_run(task)
        )
    for node in usable:
        spare = {function: counts[node.node][function] // 2 for function in wanted}
        for task in reversed(limited[node.node]):
            if spare.get(task.function):
                spare[task.function] -= 1
                yield node, task


def _waits(task: OwnedTask, now: float) -> bool:
    """Whether the node has the attempt and has not started it, as far as is known here."""
    settled_there = task.accepted and task.state is not TaskState.STARTED
    return (
        settled_there
        and not (task.detached or task.withdrawing or task.recalled)
        and now - task.sent_at >= PATIENCE_S
    )


def _is_limited(task: OwnedTask, now: float) -> bool:
    """Whether a parked attempt waits for a rate limit, and is not wanted back already."""
    return _waits(task, now) and not is_delayed(task, now)
