"""Anti-entropy: an owner asks nodes whether they still have what they have accepted, and said no more of.

A node says nothing of what it has; what it has not it answers as withdrawn and unknown, and the owner sends that
again. So nothing waits for ever for a node that has forgotten it, as after an absence longer than nodes keep
what they have of a client.
"""

from __future__ import annotations

from math import inf

from meshq.core.accounts import NodeAccount
from meshq.protocol.messages import Holding

ASK_S = 5.0
"""How often a node is asked, and for how long what it has accepted is not asked for."""
MAX_PAIRS = 1_000
"""Attempts asked for at a time, all in turn."""


class Reconciling:
    """Whom to ask when, and for what."""

    def __init__(self) -> None:
        self._asked: dict[bytes, tuple[float, int]] = {}
        """Node → when it is to be asked next, and how many attempts have had their turn."""

    def ask(self, node: NodeAccount, now: float) -> Holding | None:
        """Return what to ask a node now, or None.

        A detached task that was accepted is the node's: the owner would not send it again.
        """
        due, turn = self._asked.get(node.node, (-inf, 0))
        if now < due:
            return None
        silent = [
            [task.id, task.attempt]
            for task in node.in_flight.values()
            if task.accepted and not task.detached and now - task.sent_at >= ASK_S
        ]
        first = turn if turn < len(silent) else 0
        pairs = silent[first : first + MAX_PAIRS]
        self._asked[node.node] = now + ASK_S, first + len(pairs)
        return Holding(pairs) if pairs else None

    def forget(self, nodes: dict[bytes, NodeAccount]) -> None:
        """Forget the nodes that are none of these."""
        for node in self._asked.keys() - nodes.keys():
            del self._asked[node]
