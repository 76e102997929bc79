"""The owner: a client's tasks, from submission until each is settled exactly once.

Rules. The owner keeps each task until its result has arrived, and alone numbers attempts: every decision to
send a task gets the next number. The first result wins, whichever attempt it is of; each later one is
acknowledged and dropped. An attempt that was sent and not answered within a second is sent again, to the same
node. A node that is lost has its attempts sent elsewhere. Only an attempt that had started is charged when it
dies, and a task that dies three times is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from meshq.core.accounts import FULL_PAUSE_S, NodeAccount, NodeJoined, WaitingQueue
from meshq.core.events import Received, Send
from meshq.core.owned import STATE_OF_ENDING, Ending, Outcome, OwnedTask, TaskState
from meshq.core.pace import Means
from meshq.core.rebalance import called_back
from meshq.core.routing import Router
from meshq.protocol.messages import (
    Accepted,
    Bye,
    Credit,
    Draining,
    Message,
    Nack,
    Rack,
    Result,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.payload import join_payload

RESEND_S = 1.0
MAX_DEATHS = 3
"""Workers that a task may kill (as dask's ``allowed-failures``; RabbitMQ allows 20 deliveries)."""
UNKNOWN_TASK_S = 0.9
"""How long a function that no node offers is waited for, so that the caller knows within a second."""
_TICK_S = 0.25
# A node that was lost is kept this long, so that attempts re-sent elsewhere are withdrawn when it comes back.
_FORGET_S = 900.0

_ENDING_OF_STATUS: dict[int, Ending] = {
    Status.OK: Ending.DONE,
    Status.FAILURE: Ending.FAILURE,
    Status.REVOKED: Ending.REVOKED,
    Status.EXPIRED: Ending.EXPIRED,
    Status.TIME_LIMIT: Ending.TIME_LIMIT,
}


class Submitted(NamedTuple):
    """Event: new tasks. One whose id is that of an unsettled task is ignored: the caller is to refuse it."""

    tasks: list[OwnedTask]


class NodeSuspected(NamedTuple):
    """Event: a node is silent; it gets nothing new for now."""

    node: bytes


class NodeReturned(NamedTuple):
    """Event: a suspected node was heard again."""

    node: bytes


class NodeLost(NamedTuple):
    """Event: a node is dead to us; ``died`` where it is known to have ended, not only to be out of reach."""

    node: bytes
    reason: str
    died: bool


class WithdrawAsked(NamedTuple):
    """Event: these tasks are not wanted any more; each is answered with ``WithdrawAnswered``."""

    tasks: list[bytes]


class Revoked(NamedTuple):
    """Event: these tasks were revoked. What waits here ends now; what a node has is the node's to end."""

    tasks: list[bytes]


class Leaving(NamedTuple):
    """Event: the owner goes; every unsettled task but the entrusted ones is cancelled."""


OwnerEvent: TypeAlias = (
    Submitted | Received | NodeJoined | NodeSuspected | NodeReturned | NodeLost | WithdrawAsked | Revoked | Leaving
)


class Settle(NamedTuple):
    """Effect: these tasks have ended; each is named exactly once in an owner's life."""

    ended: list[tuple[OwnedTask, Outcome]]


class WithdrawAnswered(NamedTuple):
    """Effect: the task was withdrawn before it started, or was not."""

    task: bytes
    withdrawn: bool


OwnerEffect: TypeAlias = Send | Settle | WithdrawAnswered


class Owner:
    """The machine; see the module's rules. ``no_nodes_timeout`` is in seconds."""

    def __init__(self, no_nodes_timeout: float = 30.0, now: float = 0.0) -> None:
        self._no_nodes_timeout = no_nodes_timeout
        self._means = Means()
        self._router = Router(self._means)
        self._nodes: dict[bytes, NodeAccount] = {}
        self._tasks: dict[bytes, OwnedTask] = {}
        self._node_seen_at = now
        self._next_tick: float | None = None
        self._ended: list[tuple[OwnedTask, Outcome]] = []
        self._effects: list[OwnerEffect] = []
        self._events: dict[type[Any], Callable[[Any, float], None]] = {
            Submitted: self._on_submitted,
            Received: self._on_received,
            NodeJoined: self._on_node_joined,
            NodeSuspected: self._on_node_suspected,
            NodeReturned: self._on_node_returned,
            NodeLost: self._on_node_lost,
            WithdrawAsked: self._on_withdraw_asked,
            Revoked: self._on_revoked,
            Leaving: self._on_leaving,
        }
        self._messages: dict[type[Any], Callable[[NodeAccount, Any, float], None]] = {
            Accepted: self._on_accepted,
            Started: self._on_started,
            Nack: self._on_nack,
            Credit: self._on_credit,
            Withdrawn: self._on_withdrawn,
            Draining: self._on_draining,
        }

    # ------------------------------------------------------------------ the machine's face

    def handle(self, event: OwnerEvent, now: float) -> list[OwnerEffect]:
        """Take an event; return what the caller must do, in order."""
        self._events[type(event)](event, now)
        return self._finish(now)

    def tick(self, now: float) -> list[OwnerEffect]:
        """Do what has become due."""
        for node in list(self._nodes.values()):
            if node.lost_at is None:
                self._resend(node, now)
            elif now - node.lost_at > _FORGET_S:
                del self._nodes[node.node]
        if self._router.is_empty:
            self._rebalance(now)
        due = [self._give_up(queue, now) for queue in self._router.waiting()]
        self._next_tick = min([now + _TICK_S, *due]) if self._tasks else None
        return self._finish(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        return self._next_tick

    def unsettled(self) -> int:
        """Return how many tasks have not ended."""
        return len(self._tasks)

    def find(self, task_id: bytes) -> OwnedTask | None:
        """Return an unsettled task."""
        return self._tasks.get(task_id)

    def unaccepted(self) -> int:
        """Return how many detached tasks no node has accepted yet."""
        return sum(task.detached and not task.accepted for task in self._tasks.values())

    # ------------------------------------------------------------------ submit and route

    def _on_submitted(self, event: Submitted, now: float) -> None:
        for task in event.tasks:
            if task.id in self._tasks:
                continue
            task.since = now
            self._tasks[task.id] = task
            self._router.wait(task, now)

    def _route(self, now: float) -> None:
        sends: dict[bytes, list[Message]] = {}
        for node, task in self._router.assign(self._nodes.values(), now):
            task.attempt += 1
            task.node = node.node
            task.accepted = False
            task.sent_at = now
            node.put(task)
            sends.setdefault(node.node, []).append(_submit(task))
        self._effects.extend(Send(node_id, messages) for node_id, messages in sends.items())

    def _finish(self, now: float) -> list[OwnerEffect]:
        """Route what can go, and hand out the effects gathered."""
        if self._ended:
            self._effects.append(Settle(self._ended))
            self._ended = []
        if not self._router.is_empty:
            self._route(now)
        if self._next_tick is None and self._tasks:
            self._next_tick = now + _TICK_S
        effects, self._effects = self._effects, []
        return effects

    # ------------------------------------------------------------------ what nodes say

    def _on_received(self, event: Received, now: float) -> None:
        node = self._nodes.get(event.peer)
        if node is None:
            return
        racks: list[Message] = []
        for message in event.messages:
            if type(message) is Result:
                racks.append(Rack(message.task, message.attempt))
                self._on_result(node, message, now)
            else:
                handler = self._messages.get(type(message))
                if handler is not None:
                    handler(node, message, now)
        if racks:
            self._means.fold()
            self._effects.append(Send(event.peer, racks))

    def _on_result(self, node: NodeAccount, result: Result, now: float) -> None:
        task = self._tasks.get(result.task)
        if task is None:
            return
        if result.status == Status.WORKER_LOST:
            if task.node == node.node and task.attempt == result.attempt:
                self._on_worker_lost(task, node, _text(result), now)
            return
        if result.seconds > 0.0:  # what was revoked or entrusted says 0; a peer may say anything, NaN too
            self._means.observe(task.function, result.seconds)
        if task.node is not None and task.node != node.node:
            # An earlier attempt has won; the later one, sent elsewhere meanwhile, is called back.
            self._effects.append(Send(task.node, [Withdraw(task.id, task.attempt)]))
        ending = _ENDING_OF_STATUS.get(result.status, Ending.FAILURE)
        self._settle(task, Outcome(ending, result.serializer, result.payload))

    def _on_worker_lost(self, task: OwnedTask, node: NodeAccount, story: str, now: float) -> None:
        if task.detached:
            # The node that took it over has tried it as often as it may.
            self._settle(task, Outcome(Ending.WORKER_LOST, text=story))
        else:
            self._on_death(task, node, story, now)

    def _on_death(self, task: OwnedTask, node: NodeAccount, story: str, now: float) -> None:
        """Charge a death under the task, and try again while it may."""
        task.deaths = [*(task.deaths or ()), f"attempt {task.attempt} on {node.name}: {story}"]
        self._wait_again(node, [task], now)

    def _on_accepted(self, node: NodeAccount, message: Accepted, now: float) -> None:
        task = node.in_flight.get(message.task)
        if task is not None and task.attempt == message.attempt:
            task.accepted = True
            if task.state is TaskState.PENDING or task.state is TaskState.RETRY:
                task.state = TaskState.QUEUED

    def _on_started(self, node: NodeAccount, message: Started, now: float) -> None:
        task = node.in_flight.get(message.task)
        if task is not None and task.attempt == message.attempt:
            task.accepted = True
            task.state = TaskState.STARTED

    def _on_nack(self, node: NodeAccount, message: Nack, now: float) -> None:
        task = node.in_flight.get(message.task)
        if task is None or task.attempt != message.attempt:
            return
        if message.reason == "full":
            node.full_until = now + FULL_PAUSE_S
        elif message.reason == "unknown-task":
            node.functions.discard(task.function)
        elif message.reason == "serializer":
            node.serializers.discard(task.serializer)
        else:
            node.draining = True
        self._wait_again(node, [task], now)

    def _on_credit(self, node: NodeAccount, message: Credit, now: float) -> None:
        if message.sequence > node.sequence:
            node.sequence = message.sequence
            node.cap = message.cap
            node.others = max(0, message.others)

    def _on_draining(self, node: NodeAccount, message: Draining, now: float) -> None:
        node.draining = True

    # ------------------------------------------------------------------ nodes come and go

    def _on_node_joined(self, event: NodeJoined, now: float) -> None:
        node = self._nodes.get(event.node)
        if node is None:
            self._nodes[event.node] = NodeAccount(event)
            return
        same = node.incarnation == event.incarnation
        if not same and node.lost_at is None:
            self._on_node_lost(NodeLost(event.node, "it was restarted", died=True), now)
        node.update(event)
        if same and node.moved:
            withdrawals: list[Message] = [Withdraw(task, attempt) for task, attempt in node.moved.items()]
            self._effects.append(Send(event.node, withdrawals))
        node.moved.clear()

    def _on_node_suspected(self, event: NodeSuspected, now: float) -> None:
        node = self._nodes.get(event.node)
        if node is not None:
            node.suspect = True

    def _on_node_returned(self, event: NodeReturned, now: float) -> None:
        node = self._nodes.get(event.node)
        if node is not None:
            node.suspect = False

    def _on_node_lost(self, event: NodeLost, now: float) -> None:
        node = self._nodes.get(event.node)
        if node is None or node.lost_at is not None:
            return
        node.lost_at = self._node_seen_at = now
        for task in list(node.in_flight.values()):
            if event.died and task.state is TaskState.STARTED:
                self._on_death(task, node, f"the node was lost ({event.reason})", now)
        again = list(node.in_flight.values())
        node.moved = {task.id: task.attempt for task in again}
        self._wait_again(node, again, now)

    # ------------------------------------------------------------------ withdraw and leave

    def _on_withdraw_asked(self, event: WithdrawAsked, now: float) -> None:
        for task_id in event.tasks:
            task = self._tasks.get(task_id)
            if task is None:
                self._effects.append(WithdrawAnswered(task_id, False))
                continue
            task.withdrawing = True
            if task.node is None:
                self._settle(task, Outcome(Ending.CANCELLED))
            else:
                task.sent_at = now
                self._effects.append(Send(task.node, [Withdraw(task_id, task.attempt)]))

    def _on_revoked(self, event: Revoked, now: float) -> None:
        for task_id in event.tasks:
            task = self._tasks.get(task_id)
            if task is None:
                continue
            task.revoked = True
            if task.node is None:
                self._settle(task, Outcome(Ending.REVOKED))

    def _on_withdrawn(self, node: NodeAccount, message: Withdrawn, now: float) -> None:
        task = node.in_flight.get(message.task)
        if task is None or task.attempt != message.attempt:
            return
        task.recalled = False
        if message.outcome in ("dropped", "unknown"):
            # Where this is not asked for any more (a copy of WITHDRAW did it), the task must go out again.
            self._wait_again(node, [task], now)
        elif task.withdrawing:
            task.withdrawing = False
            self._effects.append(WithdrawAnswered(task.id, False))

    def _on_leaving(self, event: Leaving, now: float) -> None:
        for task in list(self._tasks.values()):
            if not (task.detached and task.accepted):
                self._settle(task, Outcome(Ending.CANCELLED))
        for node in self._nodes.values():
            if node.lost_at is None:
                self._effects.append(Send(node.node, [Bye()]))

    # ------------------------------------------------------------------ time

    def _rebalance(self, now: float) -> None:
        """Call back what waits at a busy node, where an idle one could run it."""
        for node, task in list(called_back(self._nodes.values(), now)):
            task.recalled = True
            task.sent_at = now
            self._effects.append(Send(node.node, [Withdraw(task.id, task.attempt)]))

    def _resend(self, node: NodeAccount, now: float) -> None:
        """Send again what the node has not answered, and what is being withdrawn there."""
        again: list[Message] = []
        for task in node.in_flight.values():
            wanted_back = task.withdrawing or task.recalled
            if now - task.sent_at >= RESEND_S and (wanted_back or not task.accepted):
                task.sent_at = now
                again.append(Withdraw(task.id, task.attempt) if wanted_back else _submit(task))
        if again:
            self._effects.append(Send(node.node, again))

    def _give_up(self, queue: WaitingQueue, now: float) -> float:
        """Settle what waits in vain, for this function or for any node at all; return when to look again."""
        nodes = self._nodes.values()
        present = any(node.lost_at is None for node in nodes)
        if not present and now - self._node_seen_at >= self._no_nodes_timeout:
            self._give_up_all(queue, now, Ending.NO_NODES, self._no_nodes_timeout)
        if present and not any(self._may_offer(node, queue, now) for node in nodes):
            due = queue.hoped_at + UNKNOWN_TASK_S
            if now < due:
                return due
            self._give_up_all(queue, now, Ending.UNKNOWN_TASK, 0.0)
        queue.hoped_at = now
        return now + UNKNOWN_TASK_S

    def _may_offer(self, node: NodeAccount, queue: WaitingQueue, now: float) -> bool:
        """Whether the node offers the function, or did so a moment ago and may come back."""
        back = node.lost_at is None or now - node.lost_at <= self._no_nodes_timeout
        return back and node.can_run(queue)

    def _give_up_all(self, queue: WaitingQueue, now: float, ending: Ending, waited: float) -> None:
        while (task := queue.head()) is not None and now - task.since >= waited:
            self._settle(task, Outcome(ending))

    # ------------------------------------------------------------------ endings

    def _wait_again(self, node: NodeAccount, tasks: list[OwnedTask], now: float) -> None:
        """Take tasks back from a node, to send them out anew; those that must not go again end."""
        again: list[OwnedTask] = []
        for task in tasks:
            outcome = _last_word(task)
            if outcome is not None:
                self._settle(task, outcome)
                continue
            node.take(task)
            task.node = None
            task.accepted = task.recalled = False
            task.state = TaskState.RETRY if task.deaths else TaskState.PENDING
            again.append(task)
        self._router.wait_first(again, now)

    def _settle(self, task: OwnedTask, outcome: Outcome) -> None:
        del self._tasks[task.id]
        if task.node:
            self._nodes[task.node].take(task)
        task.node = b""
        task.state = STATE_OF_ENDING[outcome.ending]
        self._ended.append((task, outcome))
        if task.withdrawing:
            self._effects.append(WithdrawAnswered(task.id, outcome.ending is Ending.CANCELLED))


def _last_word(task: OwnedTask) -> Outcome | None:
    """Return how a task ends that its node no longer has, or None where it may go out again."""
    if task.withdrawing:
        return Outcome(Ending.CANCELLED)
    if task.revoked:
        return Outcome(Ending.REVOKED)
    if task.deaths is not None and len(task.deaths) >= MAX_DEATHS:
        return Outcome(Ending.WORKER_LOST, text="; ".join(task.deaths))
    return None


def _submit(task: OwnedTask) -> Submit:
    return Submit(task.id, task.attempt, task.function, task.serializer, task.payload, task.detached, task.options)


def _text(result: Result) -> str:
    return join_payload(result.payload).decode("utf-8", "replace")
