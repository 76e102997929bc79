"""Handing over: a node that drains entrusts its detached tasks to peers, where their clients are gone.

What waits is sent to a peer as a *detached* task, what a node has and has not started is called back first. Once
a peer has accepted one, that peer owns it, and it is forgotten here. As long as no peer can take a task, it goes
on here as before: nothing waits for a peer that may never come. Whether a task is detached changes only while it
is in no node's account, as the books count by it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from math import inf

from meshq.core.accounts import NodeAccount
from meshq.core.answers import Handler
from meshq.core.events import Send
from meshq.core.losses import Losses, take_over_deaths
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.owning import HandedOver, HandOverAsked, OwnerEffect
from meshq.core.retries import Retries
from meshq.core.routing import Router
from meshq.protocol.messages import Accepted, Message, Started, Withdraw

_MOST_RETRIES = 1_000_000
"""As many as a node believes that a task has had; the number comes from outside."""
SLICE = 2_000
"""How many tasks are looked at in one go, which takes some 10 ms: more would hold up what else the node does."""


class HandingOver:
    """The tasks of one owner that are to be handed over.

    ``release`` takes a task out of the owner's books; ``effects`` is where the owner gathers what it asks for.
    """

    def __init__(
        self,
        tasks: Mapping[bytes, OwnedTask],
        nodes: Mapping[bytes, NodeAccount],
        router: Router,
        losses: Losses,
        retries: Retries,
        release: Callable[[OwnedTask], None],
        effects: list[OwnerEffect],
    ) -> None:
        self._tasks = tasks
        self._nodes = nodes
        self._router = router
        self._losses = losses
        self._retries = retries
        self._release = release
        self._effects = effects
        self._wanted: OrderedDict[bytes, OwnedTask] = OrderedDict()
        """Those whose turn is next come first."""
        self._own = b""

    def on_asked(self, event: HandOverAsked, now: float) -> None:
        """Begin to hand tasks over; those that are settled already are passed by."""
        self._own = event.own
        own = self._nodes.get(event.own)
        if own is not None:
            own.detached_until = inf
        self._losses.on_taken_back = self._on_taken_back
        self._wanted.update((task_id, self._tasks[task_id]) for task_id in event.tasks if task_id in self._tasks)
        self.review(now)

    def overhear(self, handler: Handler) -> Handler:
        """Return a handler of what nodes say of attempts that they have, which looks for what was taken over."""

        def overheard(node: NodeAccount, message: Accepted | Started, now: float) -> None:
            handler(node, message, now)
            task = node.in_flight.get(message.task)
            if task is not None and self._wanted.get(task.id) is task:
                self._pass_on_if_accepted(task)

        return overheard

    # ------------------------------------------------------------------ in turn

    def review(self, now: float) -> None:
        """Go through some of what is to be handed over: send it to peers, call it back, or let it go on here."""
        turn: dict[bytes, bool] = {}
        recalls: dict[bytes, list[Message]] = {}
        peers = _Peers(self._peers(now))
        for task in list(islice(self._wanted.values(), SLICE)):
            self._wanted.move_to_end(task.id)
            if self._tasks.get(task.id) is not task:
                del self._wanted[task.id]
            elif task.node is None:
                detached = peers.take(task)
                if detached != task.detached:
                    turn[task.id] = detached
            elif task.detached:
                self._pass_on_if_accepted(task)
            elif _may_be_recalled(task) and peers.take(task, eagerly=True):
                task.recalled = True
                task.sent_at = now
                recalls.setdefault(task.node, []).append(Withdraw(task.id, task.attempt))
        self._effects += [Send(node, messages) for node, messages in recalls.items()]
        if turn:
            self._turn(turn, now)

    def _turn(self, turn: dict[bytes, bool], now: float) -> None:
        """Queue waiting tasks anew, to go to a peer as detached ones, or to run here."""
        pauses = self._retries.timers
        for task_id, detached in turn.items():
            due_at = pauses.get(task_id)
            if due_at is not None and detached:
                # It waits for its next try, and may do so as well at the peer.
                pauses.cancel(task_id)
                task = self._wanted[task_id]
                task.due_at, task.detached = due_at, True
                self._router.wait(task, now)
        for task in self._router.take_out(turn.keys()):
            task.detached = turn[task.id]
            self._router.wait(task, now)

    def _on_taken_back(self, task: OwnedTask, now: float) -> None:
        """Decide where a task may go that a node has let go of."""
        if self._wanted.get(task.id) is task:
            task.detached = any(node.can_run(task) for node in self._peers(now))

    def _peers(self, now: float) -> list[NodeAccount]:
        """Return the peers that may be sent detached tasks now."""
        nodes = (node for node in self._nodes.values() if node.node != self._own)
        return [node for node in nodes if node.usable and node.detached_until <= now]

    def _pass_on_if_accepted(self, task: OwnedTask) -> None:
        """Let go of a task that a peer owns by now; not of one that is wanted back from there."""
        if not (task.detached and task.accepted) or task.withdrawing or task.recalled:
            return
        del self._wanted[task.id]
        self._release(task)
        last = self._effects[-1] if self._effects else None
        if isinstance(last, HandedOver):
            last.tasks.append(task)
        else:
            self._effects.append(HandedOver([task]))


class _Peers:
    """The peers as they are at one moment: what they take is judged once for all tasks that are alike."""

    def __init__(self, peers: list[NodeAccount]) -> None:
        self._peers = peers
        self._judged: dict[tuple[str, str, frozenset[str], bool], bool] = {}

    def take(self, task: OwnedTask, *, eagerly: bool = False) -> bool:
        """Whether one of them can take the task; ``eagerly`` where it had room for its like of late."""
        key = (*task.kind, eagerly)
        known = self._judged.get(key)
        if known is None:
            known = any(node.can_run(task) and not (eagerly and node.refusals) for node in self._peers)
            self._judged[key] = known
        return known


def take_up(task: OwnedTask) -> None:
    """Go on counting, for a task that was entrusted to this owner, where those who had it before have come to."""
    options = task.options
    if options is None or options.keys().isdisjoint({"retries", "deaths"}):
        return
    task.options = left = dict(options)
    task.retries = _count(left.pop("retries", 0))
    take_over_deaths(task, _count(left.pop("deaths", 0)))


def _count(value: object) -> int:
    return max(0, min(value, _MOST_RETRIES)) if type(value) is int else 0


def _may_be_recalled(task: OwnedTask) -> bool:
    """Whether its node may have the task without having started it, and it is not wanted back already."""
    return not (task.recalled or task.withdrawing or task.revoked or task.state is TaskState.STARTED)
