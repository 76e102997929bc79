"""Purge, as an owner carries it out: its tasks that have not started are discarded, and counted once.

What waits here ends at once. What nodes have, and is not known to have started, is called back; each of those
counts when its node has let go of it, or is lost. What a node has ended itself is counted there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from meshq.core.accounts import NodeAccount
from meshq.core.events import Send
from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owning import OwnerEffect, PurgeAnswered, PurgeAsked
from meshq.core.timers import Timers
from meshq.protocol.messages import Message, Relay, Relayed, Withdraw

ANSWER_S = 0.4
"""How long the answer waits for nodes; what they let go of later is discarded, and not counted.

A node that asks waits for 0.6 of its caller's second, and counts an owner as silent then, whichever node is.
"""
MAX_KNOWN = 1000
"""Purges remembered, so that none is carried out twice; nodes name them, so there must be an end to it."""


class _Purge:
    """One purge: what it has come to, and who is to be told."""

    def __init__(self, command: bytes) -> None:
        self.command = command
        self.discarded = 0
        self.called_back = 0
        """Tasks that nodes are still to answer for."""
        self.is_over = False
        self.nodes: list[bytes] = []
        self.is_own = False
        """Whether it was asked for here."""


class Discarding:
    """The purges of one owner."""

    def __init__(
        self,
        tasks: Mapping[bytes, OwnedTask],
        nodes: Mapping[bytes, NodeAccount],
        settle: Callable[[OwnedTask, Outcome], None],
        effects: list[OwnerEffect],
    ) -> None:
        self._tasks = tasks
        self._nodes = nodes
        self._settle = settle
        self._effects = effects
        self._purges: OrderedDict[bytes, _Purge] = OrderedDict()
        self._purge_of: dict[bytes, _Purge] = {}
        """Task called back → the purge that it counts for."""
        self.timers: Timers[_Purge] = Timers()
        self.answers: list[OwnerEffect] = []
        """For the owner to give out once the tasks are settled, so that who asked finds them so."""

    def on_asked(self, event: PurgeAsked, now: float) -> None:
        """Carry a purge out that was asked for here."""
        purge = self._purge(event.command, now)
        purge.is_own = True
        if purge.is_over:
            self.answers.append(PurgeAnswered(purge.command, purge.discarded))

    def on_relayed(self, node: NodeAccount, message: Relay, now: float) -> None:
        """Carry a purge out that a node passes on, and tell it the count."""
        purge = self._purge(message.command, now)
        if purge.is_over:
            self.answers.append(Send(node.node, [Relayed(purge.command, purge.discarded)]))
        elif node.node not in purge.nodes:
            purge.nodes.append(node.node)

    def settled(self, task: OwnedTask, outcome: Outcome) -> None:
        """Take note that a revoked task has ended, other than by a node's result."""
        purge = self._purge_of.pop(task.id, None)
        if purge is not None:
            discarded = outcome.ending is Ending.REVOKED or outcome.ending is Ending.CANCELLED  # who asked first
            purge.discarded += discarded and not purge.is_over
            self._answered(purge)

    def spare(self, task: OwnedTask) -> None:
        """Take a task out that no purge is to discard any more: its node has started or ended it."""
        purge = self._purge_of.pop(task.id, None)
        if purge is not None:
            task.revoked = False
            self._answered(purge)

    def tick(self, now: float) -> None:
        """Answer where nodes have not."""
        for purge in self.timers.pop_due(now):
            self._end(purge)

    def _purge(self, command: bytes, now: float) -> _Purge:
        """Return the purge of that id, which begins now unless it is known."""
        purge = self._purges.get(command)
        if purge is None:
            if len(self._purges) >= MAX_KNOWN:
                self._purges.popitem(last=False)
            purge = self._purges[command] = _Purge(command)
            self._begin(purge, now)
        return purge

    def _begin(self, purge: _Purge, now: float) -> None:
        sends: dict[bytes, list[Message]] = {}
        for task in list(self._tasks.values()):
            if task.node is None:
                purge.discarded += 1
                self._settle(task, Outcome(Ending.REVOKED))
            elif _may_be_called_back(task):
                task.revoked = task.recalled = True
                task.sent_at = now
                self._purge_of[task.id] = purge
                sends.setdefault(task.node, []).append(Withdraw(task.id, task.attempt))
        self._effects.extend(Send(node, messages) for node, messages in sends.items())
        purge.called_back = sum(map(len, sends.values()))
        if purge.called_back:
            self.timers.set(purge, now + ANSWER_S)
        else:
            purge.is_over = True

    def _answered(self, purge: _Purge) -> None:
        purge.called_back -= 1
        if not purge.called_back and not purge.is_over:
            self.timers.cancel(purge)
            self._end(purge)

    def _end(self, purge: _Purge) -> None:
        purge.is_over = True
        if purge.is_own:
            self.answers.append(PurgeAnswered(purge.command, purge.discarded))
        for node_id in purge.nodes:
            node = self._nodes.get(node_id)
            if node is not None and node.lost_at is None:
                self.answers.append(Send(node_id, [Relayed(purge.command, purge.discarded)]))


def _may_be_called_back(task: OwnedTask) -> bool:
    """Whether a node may let go of the task, and it is neither that node's own nor wanted back already."""
    is_the_nodes = task.detached and task.accepted
    return not (is_the_nodes or task.withdrawing or task.revoked or task.state is TaskState.STARTED)
