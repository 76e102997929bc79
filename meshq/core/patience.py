"""How long an owner's tasks wait in vain: for any node at all, or for one that offers what they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshq.core.accounts import NodeAccount, WaitingQueue
from meshq.core.owned import Ending, Outcome, OwnedTask

UNKNOWN_TASK_S = 0.9
"""How long a function that no node offers is waited for, so that the caller knows within a second."""


class Patience:
    """Gives up what waits too long, by way of ``settle``. ``no_nodes_timeout`` is in seconds."""

    def __init__(
        self,
        nodes: Mapping[bytes, NodeAccount],
        settle: Callable[[OwnedTask, Outcome], None],
        no_nodes_timeout: float,
        now: float,
    ) -> None:
        self.node_seen_at = now
        """When there was last a node that takes work, as far as tasks waited for one; at first, the beginning."""
        self._nodes = nodes
        self._settle = settle
        self._no_nodes_timeout = no_nodes_timeout

    def review(self, queue: WaitingQueue, now: float) -> float:
        """Settle what waits in vain, for this function or for any node at all; return when to look again."""
        nodes = self._nodes.values()
        present = any(node.lost_at is None and not node.draining for node in nodes)
        if present:
            self.node_seen_at = now
        elif now - self.node_seen_at >= self._no_nodes_timeout:
            self._give_up(queue, now, Ending.NO_NODES, self._no_nodes_timeout)
        if present and not any(self._may_offer(node, queue, now) for node in nodes):
            due = queue.hoped_at + UNKNOWN_TASK_S
            if now < due:
                return due
            self._give_up(queue, now, Ending.UNKNOWN_TASK, 0.0)
        queue.hoped_at = now
        return now + UNKNOWN_TASK_S

    def _may_offer(self, node: NodeAccount, queue: WaitingQueue, now: float) -> bool:
        """Whether the node offers the function, or did so a moment ago and may come back, as after a restart."""
        if node.draining and node.drains_since is None:
            node.drains_since = now
        left_at = node.lost_at if node.drains_since is None else node.drains_since
        return (left_at is None or now - left_at <= self._no_nodes_timeout) and node.can_run(queue)

    def _give_up(self, queue: WaitingQueue, now: float, ending: Ending, waited: float) -> None:
        while (task := queue.head()) is not None and now - task.since >= waited:
            self._settle(task, Outcome(ending))
