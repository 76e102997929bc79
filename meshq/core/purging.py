"""Purge: all tasks that wait are discarded, each counted once, by its owner where that can be reached.

The node tells its clients; each withdraws what it owns, and says how many that were. A node counts only what
it holds for owners that are absent, or do not answer in time; what this node owns itself, its own owner counts.
What it holds for other nodes it discards too: these get the command themselves, and count what they withdraw
before that, but nothing that has come back as discarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.held import NODE, ClientAccount, Held
from meshq.core.holding import HolderEffect, PurgeAnswered, PurgeAsked
from meshq.core.parking import Parking
from meshq.core.relaying import Relaying
from meshq.core.timers import Timers
from meshq.protocol.messages import Relayed, Status

_SHARE = 0.6
"""Of the time that the caller waits: what the clients have to answer in, so that the answer still arrives."""
_LONGEST_S = 60.0
MAX_UNDER_WAY = 100
"""The threat: purges without end, each to be answered in an hour."""


class _Purge:
    """One purge on its way."""

    def __init__(self, asked: list[ClientAccount]) -> None:
        self.tokens: list[Any] = []
        self.silent = {client.client: client for client in asked}
        """Those that have not answered yet."""
        self.discarded: dict[bytes, int] = {}
        """Client → what it says that it has discarded."""


class Purging:
    """The purges under way; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        clients: Mapping[bytes, ClientAccount],
        own_client: bytes,
        dispatch: Dispatch,
        parking: Parking,
        relaying: Relaying,
        endings: Endings,
        effects: list[HolderEffect],
    ) -> None:
        self._clients = clients
        self._own_client = own_client
        self._dispatch = dispatch
        self._parking = parking
        self._relaying = relaying
        self._endings = endings
        self._effects = effects
        self._purges: dict[bytes, _Purge] = {}
        """By command, the oldest first."""
        self.timers: Timers[bytes] = Timers()

    def on_asked(self, event: PurgeAsked, now: float) -> None:
        """Tell the clients; a command that came before is answered together with the first."""
        command = event.command
        if command not in self._purges:
            if len(self._purges) >= MAX_UNDER_WAY:
                self._answer(next(iter(self._purges)), now)
            self._purges[command] = _Purge(self._relaying.purge(command))
            # In this order, seconds that are no number mean the longest time.
            self.timers.set(command, now + max(0.0, min(_LONGEST_S, _SHARE * event.seconds)))
        self._purges[command].tokens.append(event.token)
        self._answer_if_complete(command, now)

    def on_relayed(self, client: ClientAccount, message: Relayed, now: float) -> None:
        """Take a client's count; the first one counts."""
        purge = self._purges.get(message.command)
        if purge is not None and purge.silent.pop(client.client, None) is not None:
            purge.discarded[client.client] = max(0, message.discarded)
            self._answer_if_complete(message.command, now)

    def tick(self, now: float) -> None:
        """Answer for the clients that are silent."""
        for command in self.timers.pop_due(now):
            self._answer(command, now)

    def _answer_if_complete(self, command: bytes, now: float) -> None:
        if not self._purges[command].silent:
            self._answer(command, now)

    def _answer(self, command: bytes, now: float) -> None:
        """Discard what waits here for owners that have not, and say what became of it all."""
        self.timers.cancel(command)
        purge = self._purges.pop(command)
        own = sum(
            self._discard(client, now)
            for client in self._clients.values()
            if client.client in purge.silent
            or client.role == NODE
            or not (client.connected or client.client == self._own_client)
        )
        labels = [client.label for client in purge.silent.values() if client.connected and not client.leaving]
        for token in purge.tokens:
            self._effects.append(PurgeAnswered(token, own, purge.discarded, labels))

    def _discard(self, client: ClientAccount, now: float) -> int:
        """End what waits here for a client; return how much that was. A run ahead at a worker is left."""
        helds: list[Held] = self._dispatch.clear(client) + self._parking.clear(client)
        for held in helds:
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
        return len(helds)
