"""Purge: all tasks that wait are discarded, each counted once, by its owner where that can be reached.

The node tells its clients; each withdraws what it owns, and says how many that were. A node counts only what
it owns itself and what it holds for owners that are absent, or do not answer in time.
"""

from __future__ import annotations

from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.held import ClientAccount
from meshq.core.holding import HolderEffect, PurgeAsked
from meshq.core.parking import Parking
from meshq.core.reporting import Reports
from meshq.protocol.messages import Relayed


class Purging:
    """The purges under way; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        accounts: dict[bytes, ClientAccount],
        own_client: bytes,
        dispatch: Dispatch,
        parking: Parking,
        reports: Reports,
        endings: Endings,
        effects: list[HolderEffect],
    ) -> None:
        self._accounts = accounts
        self._own_client = own_client
        self._dispatch = dispatch
        self._parking = parking
        self._reports = reports
        self._endings = endings
        self._effects = effects

    def on_asked(self, event: PurgeAsked, now: float) -> None:
        """Tell the clients, and discard what has no owner here."""

    def on_relayed(self, client: ClientAccount, message: Relayed, now: float) -> None:
        """Take a client's count."""

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return None

    def tick(self, now: float) -> None:
        """Answer for the clients that are silent."""
