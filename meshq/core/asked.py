"""Tasks that somebody asks for by their ids: whose they are, and for how long they are kept for who asks.

A client that vanished without BYE leaves its queue and its results behind for a while, its *lease*. Who asks for
one of its tasks waits for it, so each asking renews the lease, as a word of the client itself would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from meshq.core.held import ClientAccount
from meshq.core.reporting import SILENT_S

OWNER_BYTES = 8
"""As much of a client's id as stands for it where others ask."""


class Asked:
    """Looks into the accounts of a node's clients; ``own_client`` is the id of the node's own owner."""

    def __init__(self, clients: Mapping[bytes, ClientAccount], own_client: bytes) -> None:
        self._clients = clients
        self._own_client = own_client

    def owners(self, tasks: Collection[bytes], now: float) -> dict[bytes, bytes]:
        """Renew the leases of the clients that these tasks are held for; return what stands for each owner.

        Tasks that are not held are left out.
        """
        wanted = set(tasks)
        found: dict[bytes, bytes] = {}
        for client in self._others():
            theirs = client.held.keys() & wanted
            if theirs:
                client.asked_at = now
                found |= dict.fromkeys(theirs, client.client[:OWNER_BYTES])
        return found

    def present(self, owners: Collection[bytes], now: float) -> list[bytes]:
        """Return which of these owners are within reach of the node."""
        there = {client.client[:OWNER_BYTES] for client in self._others() if is_there(client, now)}
        return sorted(there.intersection(owners))

    def _others(self) -> Iterator[ClientAccount]:
        return (client for client in self._clients.values() if client.client != self._own_client)


def is_there(client: ClientAccount, now: float) -> bool:
    """Whether the client is connected, stays, and was heard just now."""
    return client.connected and not client.leaving and now < client.heard_at + SILENT_S


def last_wanted_at(client: ClientAccount) -> float:
    """Return when the client, or somebody who asks for its tasks, was last heard: its lease counts from then."""
    return max(client.heard_at, client.asked_at)
