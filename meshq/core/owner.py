"""The owner: a client's tasks, from submission until each is settled exactly once.

Rules. The owner keeps each task until its result has arrived, and alone numbers attempts: every decision to
send a task gets the next number. The first result wins, whichever attempt it is of; each later one is
acknowledged and dropped. An attempt that was sent and not answered within a second is sent again, to the same
node. A node that is lost has its attempts sent elsewhere. Only an attempt that had started is charged when it
dies, and a task that dies three times is given up. A task that has failed and asks for another try waits here
until it goes out again, to any node. What expires ends here while no node has it. A task that must not run twice
goes out again only if it provably has not started, or has asked for that itself; else it ends as lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.core.accounts import NodeAccount, NodeJoined
from meshq.core.answers import Answers, Handler
from meshq.core.candidates import Rng
from meshq.core.discarding import Discarding
from meshq.core.events import Received, Send
from meshq.core.handing_over import HandingOver
from meshq.core.losses import MAX_DEATHS, Losses
from meshq.core.overtaking import PATIENCE_S
from meshq.core.owned import ENDING_OF_STATUS, STATE_OF_ENDING, Ending, Outcome, OwnedTask, TaskState
from meshq.core.owning import (
    HandOverAsked,
    Leaving,
    NodeLost,
    NodeReturned,
    NodeSuspected,
    OwnerEffect,
    OwnerEvent,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Revoked,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.pace import Means
from meshq.core.patience import Patience
from meshq.core.reconciling import Reconciling
from meshq.core.retries import Retries
from meshq.core.routing import Router
from meshq.core.schedule import Schedule, submission, submissions, take_over_once
from meshq.core.terms import DEFAULT_PRIORITY
from meshq.core.timers import earliest
from meshq.core.wanted_back import WantedBack
from meshq.protocol.messages import (
    LONGEST_TEXT,
    Accepted,
    Bye,
    Message,
    Nack,
    Rack,
    Relay,
    Result,
    Started,
    Status,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.payload import Payload, join_payload

__all__ = [
    "MAX_DEATHS", "Leaving", "NodeLost", "NodeReturned", "NodeSuspected", "Owner", "OwnerEffect", "OwnerEvent",
    "PurgeAnswered", "PurgeAsked", "RetryPlanned", "Revoked", "Settle", "Submitted", "WithdrawAnswered",
    "WithdrawAsked",
]  # fmt: skip

_new = tuple.__new__
"""Makes a message in less than half the time that its class takes, by way of a function in Python."""
# To look up a member of an enum takes 60 ns, and to look something up by it as much again.
_DONE, _FAILURE, _DONE_STATE = Ending.DONE, Ending.FAILURE, TaskState.DONE
_NO_OUTCOME = Outcome(Ending.LOST)
_MAY_GO_ON = frozenset({int(Status.WORKER_LOST), int(Status.RETRY)})
"""What may not be the end of a task, but of a try."""

RESEND_S = 1.0
_TICK_S = 0.25


class Owner:
    """The machine; see the module's rules. ``no_nodes_timeout`` is in seconds."""

    def __init__(self, no_nodes_timeout: float = 30.0, now: float = 0.0, rng: Rng | None = None) -> None:
        self._means = Means()
        self._router = Router(self._means)
        self._nodes: dict[bytes, NodeAccount] = {}
        self._tasks: dict[bytes, OwnedTask] = {}
        self._next_tick: float | None = None
        self._overtake_at: float | None = None
        """When tasks of a low priority may have to make room: none is, until the first that has one."""
        self._ended: list[tuple[OwnedTask, Outcome]] = []
        self._effects: list[OwnerEffect] = []
        self._sends: dict[bytes, list[Message]] = {}
        """What was given to nodes just now, in the effects already."""
        self._patience = Patience(self._nodes, self._settle, no_nodes_timeout, now)
        self._losses = Losses(self._nodes, self._router, self._patience, self._settle, self._effects)
        self._schedule = Schedule(self._tasks, self._settle)
        self._retries = Retries(self._tasks, self._router, self._settle, self._effects, rng)
        self._reconciling = Reconciling()
        self._discarding = Discarding(self._tasks, self._nodes, self._settle, self._effects)
        self._wanted_back = WantedBack(
            self._tasks, self._nodes, self._losses, self._discarding, self._settle, self._effects
        )
        self._handing_over: HandingOver | None = None
        self._events: dict[type[Any], Callable[[Any, float], None]] = {
            Submitted: self._on_submitted,
            Received: self._on_received,
            NodeJoined: self._losses.on_joined,
            NodeSuspected: self._losses.on_suspected,
            NodeReturned: self._losses.on_returned,
            NodeLost: self._losses.on_lost,
            WithdrawAsked: self._wanted_back.on_withdraw_asked,
            Revoked: self._wanted_back.on_revoked,
            PurgeAsked: self._discarding.on_asked,
            HandOverAsked: self._on_hand_over_asked,
            Leaving: self._on_leaving,
        }
        self._messages: dict[type[Any], Handler] = {
            **Answers(self._tasks, self._losses, self._effects).handlers,
            Withdrawn: self._wanted_back.on_withdrawn,
            Relay: self._on_relay,
        }

    # ------------------------------------------------------------------ the machine's face

    def handle(self, event: OwnerEvent, now: float) -> list[OwnerEffect]:
        """Take an event; return what the caller must do, in order."""
        self._events[type(event)](event, now)
        return self._finish(now)

    def tick(self, now: float) -> list[OwnerEffect]:
        """Do what has become due."""
        self._discarding.tick(now)
        self._retries.tick(now)
        if self._next_tick is not None and self._next_tick <= now:
            self._review(now)
        if self._overtake_at is not None and self._overtake_at <= now:
            self._wanted_back.overtake(self._router.by_priority(), now)
            self._overtake_at = None if self._router.is_empty else now + _TICK_S
        return self._finish(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        expiries, purges, retries = self._schedule.timers, self._discarding.timers, self._retries.timers
        if not (expiries.live or purges.live or retries.live or self._overtake_at):
            return self._next_tick  # as mostly, and this is asked for at each turn of a loop
        return earliest(
            self._next_tick, self._overtake_at, expiries.next_deadline(), purges.next_deadline(),
            retries.next_deadline(),
        )  # fmt: skip

    def find(self, task: bytes) -> OwnedTask | None:
        """Return a task that has not ended."""
        return self._tasks.get(task)

    def is_busy(self, node: bytes) -> bool:
        """Whether a node has attempts of this owner."""
        account = self._nodes.get(node)
        return account is not None and bool(account.in_flight)

    # ------------------------------------------------------------------ submit and route

    def _on_submitted(self, event: Submitted, now: float) -> None:
        tasks, new = self._tasks, []
        for task in event.tasks:
            if task.id in tasks:
                continue
            task.since = now
            tasks[task.id] = task
            if task.options is not None:
                self._schedule.take(task, now)
                if task.priority != DEFAULT_PRIORITY:
                    self._overtake_at = now + PATIENCE_S
            new.append(task)
        self._router.wait_all(new, now)

    def _route(self, now: float) -> None:
        self._router.assign(self._nodes.values(), now, self._give)
        self._sends.clear()

    def _give(self, node: NodeAccount, run: list[OwnedTask], now: float) -> None:
        """Book tasks as sent to a node."""
        if len(run) > 1:
            node.put_run(run)
        else:
            node.put(run[0])
        once = bool(node.once) and run[0].function in node.once
        node_id = node.node
        for task in run:
            if once:
                take_over_once(task)
            task.attempt += 1
            task.node = node_id
            task.accepted = False
            task.sent_at = now
        messages: list[Any] = submissions(run, now)
        if node_id in self._sends:
            self._sends[node_id] += messages
        else:
            self._sends[node_id] = messages
            self._effects.append(_new(Send, (node_id, messages)))

    def _finish(self, now: float) -> list[OwnerEffect]:
        """Route what can go, and hand out the effects gathered."""
        if self._schedule.timers.live:
            self._schedule.tick(now)
        if self._ended:
            self._effects.append(_new(Settle, (self._ended,)))
            self._ended = []
        if self._discarding.answers:
            self._effects += self._discarding.answers
            self._discarding.answers.clear()
        if self._router.queues or self._router.delayed:  # it is not empty; this is asked for each message
            self._route(now)
        if self._next_tick is None and self._tasks:
            self._next_tick = now + _TICK_S
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    # ------------------------------------------------------------------ what nodes say

    def _on_received(self, event: Received, now: float) -> None:
        peer, messages = event
        node = self._nodes.get(peer)
        if node is None:
            return
        racks = self._take_in(node, messages, now)
        if racks:
            node.ended_at = now
            self._means.fold()
            self._effects.append(_new(Send, (peer, racks)))

    def _take_in(self, node: NodeAccount, messages: list[Any], now: float) -> list[Message]:
        """Take messages in, in their order; return the acknowledgements of the results among them."""
        find, settle, node_id = self._tasks.get, self._settle, node.node
        racks: list[Message] = []
        function, busy_s, runs = "", 0.0, 0
        outcome = _NO_OUTCOME
        before: tuple[int, str, Payload] = (-1, "", b"")  # which none is like
        for result in messages:
            if type(result) is not Result:
                if (handler := self._messages.get(type(result))) is not None:
                    handler(node, result, now)
                continue
            task_id, attempt, status, encoding, payload, seconds = result
            racks.append(_new(Rack, (task_id, attempt)))
            task = find(task_id)
            if task is None:
                continue
            if status in _MAY_GO_ON:
                if task.node == node_id and task.attempt == attempt:
                    self._on_try_ended(task, node, result, now)
                continue
            if seconds > 0.0:  # what was revoked or entrusted says 0; a peer may say anything, NaN too
                if task.function != function:
                    if runs:
                        self._means.observe(function, busy_s, runs)
                    function, busy_s, runs = task.function, 0.0, 0
                busy_s += seconds
                runs += 1
            if task.node is not None and task.node != node_id:
                # An earlier attempt has won; the later one, sent elsewhere meanwhile, is called back.
                self._effects.append(Send(task.node, [Withdraw(task.id, task.attempt)]))
            if task.revoked:
                self._discarding.spare(task)
            if type(payload) is not bytes or before != (status, encoding, payload):
                # Else it is like the one before, as None is like None: fewer objects for the garbage collector.
                before = status, encoding, payload
                outcome = _new(Outcome, (ENDING_OF_STATUS.get(status, _FAILURE), encoding, payload, ""))
            settle(task, outcome)
        if runs:
            self._means.observe(function, busy_s, runs)
        return racks

    def _on_try_ended(self, task: OwnedTask, node: NodeAccount, result: Result, now: float) -> None:
        if result.status == Status.WORKER_LOST:
            self._on_worker_lost(task, node, _text(result), now)
        else:
            self._retries.on_result(task, node, result.payload, now)

    def _on_worker_lost(self, task: OwnedTask, node: NodeAccount, story: str, now: float) -> None:
        if task.detached:
            # The node that took it over has tried it as often as it may.
            self._settle(task, Outcome(Ending.LOST if task.once else Ending.WORKER_LOST, text=story))
        else:
            self._losses.charge(task, node, story, now)

    def _on_relay(self, node: NodeAccount, message: Relay, now: float) -> None:
        if message.name == "revoke":
            self._wanted_back.on_revoked(Revoked(message.tasks), now)
        elif message.name == "purge":
            self._discarding.on_relayed(node, message, now)

    # ------------------------------------------------------------------ hand over, and leave

    def _on_hand_over_asked(self, event: HandOverAsked, now: float) -> None:
        if self._handing_over is None:
            self._handing_over = HandingOver(
                self._tasks, self._nodes, self._router, self._losses, self._retries, self._release, self._effects
            )
            for kind in (Accepted, Started):
                self._messages[kind] = self._handing_over.overhear(self._messages[kind])
        self._handing_over.on_asked(event, now)

    def _on_leaving(self, event: Leaving, now: float) -> None:
        self._messages.pop(Nack, None)  # what was entrusted is the nodes' to see to from now on
        for task in list(self._tasks.values()):
            if not (task.detached and task.accepted):
                self._settle(task, Outcome(Ending.CANCELLED))
        for node in self._nodes.values():
            if node.lost_at is None:
                self._effects.append(Send(node.node, [Bye()]))

    # ------------------------------------------------------------------ time

    def _review(self, now: float) -> None:
        """Look after what takes too long: at a node that is silent, or for want of one."""
        self._losses.forget(now)
        self._reconciling.forget(self._nodes)
        for node in self._nodes.values():
            if node.lost_at is None:
                self._resend(node, now)
        if self._router.is_empty:
            self._wanted_back.rebalance(now)
        if self._handing_over is not None:
            self._handing_over.review(now)
        due = [self._patience.review(queue, now) for queue in self._router.waiting()]
        self._next_tick = min([now + _TICK_S, *due]) if self._tasks else None

    def _resend(self, node: NodeAccount, now: float) -> None:
        """Send again what the node has not answered, and what is being withdrawn there; ask for what is silent."""
        again: list[Message] = []
        for task in node.in_flight.values():
            if now - task.sent_at < RESEND_S:
                continue
            if node.draining and task.accepted and not (task.detached or task.state is TaskState.STARTED):
                task.recalled = True  # it was handed back, then, and that was not heard
            wanted_back = task.withdrawing or task.recalled
            if wanted_back or not task.accepted:
                task.sent_at = now
                again.append(Withdraw(task.id, task.attempt) if wanted_back else submission(task, now))
        asked = self._reconciling.ask(node, now)
        if asked is not None:
            again.append(asked)
        if again:
            self._effects.append(Send(node.node, again))

    # ------------------------------------------------------------------ endings

    def stranded(self, own: bytes) -> frozenset[bytes]:
        """Return the tasks that no node other than ``own`` could run now."""
        others = [node for node in self._nodes.values() if node.usable and node.node != own]
        kinds = {task.kind: task for task in self._tasks.values()}
        stranded = {kind for kind, task in kinds.items() if not any(node.can_run(task) for node in others)}
        return frozenset(task.id for task in self._tasks.values() if task.kind in stranded)

    def _release(self, task: OwnedTask) -> None:
        """Let go of a task that its node owns from now on."""
        del self._tasks[task.id]
        self._nodes[task.node or b""].take(task)
        task.node = b""
        self._discarding.spare(task)
        self._schedule.timers.cancel(task.id)

    def _settle(self, task: OwnedTask, outcome: Outcome) -> None:
        del self._tasks[task.id]
        if task.node:
            self._nodes[task.node].take(task)
        task.node = b""
        ending = outcome[0]
        task.state = _DONE_STATE if ending is _DONE else STATE_OF_ENDING[ending]
        self._ended.append((task, outcome))
        if task.withdrawing:
            withdrawn = outcome.ending is Ending.CANCELLED
            self._effects.append(WithdrawAnswered(task.id, withdrawn, len(task.deaths or ()) if withdrawn else 0))
        if task.revoked:
            self._discarding.settled(task, outcome)
        if task.expires_at is not None:
            self._schedule.timers.cancel(task.id)
        if task.retries:
            self._retries.timers.cancel(task.id)


def _text(result: Result) -> str:
    text = join_payload(result.payload)[: 4 * LONGEST_TEXT]  # a character takes four bytes at most
    return text.decode("utf-8", "replace")[:LONGEST_TEXT]
