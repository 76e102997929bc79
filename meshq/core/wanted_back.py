"""Tasks that an owner wants back: withdrawn, revoked, or waiting at a busy node while another one is idle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from meshq.core.accounts import NodeAccount, WaitingQueue
from meshq.core.discarding import Discarding
from meshq.core.events import Send
from meshq.core.losses import Losses
from meshq.core.overtaking import overtaken
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owning import OwnerEffect, Revoked, WithdrawAnswered, WithdrawAsked
from meshq.core.rebalance import called_back
from meshq.protocol.messages import Withdraw, Withdrawn


class WantedBack:
    """Calls tasks back; ``effects`` is where the owner gathers what it asks for."""

    def __init__(
        self,
        tasks: Mapping[bytes, OwnedTask],
        nodes: Mapping[bytes, NodeAccount],
        losses: Losses,
        discarding: Discarding,
        settle: Callable[[OwnedTask, Outcome], None],
        effects: list[OwnerEffect],
    ) -> None:
        self._tasks = tasks
        self._nodes = nodes
        self._losses = losses
        self._discarding = discarding
        self._settle = settle
        self._effects = effects

    def on_withdraw_asked(self, event: WithdrawAsked, now: float) -> None:
        """Withdraw tasks: at once where they wait here, else by way of their nodes."""
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

    def on_revoked(self, event: Revoked, now: float) -> None:
        """End what waits here, and let nothing of it go out again."""
        for task_id in event.tasks:
            task = self._tasks.get(task_id)
            if task is None:
                continue
            self._discarding.spare(task)  # it is to end for this reason, whatever its node answers
            task.revoked = True
            if task.node is None:
                self._settle(task, Outcome(Ending.REVOKED))

    def on_withdrawn(self, node: NodeAccount, message: Withdrawn, now: float) -> None:
        """Take a task back that its node has let go of; what has started stays."""
        task = node.in_flight.get(message.task)
        if task is None or task.attempt != message.attempt:
            return
        was_asked = task.withdrawing or task.recalled or task.revoked
        task.recalled = False
        if message.outcome == "unknown" and task.once and not was_asked:
            self._losses.give_up(task, node, "the node knows nothing of it any more")
        elif message.outcome in ("dropped", "unknown"):
            # Where this is not asked for any more (a copy of WITHDRAW did it), the task must go out again.
            self._losses.wait_again(node, [task], now)
        else:
            self._discarding.spare(task)
            if task.withdrawing:
                task.withdrawing = False
                self._effects.append(WithdrawAnswered(task.id, False))

    def rebalance(self, now: float) -> None:
        """Call back what waits at a busy node, where an idle one could run it."""
        for node, task in list(called_back(self._nodes.values(), now)):
            if task.parked:
                node.pause(task, now)  # or it would be sent there again, while the other has not answered for all
            self._call_back(node, task, now)

    def overtake(self, queues: Iterable[WaitingQueue], now: float) -> None:
        """Call back what waits at nodes, for waiting tasks of a higher priority."""
        for node, task in overtaken(self._nodes.values(), queues, now):
            self._call_back(node, task, now)

    def _call_back(self, node: NodeAccount, task: OwnedTask, now: float) -> None:
        task.recalled = True
        task.sent_at = now
        self._effects.append(Send(node.node, [Withdraw(task.id, task.attempt)]))
