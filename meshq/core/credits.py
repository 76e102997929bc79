"""Credit: a node's leave to each client, as an absolute cap on that client's unsettled attempts there.

Rules. A client alone gets what keeps the slots busy for some 10 ms, and one attempt for each slot that is at a
long run: what would wait behind that stays with its owner, who may have another node for it. Of runs of up to
20 ms that is one for each slot, to be at hand there, and one that is queued. Several clients that have work share
that evenly, and each gets at least one attempt more than there are slots. A cap is a number, not an increment: a
message that is lost leaks nothing, and the highest sequence counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshq.core.budget import Budget
from meshq.core.held import NODE, ClientAccount
from meshq.core.pace import window
from meshq.protocol.messages import Credit

REFRESH_S = 0.05
"""How often the others are told of changes that one client's work brings about."""


class Credits:
    """Works out what each client may send, and what is worth telling it."""

    def __init__(self, slots: int, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._slots = slots
        self._active = 1
        self._cap_bytes = self._budget.leave(1)
        self._to_run = 0

    def resize(self, slots: int) -> None:
        """Reckon with so many slots from now on."""
        self._slots = slots

    def survey(self, clients: Iterable[ClientAccount]) -> None:
        """Count the clients that have work here, and the work."""
        active = total = 0
        for client in clients:
            client.surveyed = 0 if client.stalled else client.to_run  # nothing more of it is started
            active += client.surveyed > 0
            total += client.surveyed
        self._active, self._to_run = max(1, active), total
        self._cap_bytes = self._budget.leave(self._active)

    def update(self, client: ClientAccount, *, long: int = 0, force: bool = False) -> Credit | None:
        """Return the message that brings the client up to date, or None where it hardly changed.

        So many of the slots are at ``long`` runs.
        """
        slots, cap_bytes = self._slots, self._cap_bytes
        cap = window(slots, client.mean_s, long) // self._active
        if cap <= slots:
            cap = slots + 1
        # Both of the same moment: what the client has done since says nothing about the others.
        others = self._to_run - client.surveyed
        is_known = 0.75 * client.cap <= cap <= 1.25 * client.cap
        if is_known and (others != client.others or cap_bytes != client.cap_bytes):  # as a rule they are the same
            is_known = _close(others + slots, client.others + slots) and _close(cap_bytes, client.cap_bytes)
            if client.role == NODE and (others < slots) != (client.others < slots):
                is_known = False  # nodes send each other work only where it finds a slot idle
        if is_known and not force:
            return None
        client.cap, client.cap_bytes, client.others = cap, cap_bytes, others
        client.sequence += 1
        return Credit(client.sequence, cap, others, cap_bytes)


def _close(new: int, old: int) -> bool:
    return 0.75 * old <= new <= 1.25 * old
