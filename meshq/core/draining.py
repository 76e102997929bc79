"""The drain of a node: what runs is finished, what waits goes elsewhere, nothing new is taken.

What waits is handed back to its clients. That goes for detached tasks as well, as long as their clients are within
reach; those of clients that are gone are handed over to peers. What no peer can take goes on here. After a grace,
if one is set, what still runs is ended, and goes the same way; what must not run twice is lost then. The node has
drained when nothing is left to run, or to be acknowledged by who is there, and nobody is likely to ask for an end.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshq.core.asked import Asked
from meshq.core.clients import Clients
from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.entrusting import DRAINS, Entrusting
from meshq.core.held import NODE, ClientAccount, Held, HeldState, Intent, is_silent, is_there
from meshq.core.holding import DrainAsked, GraceOver, HandOver, HolderEffect, KillWorker
from meshq.core.reporting import Reports
from meshq.core.slots import Slot
from meshq.core.withdrawals import Withdrawals
from meshq.core.work import WorkerGone
from meshq.protocol.messages import Bye, Nack, Status, Withdrawn

LOOK_S = 1.0
"""How often it is seen to detached tasks whose client has gone, or whose run has failed, meanwhile."""
_NO_TIME = b"the node was drained, and ended it after the grace for what runs"


class Draining:
    """One node's drain; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        accounts: Mapping[bytes, ClientAccount],
        own_client: bytes,
        dispatch: Dispatch,
        clients: Clients,
        withdrawals: Withdrawals,
        reports: Reports,
        endings: Endings,
        entrusting: Entrusting,
        asked: Asked,
        effects: list[HolderEffect],
    ) -> None:
        self.has_begun = False
        self.due: float | None = None
        """When ``tick`` is due."""
        self._accounts = accounts
        self._own_client = own_client
        self._dispatch = dispatch
        self._clients = clients
        self._withdrawals = withdrawals
        self._reports = reports
        self._endings = endings
        self._entrusting = entrusting
        self._asked = asked
        self._effects = effects

    def on_asked(self, event: DrainAsked, now: float) -> None:
        """Begin, or say it again."""
        self.has_begun = True
        self._clients.drain(now)
        self._look(now)

    def on_bye(self, client: ClientAccount, message: Bye, now: float) -> None:
        """See to what a client leaves behind."""
        self._withdrawals.on_bye(client, message, now)
        if self.due is not None:
            self.due = now

    def tick(self, now: float) -> None:
        """See to the detached tasks that are left."""
        if self.due is not None and self.due <= now:
            self._look(now)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left to run, and nobody is there who is to acknowledge a result or to ask for it."""
        is_busy = self._dispatch.running() or any(
            client.queue or client.unfinished or (client.unacknowledged and self._acknowledges(client, now))
            for client in self._accounts.values()
        )
        awaited_until = None if is_busy else self._asked.awaited_until(now)
        if awaited_until is not None:
            self.due = awaited_until if self.due is None else min(self.due, awaited_until)
        return not is_busy and awaited_until is None

    def _acknowledges(self, client: ClientAccount, now: float) -> bool:
        return client.client == self._own_client or (client.connected and not is_silent(client, now))

    # ------------------------------------------------------------------ detached tasks

    def _look(self, now: float, *, hastily: bool = False) -> None:
        """Have all detached tasks handed back, or handed over; ``hastily``: wait for no client to come back."""
        self.due = None
        over: list[bytes] = []
        for client in self._accounts.values():
            if not client.entrusted:
                continue
            self.due = now + LOOK_S
            # A peer that has entrusted a task to this node has forgotten it.
            is_here = client.role != NODE and is_there(client, now)
            is_gone = hastily or client.role == NODE or client.leaving or is_silent(client, now)
            for held in [held for held in client.held.values() if held.state is HeldState.ENTRUSTED]:
                if is_here:
                    self._entrusting.hand_back(held, now)
                elif is_gone and self._entrusting.hand_over(held, now):
                    over.append(held.task)
        if over:
            self._effects.append(HandOver(over))

    # ------------------------------------------------------------------ the end of the grace

    def on_grace_over(self, event: GraceOver, now: float) -> None:
        """End what runs, but for what could only start here again."""
        self._clients.clear()
        self._look(now, hastily=True)
        self._withdrawals.on_given_back = self._give_back
        for slot in self._dispatch.slots:
            head = slot.head()
            if head is not None and not self._has_no_other_place(head, event, now):
                self._cut(slot)

    def _has_no_other_place(self, held: Held, event: GraceOver, now: float) -> bool:
        """Whether a run is of a detached task that neither a peer nor its client can see to."""
        if held.client.client != self._own_client or held.task not in event.stranded:
            return False
        owners = (client for client in self._accounts.values() if client.client != self._own_client)
        return not any(held.task in client.held and is_there(client, now) for client in owners)

    def _cut(self, slot: Slot) -> None:
        slot.ready = False
        for held in slot.runs.values():
            if held.intent is not Intent.REVOKE and held.intent is not Intent.TIME_LIMIT:
                held.intent = Intent.CUT
        self._effects.append(KillWorker(slot.number))

    def end_cut(self, held: Held, event: WorkerGone, now: float) -> None:
        """Deal with a run whose worker was killed as the time was over; its owner is not to count that."""
        self._withdrawals.settle(held, "terminated")
        if self._withdrawals.revocations.contains(held.task, now):
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
        elif held.terms is not None and held.terms.once and held.run <= event.started:
            self._endings.end(held, Status.WORKER_LOST, "", _NO_TIME, 0.0, now)
        else:
            self._give_back(held)

    def _give_back(self, held: Held) -> None:
        """Let the owner of an attempt that has not ended here send it elsewhere."""
        if held.client.client == self._own_client:
            self._endings.forget(held)
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, "dropped"))
        else:
            self._endings.drop(held)
            self._reports.say(held.client, Nack(held.task, held.attempt, *DRAINS))
