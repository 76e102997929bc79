"""Revoked ids that nodes tell each other: a node that was away when a task was revoked learns of it all the same."""

from __future__ import annotations

from meshq.core.held import ClientAccount
from meshq.core.holding import HolderEffect, RevocationsHeard
from meshq.core.reporting import Reports
from meshq.core.withdrawals import Withdrawals
from meshq.protocol.messages import RevokedDigest, RevokedIds


class Gossip:
    """Answers the digests of peers that are clients of this node, and takes in what peers refuse."""

    def __init__(
        self,
        accounts: dict[bytes, ClientAccount],
        withdrawals: Withdrawals,
        reports: Reports,
        effects: list[HolderEffect],
    ) -> None:
        self._accounts = accounts
        self._withdrawals = withdrawals
        self._reports = reports
        self._effects = effects

    def on_digest(self, client: ClientAccount, message: RevokedDigest, now: float) -> None:
        """Tell a peer what is refused here, if that is something else."""

    def on_ids(self, client: ClientAccount, message: RevokedIds, now: float) -> None:
        """Refuse what a peer refuses."""

    def on_heard(self, event: RevocationsHeard, now: float) -> None:
        """Refuse what a peer refuses, or this node in an earlier life."""
