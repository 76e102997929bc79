"""What nodes say of the attempts that they were sent, and of themselves, short of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshq.core.accounts import NodeAccount
from meshq.core.events import Send
from meshq.core.losses import Losses, take_over_deaths
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.owning import OwnerEffect
from meshq.core.schedule import is_delayed
from meshq.protocol.messages import Accepted, Credit, Draining, Nack, Parked, Rack, Retrying, Started

Handler = Callable[[NodeAccount, Any, float], None]
_PENDING, _RETRY, _QUEUED = TaskState.PENDING, TaskState.RETRY, TaskState.QUEUED
"""At hand, as most tasks are accepted: to look up a member of an enum takes 60 ns."""


class Answers:
    """Keeps the books of nodes and tasks by what the nodes say. News of an attempt that is over are ignored.

    ``effects`` is where the owner gathers what it asks for.
    """

    def __init__(self, tasks: Mapping[bytes, OwnedTask], losses: Losses, effects: list[OwnerEffect]) -> None:
        self._tasks = tasks
        self._losses = losses
        self._effects = effects
        self._given_back: dict[bytes, tuple[bytes, int]] = {}
        """Task → the node that gave it back, with the attempt it was there: to be told once another has it."""
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
        task = node.in_flight.get(message.task)
        if task is None or task.attempt != message.attempt:
            return
        if not task.accepted:
            node.accept(task)
        if self._given_back and task.id in self._given_back:
            giver, attempt = self._given_back.pop(task.id)
            self._effects.append(Send(giver, [Rack(task.id, attempt)]))
        if task.parked:
            node.unpark(task)
        waits = task.state is _PENDING or task.state is _RETRY
        if waits and (task.due_at is None or not is_delayed(task, now)):
            task.state = _QUEUED

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
            node.accept(task)
            # Should the task come back, who gets it next goes on from here.
            task.state = TaskState.RETRY
            task.retries = max(task.retries, message.retries)
            task.due_at = now + message.seconds

    def _on_nack(self, node: NodeAccount, message: Nack, now: float) -> None:
        task = _under_way(node, message)
        if message.reason == "draining":
            self._on_given_back(node, message)
        if task is None:
            return
        if message.reason == "draining":
            node.draining = True
            if task.detached:
                take_over_deaths(task, message.deaths)
        elif message.reason == "parked":
            node.pause(task, now)
        elif message.reason == "unknown-task":
            node.functions.discard(task.function)
        elif message.reason == "serializer":
            node.serializers.discard(task.serializer)
        else:  # full, or a reason of nodes to come, which may be over in a while as well
            node.refuse(task, now)
        self._losses.wait_again(node, [task], now)

    def _on_given_back(self, node: NodeAccount, message: Nack) -> None:
        """Say that a detached task is in good hands, or note to say so once another node has it.

        The node that drains has owned it, and does so still should this owner go before.
        """
        task = self._tasks.get(message.task)
        if task is None or (task.detached and task.accepted and task.node != node.node):
            self._given_back.pop(message.task, None)
            self._effects.append(Send(node.node, [Rack(message.task, message.attempt)]))
        elif task.detached:
            if len(self._given_back) > 2 * len(self._tasks):  # some have ended, and their nodes too
                self._given_back = {key: of for key, of in self._given_back.items() if key in self._tasks}
            self._given_back[task.id] = node.node, message.attempt

    def _on_credit(self, node: NodeAccount, message: Credit, now: float) -> None:
        if message.sequence > node.sequence:
            node.sequence = message.sequence
            node.cap = message.cap
            node.cap_bytes = max(0, message.cap_bytes)
            node.others = max(0, message.others)

    def _on_draining(self, node: NodeAccount, message: Draining, now: float) -> None:
        node.draining = True


def _under_way(node: NodeAccount, message: Accepted | Parked | Retrying | Started | Nack) -> OwnedTask | None:
    task = node.in_flight.get(message.task)
    return task if task is not None and task.attempt == message.attempt else None
