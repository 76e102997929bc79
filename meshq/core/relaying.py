"""What a node passes on: revokes and purges to the owners of tasks, revoked ids to the nodes that are its clients.

Whoever runs ``meshq ctl`` reaches nodes only; the clients that own the tasks, and the nodes that are out of its
reach just now, learn of it from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from meshq.core.held import NODE, ClientAccount
from meshq.core.holding import HolderEffect, RevocationsAdded
from meshq.core.reporting import Reports
from meshq.ids import ID_BYTES
from meshq.protocol.messages import Message, Relay, RevokedIds

_OWNERS = frozenset({"client", "controller"})
PAGE = 2_000
"""How many ids go into one message, of some 60 KB: what is urgent gets in between."""

T = TypeVar("T")


class Relaying:
    """Tells clients of what they must know; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        clients: Mapping[bytes, ClientAccount],
        own_client: bytes,
        reports: Reports,
        effects: list[HolderEffect],
    ) -> None:
        self._clients = clients
        self._own_client = own_client
        self._reports = reports
        self._effects = effects

    def revoke(self, command: bytes, tasks: Sequence[bytes]) -> None:
        """Tell the owners within reach that these tasks are revoked; ``command`` is b"" where there was none."""
        owners = self._owners()
        for number, page in enumerate(_pages(tasks)):
            # Each page is carried out of its own, and but once, whichever nodes it comes from.
            own_id = command if command and not number else _derived(command, page)
            _tell(self._reports, owners, Relay(own_id, "revoke", page))

    def purge(self, command: bytes) -> list[ClientAccount]:
        """Tell the owners within reach that all waiting tasks are to be discarded; return who was told."""
        owners = self._owners()
        _tell(self._reports, owners, Relay(command, "purge", []))
        return owners

    def refused(self, ids: list[tuple[bytes, float]], source: ClientAccount | None) -> None:
        """Have ids that are refused as of now kept and told to peers, but for the one that told them."""
        if not ids:
            return
        self._effects.append(RevocationsAdded(ids))
        peers = [
            client
            for client in self._clients.values()
            if client.connected and client.role == NODE and client is not source
        ]
        for page in revoked_pages(ids):
            _tell(self._reports, peers, page)

    def _owners(self) -> list[ClientAccount]:
        return [
            client
            for client in self._clients.values()
            if client.connected
            and not client.leaving
            and client.role in _OWNERS
            and client.client != self._own_client
        ]


def revoked_pages(ids: Sequence[tuple[bytes, float]]) -> Iterator[RevokedIds]:
    """Yield ids and the seconds for which they are refused, as the messages that tell a peer of them."""
    for page in _pages(ids):
        yield RevokedIds([list(pair) for pair in page])


def _pages(items: Sequence[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), PAGE):
        yield list(items[start : start + PAGE])


def _derived(command: bytes, tasks: list[bytes]) -> bytes:
    """Return the id of a page, the same at each node that tells of the same tasks."""
    return hashlib.blake2b(command + b"".join(tasks), digest_size=ID_BYTES).digest()


def _tell(reports: Reports, clients: list[ClientAccount], message: Message) -> None:
    for client in clients:
        reports.say(client, message)
