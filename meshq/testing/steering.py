"""What control commands ask of a simulated node, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshq.core.holding import (
    HolderEvent,
    PurgeAnswered,
    PurgeAsked,
    RateLimitSet,
    ResizeAsked,
    RevokeAnswered,
    RevokeAsked,
)
from meshq.testing.ledger import Ledger

if TYPE_CHECKING:
    from meshq.testing.node import SimNode


class SimSteering:
    """The side of a node that control commands see; events for the holder go to ``tell_holder``."""

    def __init__(self, node: SimNode, ledger: Ledger, tell_holder: Callable[[HolderEvent], None]) -> None:
        self._node = node
        self._ledger = ledger
        self._tell_holder = tell_holder
        self.revoked: list[int] = []
        """The tokens of the revokes that were answered."""
        self.purged: dict[bytes, PurgeAnswered] = {}
        """Command → what the holder has answered to a purge."""
        self.discarded: dict[bytes, int] = {}
        """Command → how many tasks of the node's own a purge has discarded."""
        self.effects: dict[type[Any], Callable[[Any], None]] = {
            RevokeAnswered: self._on_revoked,
            PurgeAnswered: self._on_purged,
        }

    def revoke(self, token: int, tasks: list[bytes], signal: int, command: bytes) -> None:
        """Revoke tasks here."""
        self._revoke_own(tasks)
        self._tell_holder(RevokeAsked((token, tasks), tasks, signal, command))

    def purge(self, command: bytes, seconds: float) -> None:
        """Discard what waits, here and at the clients."""
        self._ledger.revoke_asked(self._node.held(), "purge")
        own = self._node.entrusted
        own.purge(command, lambda count: self.discarded.update({command: count}), self._node.agenda.now)
        self._tell_holder(PurgeAsked(command, command, seconds))

    def limit(self, function: str, rate: float) -> None:
        """Set a rate limit, in runs a second; 0 lifts it."""
        self._tell_holder(RateLimitSet(function, rate))

    def resize(self, slots: int) -> None:
        """Have so many slots; refused while the node starts or drains."""
        if self._node.is_ready and not self._node.draining:
            self._node.resize(slots)
            self._tell_holder(ResizeAsked(slots))

    def _revoke_own(self, tasks: list[bytes]) -> None:
        self._node.entrusted.revoke(tasks, self._node.agenda.now)

    def _on_revoked(self, effect: RevokeAnswered) -> None:
        token, tasks = effect.token
        self.revoked.append(token)
        expiry = self._node.holder._revocations._expiry
        remembered = [task for task in tasks if expiry.get(task) is not None]  # all, unless there are too many
        self._ledger.promises.refused(self._node.name, remembered)

    def _on_purged(self, effect: PurgeAnswered) -> None:
        self.purged[effect.token] = effect
        # What has come since from owners that did not answer is discarded too.
        self._ledger.revoke_asked(self._node.held(), "purge")
