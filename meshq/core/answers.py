"""What nodes say of the attempts that they were sent, and of themselves, short of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.core.accounts import NodeAccount
from meshq.core.losses import Losses
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.schedule import is_delayed
from meshq.protocol.messages import Accepted, Credit, Draining, Nack, Parked, Retrying, Started

Handler = Callable[[NodeAccount, Any, float], None]


class Answers:
    """Keeps the books of nodes and tasks by what the nodes say. News of an attempt that is over are ignored."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self.handlers: dict[type[Any], Handler] = {
            Accepted: self._on_accepted,
            Parked: self._on_parked,
            Started: self._on_started,
            Retrying: self._on_retrying,
            Nack: self._on_nack,
            Credit: self._on_credit,
            Draining: self._on_draining,
        }

    def _on_accepted(self, node: NodeAccount, message: Accepted, now: float) -> None:
        task = _under_way(node, message)
        if task is None:
            return
        node.accept(task)
        if task.parked:
            node.unpark(task)
        waits = task.state is TaskState.PENDING or task.state is TaskState.RETRY
        if waits and not is_delayed(task, now):
            task.state = TaskState.QUEUED

    def _on_parked(self, node: NodeAccount, message: Parked, now: float) -> None:
        task = _under_way(node, message)
        if task is None or task.state is TaskState.STARTED:
            return
        node.accept(task)
        node.park(task)
        if task.state is TaskState.QUEUED:
            task.state = TaskState.PENDING

    def _on_started(self, node: NodeAccount, message: Started, now: float) -> None:
        task = _under_way(node, message)
        if task is None:
            return
        node.accept(task)
        if task.parked:
            node.unpark(task)
        task.state = TaskState.STARTED

    def _on_retrying(self, node: NodeAccount, message: Retrying, now: float) -> None:
        task = _under_way(node, message)
        if task is not None and task.detached:
            task.state = TaskState.RETRY

    def _on_nack(self, node: NodeAccount, message: Nack, now: float) -> None:
        task = _under_way(node, message)
        if task is None:
            return
        if message.reason == "full":
            node.refuse(task, now)
        elif message.reason == "parked":
            node.pause(task, now)
        elif message.reason == "unknown-task":
            node.functions.discard(task.function)
        elif message.reason == "serializer":
            node.serializers.discard(task.serializer)
        else:
            node.draining = True
        self._losses.wait_again(node, [task], now)

    def _on_credit(self, node: NodeAccount, message: Credit, now: float) -> None:
        if message.sequence > node.sequence:
            node.sequence = message.sequence
            node.cap = message.cap
            node.others = max(0, message.others)

    def _on_draining(self, node: NodeAccount, message: Draining, now: float) -> None:
        node.draining = True


def _under_way(node: NodeAccount, message: Accepted | Parked | Retrying | Started | Nack) -> OwnedTask | None:
    task = node.in_flight.get(message.task)
    return task if task is not None and task.attempt == message.attempt else None
