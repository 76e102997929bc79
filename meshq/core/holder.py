"""The holder: what a node has accepted, from its arrival until its result is acknowledged.

Rules. An attempt is known by (client, task, attempt) and runs once, however often it is submitted. Clients are
served in turn, so that the million tasks of one do not hold up the one task of another. A result is kept and
sent again until the client acknowledges it. RESULT stands for ACCEPTED and STARTED too; those are sent of their
own only where 10 ms have passed without it, or 50 ms in a burst of quick runs. A worker that dies takes with it
only the run that it had started: that one is reported as lost, the others go to the next worker. What must not run
twice never goes again once a worker has started it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.core.admission import Admission
from meshq.core.asked import Asked
from meshq.core.budget import Budget
from meshq.core.clients import Clients
from meshq.core.dead import DeadLetters
from meshq.core.dispatch import Dispatch
from meshq.core.draining import Draining
from meshq.core.endings import Endings
from meshq.core.entrusting import Entrusting
from meshq.core.events import Received
from meshq.core.finishing import Finishing
from meshq.core.gossip import Gossip
from meshq.core.held import ClientAccount, Held
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    DrainAsked,
    Drained,
    EntrustedDone,
    EntrustedHandedOver,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    FunctionsKnown,
    GraceOver,
    HolderEffect,
    HolderEvent,
    PurgeAsked,
    RateLimitSet,
    ResizeAsked,
    RevocationsHeard,
    RevokeAsked,
    TimeLimitSet,
)
from meshq.core.kept import Kept
from meshq.core.limits import Limits
from meshq.core.parking import Parking
from meshq.core.purging import Purging
from meshq.core.relaying import Relaying
from meshq.core.reporting import Reports
from meshq.core.resizing import Resizing
from meshq.core.survey import Survey
from meshq.core.timers import Timers, earliest
from meshq.core.withdrawals import Withdrawals
from meshq.core.work import WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.messages import (
    Bye,
    Dead,
    Holding,
    Ping,
    Pong,
    Rack,
    Relayed,
    RevokedDigest,
    RevokedIds,
    Started,
    Submit,
    Withdraw,
)

ANSWER_S = 0.25
"""How often a client that sends a large payload is given a sign of life: its PINGs are in the same queue, and a
slow line needs longer for that than a node may be silent."""


class Holder:
    """The machine; see the module's rules. ``own_client`` is the id that this node's own owner goes by.

    ``hold_bytes`` is what attached work may take up here, 0 for no limit.
    """

    def __init__(self, slots: int, own_client: bytes = b"", hold_bytes: int = 0) -> None:
        self._own_client = own_client
        self._effects: list[HolderEffect] = []
        self._dispatch = Dispatch(slots)
        self.budget = Budget(hold_bytes, self._dispatch.pause, self._dispatch.resume)
        self._reports = Reports(self.budget)
        self._kept = Kept()
        self._endings = Endings(self._reports, self._kept)
        self._parking = Parking(self._dispatch, self._reports, self._endings, self._effects)
        self._limits = Limits(self._dispatch, self._effects)
        self._clients = Clients(
            slots, own_client, self._dispatch, self._parking, self._reports, self._endings, self._effects
        )
        self._accounts = self._clients.accounts
        self._entrusting = Entrusting(self._accounts, self._reports, self._endings, self._effects)
        self._relaying = Relaying(self._accounts, own_client, self._reports, self._effects)
        self._withdrawals = Withdrawals(
            self._accounts, self._dispatch, self._parking, self._reports, self._endings, self._entrusting,
            self._relaying, self._effects,
        )  # fmt: skip
        self._gossip = Gossip(self._withdrawals, self._relaying, self._reports)
        self._purging = Purging(
            self._accounts, own_client, self._dispatch, self._parking, self._relaying, self._endings, self._effects
        )
        self._resizing = Resizing(self._dispatch, self._clients, self._effects)
        self.survey = Survey(
            self._accounts, own_client, self._dispatch, self._parking, self._kept, self._entrusting
        )
        self.asked = Asked(self._accounts, own_client)
        self.dead = DeadLetters()
        self._recalls = self._withdrawals.recalls
        self._revocations = self._withdrawals.revocations
        self._drain = Draining(
            self._accounts, own_client, self._dispatch, self._clients, self._withdrawals, self._reports,
            self._endings, self._entrusting, self.asked, self._effects,
        )  # fmt: skip
        self._drained = False
        self._timers: tuple[Timers[Any], ...] = (
            *self._parking.timers, self._limits.timers, self._purging.timers, self._recalls.timers
        )  # fmt: skip
        """Those of the parts, mostly with nothing set."""
        self._admission = Admission(
            own_client, self.budget, self._dispatch, self._reports, self._endings, self._parking, self._limits,
            self._entrusting, self._withdrawals, self.survey, self._drain,
        )  # fmt: skip
        self._finishing = Finishing(
            self._dispatch, self._clients, self._endings, self._withdrawals, self._limits, self._resizing,
            self._drain,
        )  # fmt: skip
        self._on_racks: Callable[[ClientAccount, list[Rack], float], None] = self._endings.on_racks
        self._events = self._event_handlers()
        self._messages = self._message_handlers()

    def _event_handlers(self) -> dict[type[Any], Callable[[Any, float], None]]:
        return {
            Received: self._on_received,
            ClientGreeted: self._clients.on_greeted,
            ClientUnreachable: self._clients.on_unreachable,
            FunctionsKnown: self._admission.on_functions,
            EntrustedStarted: self._entrusting.on_started,
            EntrustedRetrying: self._entrusting.on_retrying,
            EntrustedDone: self._entrusting.on_done,
            EntrustedWithdrawn: self._entrusting.on_withdrawn,
            EntrustedHandedOver: self._entrusting.on_handed_over,
            RevokeAsked: self._withdrawals.on_revoke,
            DrainAsked: self._on_drain,
            GraceOver: self._drain.on_grace_over,
            RevocationsHeard: self._gossip.on_heard,
            PurgeAsked: self._purging.on_asked,
            RateLimitSet: self._admission.on_limit,
            TimeLimitSet: self._admission.on_limit,
            ResizeAsked: self._resizing.on_resize,
            WorkerReady: self._finishing.on_ready,
            WorkerDone: self._finishing.on_done,
            WorkerRecalled: self._withdrawals.on_worker_recalled,
            WorkerGone: self._finishing.on_gone,
        }

    def _message_handlers(self) -> dict[type[Any], Callable[[ClientAccount, Any, float], None]]:
        return {
            Withdraw: self._withdrawals.on_withdraw,
            Ping: self._on_ping,
            Bye: self._drain.on_bye,
            Relayed: self._purging.on_relayed,
            RevokedDigest: self._gossip.on_digest,
            RevokedIds: self._gossip.on_ids,
            Dead: self.dead.on_dead,
            Holding: self._withdrawals.on_holding,
        }

    # ------------------------------------------------------------------ the machine's face

    def handle(self, event: HolderEvent, now: float) -> list[HolderEffect]:
        """Take an event; return what the caller must do, in order."""
        self._events[type(event)](event, now)
        return self._finish(now)

    def tick(self, now: float) -> list[HolderEffect]:
        """Do what has become due."""
        long = len(self._dispatch.slots.long)
        for held, seconds in self._dispatch.newly_long(now):
            self._reports.say(held.client, Started(held.task, held.attempt, seconds))
        if len(self._dispatch.slots.long) > long:
            self._clients.grant_all(now)  # less is to go ahead there
        self._reports.tick(self._accounts.values(), now)
        self._effects.extend(self._dispatch.recall_behind(now))
        self._limits.tick(now)
        self._purging.tick(now)
        self._recalls.tick(now)
        self._drain.tick(now)
        self._clients.tick(now)
        self._parking.tick(now)  # the last one: what the others dropped from the queue has left its tokens
        return self._finish(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        due = earliest(
            self._reports.next_deadline(), self._dispatch.next_deadline(), self._clients.refresh_at,
            self._clients.lease_at, self._drain.due,
        )  # fmt: skip
        for timers in self._timers:
            if timers.live:
                due = earliest(due, timers.next_deadline())
        return due

    def counts(self) -> dict[str, int]:
        """Return how many attempts are queued, parked, running and kept, and how many clients there are."""
        clients = self._accounts.values()
        return {
            "queued": sum(client.queued_count() for client in clients),
            "parked": self._parking.count,
            "running": self._dispatch.running(),
            "finished": sum(len(client.unacknowledged) for client in clients),
            "clients": self._clients.present(),
        }

    def revoked(self, now: float) -> list[tuple[bytes, float]]:
        """Return the ids that are refused, each with the seconds for which that is so still."""
        return self._revocations.dump(now)

    def revoked_digest(self, now: float) -> bytes:
        """Return 16 bytes that are equal at nodes that refuse the same ids."""
        return self._revocations.digest(now)

    def limits_of(self, function: str) -> tuple[float, float | None, float | None]:
        """Return how many runs of a function may start in a second (0: no limit), and its soft and hard limit."""
        return self._admission.limits_of(function)

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many runs of each function have ended here, and how many of them have failed."""
        return self._dispatch.means.runs, self._dispatch.means.failed

    def forget(self, task: bytes) -> bool:
        """Let go of a task's result that is kept for whoever asks; tell whether there was one."""
        return self._kept.forget(task)

    def _finish(self, now: float) -> list[HolderEffect]:
        dispatch, reports = self._dispatch, self._reports  # mostly few of them have anything to do: see, then call
        if dispatch.alarms.live:
            self._parking.tick(now)  # what has expired while the node was late must not start any more
        starts = dispatch.fill(now)
        if dispatch.begun:
            reports.begun(dispatch.begun)
        if self._limits.is_in_use:
            self._limits.watch(now)
        effects = [*self._effects, *starts]
        self._effects.clear()
        if reports.out:
            effects += reports.flush()
        if self._recalls.has_any:
            effects += self._recalls.answered()
        if self._drain.has_begun and not self._drained and self._drain.is_over(now):
            self._drained = True
            effects.append(Drained())
        return effects

    # ------------------------------------------------------------------ what clients say

    def _on_received(self, event: Received, now: float) -> None:
        client = self._accounts.get(event.peer)
        if client is None:
            return
        self._clients.heard(client, now)
        taken: list[Held] = []
        messages, start, count = event.messages, 0, len(event.messages)
        while start < count:
            kind, end = type(messages[start]), start + 1
            while end < count and type(messages[end]) is kind:
                end += 1
            alike, start = messages[start:end], end
            if kind is Submit:
                self._admission.on_submits(client, alike, now, taken)  # type: ignore[arg-type]
            elif kind is Rack:
                self._on_racks(client, alike, now)  # type: ignore[arg-type]
            elif (handler := self._messages.get(kind)) is not None:
                for message in alike:
                    handler(client, message, now)
        if taken:
            self._reports.taken(taken, now)
            if self._clients.refresh_at is None:
                self._clients.refresh_soon(now)
        elif not count and now >= client.answered_at + ANSWER_S:
            client.answered_at = now
            self._reports.say(client, Pong(0))  # a piece has come; the client's PINGs may be far behind it

    def _on_ping(self, client: ClientAccount, message: Ping, now: float) -> None:
        self._reports.say(client, Pong(message.sequence))

    # ------------------------------------------------------------------ drain

    def _on_drain(self, event: DrainAsked, now: float) -> None:
        self._on_racks = self._on_racks_while_draining
        self._drain.on_asked(event, now)

    def _on_racks_while_draining(self, client: ClientAccount, messages: list[Rack], now: float) -> None:
        self._endings.on_racks(client, messages, now)
        for message in messages:
            self._entrusting.on_rack(client, message)
