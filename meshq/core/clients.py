"""The clients of a node: who is served, with how much credit, and how long one is waited for that vanished."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from meshq.core.credits import REFRESH_S, Credits
from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.entrusting import DRAINS
from meshq.core.events import Send
from meshq.core.held import NODE, SILENT_S, ClientAccount, HeldState, is_silent, last_wanted_at
from meshq.core.holding import ClientForgotten, ClientGreeted, ClientUnreachable, HolderEffect
from meshq.core.parking import Parking
from meshq.core.reporting import Reports
from meshq.protocol.messages import Draining, Nack, Refused

GRANT_ALL_S = 0.010
"""How often all clients are looked at for what a long run changes: there may be thousands of them."""
QUEUE_LEASE_S = 900.0
RESULT_LEASE_S = 3600.0
"""What a client that vanished without BYE leaves behind: its queue for 15 min, its results for an hour.

Counted from when it was last heard, or somebody last asked for one of its tasks.
"""
_LEASE_CHECK_S = 5.0
MAX_CLIENTS = 10_000
_LAPSED = "full", f"dropped, since nothing was heard of the client for {QUEUE_LEASE_S:g} s"


class Clients:
    """The accounts of all clients.

    ``own_client`` is the id that this node's own owner goes by; ``effects`` is where the holder gathers what it
    asks for.
    """

    def __init__(
        self,
        slots: int,
        own_client: bytes,
        dispatch: Dispatch,
        parking: Parking,
        reports: Reports,
        endings: Endings,
        effects: list[HolderEffect],
    ) -> None:
        self.accounts: dict[bytes, ClientAccount] = {}
        self._own_client = own_client
        self._credits = Credits(slots, reports.budget)
        self._dispatch = dispatch
        self._parking = parking
        self._reports = reports
        self._endings = endings
        self._budget = reports.budget
        self._effects = effects
        self._why_dropped = _LAPSED
        self.refresh_at: float | None = None
        """When credit is shared out anew, by ``tick``."""
        self.lease_at: float | None = None
        """When it looks for leases that are over."""
        self._granted_at = -inf

    def tick(self, now: float) -> None:
        """Share out credit anew and end leases, where that is due."""
        if self.refresh_at is not None and self.refresh_at <= now:
            self.refresh_at = None
            self._credits.survey(self.accounts.values())
            for client in self.accounts.values():
                self.grant(client)
        if self.lease_at is not None and self.lease_at <= now:
            self._end_leases(now)
            self.lease_at = now + _LEASE_CHECK_S if self.accounts else None

    def present(self) -> int:
        """Return how many clients are within reach, but for this node's own owner and its peers."""
        return sum(
            client.connected and not client.leaving and client.role != NODE and client.client != self._own_client
            for client in self.accounts.values()
        )

    # ------------------------------------------------------------------ who comes and goes

    def on_greeted(self, event: ClientGreeted, now: float) -> None:
        """Serve a client, with all that is kept for it."""
        client = self.accounts.get(event.client)
        if client is None:
            if len(self.accounts) >= MAX_CLIENTS and not self._give_up_an_absent_one(now):
                refused = Refused("full", f"the node has {MAX_CLIENTS} clients")
                self._effects += [Send(event.client, [refused]), ClientForgotten(event.client)]
                return
            client = self.accounts[event.client] = ClientAccount(event.client, now)
            if self.lease_at is None:
                self.lease_at = now + _LEASE_CHECK_S
        client.leaving = False
        self._budget.regain(client)
        client.role, client.label = event.role, event.label
        client.telling.renew()
        self.grant(client, force=True)
        self.refresh_soon(now)  # what was just said may be of the last survey, and nothing else come to cause one
        self.heard(client, now)
        for held in client.held.values():
            held.reported = False  # whatever was said may have been lost with the old connection
            if held.state is HeldState.PARKED:
                self._parking.report(held, now)
            self._reports.send_result(held, now)

    def _give_up_an_absent_one(self, now: float) -> bool:
        """Let go of the results of the client that was not heard for longest, if one is out of reach and idle."""
        absent = [
            client
            for client in self.accounts.values()
            if not (client.connected or client.unfinished or client.client == self._own_client)
        ]
        if absent:
            self._close(min(absent, key=last_wanted_at), now)
        return bool(absent)

    def _close(self, client: ClientAccount, now: float) -> None:
        """Forget a client; its results are kept as those of one that has left."""
        for held in client.unacknowledged.values():
            self._endings.keep(held, now)
        self._budget.close(client)
        del self.accounts[client.client]
        self._effects.append(ClientForgotten(client.client))

    def on_unreachable(self, event: ClientUnreachable, now: float) -> None:
        """Say nothing to the client until it greets again."""
        client = self.accounts.get(event.client)
        if client is not None:
            self._budget.lose(client)

    def heard(self, client: ClientAccount, now: float) -> None:
        """Take note of a sign of life."""
        client.heard_at = now
        if client.lapsed:
            self._hand_back(client)

    # ------------------------------------------------------------------ credit

    def grant(self, client: ClientAccount, *, force: bool = False) -> None:
        """Tell the client its credit where that has changed, or in any case."""
        if client.connected and not client.leaving:
            # Nothing of one that has no work here waits behind a long run, and there may be thousands of those.
            slots = self._dispatch.slots
            long = slots.at_long_runs() if slots.long and client.unfinished else 0
            credit = self._credits.update(client, long=long, force=force)
            if credit is not None:
                self._reports.say(client, credit)

    def resize(self, slots: int) -> None:
        """Share out credit anew: the node has so many slots now."""
        self._credits.resize(slots)
        for client in self.accounts.values():
            self.grant(client, force=True)

    def grant_all(self, now: float) -> None:
        """Tell clients that have work here what credit they have now, at once or a moment after the last time."""
        if now < self._granted_at + GRANT_ALL_S:
            self.refresh_soon(now)
            return
        self._granted_at = now
        for client in self.accounts.values():
            if client.unfinished:
                self.grant(client)

    def refresh_soon(self, now: float) -> None:
        """Share out credit anew before long."""
        if self.refresh_at is None:
            self.refresh_at = now + REFRESH_S

    # ------------------------------------------------------------------ what is handed back

    def drain(self, now: float) -> None:
        """Hand back what waits, and tell the clients that nothing new is taken.

        What a client has left behind that is gone, and somebody else waits for, is finished here.
        """
        self._why_dropped = DRAINS
        self.clear(lambda client: not (is_silent(client, now) and client.asked_at + SILENT_S > now))
        for client in self.accounts.values():
            if client.client != self._own_client:
                self._reports.say(client, Draining())

    def clear(self, is_meant: Callable[[ClientAccount], bool] = lambda _: True) -> None:
        """Hand back what waits of the clients that are meant, but for this node's own owner."""
        for client in self.accounts.values():
            if client.client != self._own_client and is_meant(client):
                self._drop_queue(client)
                self._hand_back(client)

    def _end_leases(self, now: float) -> None:
        for client in list(self.accounts.values()):
            if client.client == self._own_client:
                continue
            left = client.leaving and not client.held
            wanted_at = last_wanted_at(client)
            if left or (now > max(wanted_at, client.ended_at) + RESULT_LEASE_S and client.unfinished == 0):
                self._close(client, now)
            elif now > wanted_at + QUEUE_LEASE_S:
                self._drop_queue(client)

    def _drop_queue(self, client: ClientAccount) -> None:
        """Drop what the client has queued or parked, to be handed back."""
        dropped = self._dispatch.clear(client) + self._parking.clear(client)
        for held in dropped:
            self._endings.drop(held)
            client.lapsed.append((held.task, held.attempt))  # without its arguments: nobody counts them any more

    def _hand_back(self, client: ClientAccount) -> None:
        """Tell the client, once it is within reach, what was dropped, so that it sends that elsewhere or again."""
        if client.connected:
            for task, attempt in client.lapsed:
                self._endings.refused.bury(client.client, task, attempt)
                self._reports.say(client, Nack(task, attempt, *self._why_dropped))
            client.lapsed.clear()
