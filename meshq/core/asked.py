"""Tasks that somebody asks for by their ids: whose they are, and for how long they are kept for who asks.

A client that vanished without BYE leaves its queue and its results behind for a while, its *lease*. Who asks for
one of its tasks waits for it, so each asking renews the lease, as a word of the client itself would. A node that
drains stays for a moment for those who have asked, and have not been told the end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping

from meshq.core.held import ClientAccount, is_there

PATIENCE_S = 1.5
"""Who waits for a task asks again each quarter of a second, or each second where there are thousands of tasks."""
MAX_AWAITED = 10_000
"""The threat: a peer that asks for ever other tasks. The oldest are forgotten first."""
OWNER_BYTES = 8
"""As much of a client's id as stands for it where others ask."""


class Asked:
    """Looks into the accounts of a node's clients; ``own_client`` is the id of the node's own owner."""

    def __init__(self, clients: Mapping[bytes, ClientAccount], own_client: bytes) -> None:
        self._clients = clients
        self._own_client = own_client
        self._awaited: OrderedDict[bytes, float] = OrderedDict()
        """Tasks that had not ended when somebody asked for them last → when that was; the oldest first."""

    def owners(self, tasks: Collection[bytes], now: float) -> dict[bytes, bytes]:
        """Renew the leases of the clients that these tasks are held for; return what stands for each owner.

        Tasks that are not held are left out.
        """
        wanted = set(tasks)
        found: dict[bytes, bytes] = {}
        ended: set[bytes] = set()
        for client in self._others():
            theirs = client.held.keys() & wanted
            if theirs:
                client.asked_at = now
                found |= dict.fromkeys(theirs, client.client[:OWNER_BYTES])
                ended |= theirs & client.unacknowledged.keys()
        self._await(wanted, found.keys() - ended, now)
        return found

    def _await(self, asked: Collection[bytes], unfinished: Collection[bytes], now: float) -> None:
        """Note who is waited for; whoever has ended is told of in the answer to this asking."""
        for task in asked:
            self._awaited.pop(task, None)
        for task in unfinished:
            self._awaited[task] = now
        while len(self._awaited) > MAX_AWAITED:
            self._awaited.popitem(last=False)

    def awaited_until(self, now: float) -> float | None:
        """Return until when somebody may still ask for a task's end; None: nobody waits."""
        while self._awaited and next(iter(self._awaited.values())) + PATIENCE_S <= now:
            self._awaited.popitem(last=False)
        return next(reversed(self._awaited.values())) + PATIENCE_S if self._awaited else None

    def present(self, owners: Collection[bytes], now: float) -> list[bytes]:
        """Return which of these owners are within reach of the node."""
        there = {client.client[:OWNER_BYTES] for client in self._others() if is_there(client, now)}
        return sorted(there.intersection(owners))

    def _others(self) -> Iterator[ClientAccount]:
        return (client for client in self._clients.values() if client.client != self._own_client)
