"""Attempts that wait at a busy node while another is idle: which of them the owner calls back.

A node gets a little more than it has slots, so that none of them idles. Where a task then takes far longer than
others, what was sent behind it would wait for its end; a free slot elsewhere is reason to fetch it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshq.core.accounts import NodeAccount
from meshq.core.owned import OwnedTask, TaskState

PATIENCE_S = 0.2
"""How long an attempt must have waited; sooner it may have started without our having heard of it."""


def called_back(nodes: Iterable[NodeAccount], now: float) -> Iterator[tuple[NodeAccount, OwnedTask]]:
    """Yield attempts that wait where others run, as many as there are free slots that could take them."""
    usable = [node for node in nodes if node.usable]
    free = {node.node: node.slots - len(node.in_flight) - node.others for node in usable}
    if len(usable) < 2 or max(free.values()) <= 0:
        return
    for node in usable:
        for task in node.in_flight.values() if free[node.node] < 0 else ():
            if not _waits(task, now):
                continue
            taker = next((other for other in usable if free[other.node] > 0 and other.can_run(task)), None)
            if taker is not None:
                free[taker.node] -= 1
                yield node, task


def _waits(task: OwnedTask, now: float) -> bool:
    """Whether the node has the attempt and has not started it, as far as is known here."""
    settled_there = task.accepted and task.state is not TaskState.STARTED
    return (
        settled_there
        and not (task.detached or task.withdrawing or task.recalled)
        and now - task.sent_at >= PATIENCE_S
    )
