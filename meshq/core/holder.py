"""The holder: what a node has accepted, from its arrival until its result is acknowledged.

Rules. An attempt is known by (client, task, attempt) and runs once, however often it is submitted. Clients are
served in turn, so that the million tasks of one do not hold up the one task of another. A result is kept and
sent again until the client acknowledges it. RESULT stands for ACCEPTED and STARTED too; those are sent of their
own only where 10 ms have passed without it. A worker that dies takes with it only the run that it had started:
that one is reported as lost, the others go to the next worker. What must not run twice never goes again once a
worker has started it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshq.core.asked import Asked
from meshq.core.budget import SMALL_BYTES, Budget, large_size
from meshq.core.clients import Clients
from meshq.core.dead import DeadLetters
from meshq.core.dispatch import Dispatch, is_to_blame
from meshq.core.draining import Draining
from meshq.core.endings import Endings
from meshq.core.entrusting import DRAINS, Entrusting
from meshq.core.events import Received
from meshq.core.gossip import Gossip
from meshq.core.held import ClientAccount, Held, HeldState, Intent
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
from meshq.core.pace import MAX_CREDIT
from meshq.core.parking import Parking
from meshq.core.purging import Purging
from meshq.core.relaying import Relaying
from meshq.core.reporting import Reports
from meshq.core.resizing import Resizing
from meshq.core.survey import Survey
from meshq.core.timers import earliest
from meshq.core.withdrawals import Withdrawals
from meshq.core.work import WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.errors import ChunkRefused
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import (
    LONGEST_TEXT,
    Accepted,
    Bye,
    Dead,
    Holding,
    Nack,
    Ping,
    Pong,
    Rack,
    Relayed,
    RevokedDigest,
    RevokedIds,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)

ANSWER_S = 0.25
"""How often a client that sends a large payload is given a sign of life: its PINGs are in the same queue, and a
slow line needs longer for that than a node may be silent."""
# A client keeps to its credit, and acknowledges; one that does not is refused before it fills our memory.
_MAX_KEPT = 2 * MAX_CREDIT


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
        self._tombs, self._refused = self._endings.tombs, self._endings.refused
        self._recalls = self._withdrawals.recalls
        self._revocations = self._withdrawals.revocations
        self._functions: frozenset[str] = frozenset()
        self._serializers: frozenset[str] = frozenset()
        self._aliases: Mapping[str, str] = {}
        self._drain = Draining(
            self._accounts, own_client, self._dispatch, self._clients, self._withdrawals, self._reports,
            self._endings, self._entrusting, self.asked, self._effects,
        )  # fmt: skip
        self._drained = False
        self._events = self._event_handlers()
        self._messages = self._message_handlers()

    def _event_handlers(self) -> dict[type[Any], Callable[[Any, float], None]]:
        return {
            Received: self._on_received,
            ClientGreeted: self._clients.on_greeted,
            ClientUnreachable: self._clients.on_unreachable,
            FunctionsKnown: self._on_functions,
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
            RateLimitSet: self._on_limit,
            TimeLimitSet: self._on_limit,
            ResizeAsked: self._resizing.on_resize,
            WorkerReady: self._on_worker_ready,
            WorkerDone: self._on_worker_done,
            WorkerRecalled: self._withdrawals.on_worker_recalled,
            WorkerGone: self._on_worker_gone,
        }

    def _message_handlers(self) -> dict[type[Any], Callable[[ClientAccount, Any, float], None]]:
        return {
            Rack: self._endings.on_rack,
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
        for held, seconds in self._dispatch.newly_long(now):
            self._reports.say(held.client, Started(held.task, held.attempt, seconds))
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
        return earliest(
            self._reports.next_deadline(), self._dispatch.next_deadline(), self._clients.next_deadline(),
            self._parking.next_deadline(), self._limits.next_deadline(), self._purging.next_deadline(),
            self._recalls.next_deadline(), self._drain.due,
        )  # fmt: skip

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
        return self._parking.rate_of(function), *self._limits.limits_of(function)

    def totals(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many runs of each function have ended here, and how many of them have failed."""
        return self._dispatch.means.runs, self._dispatch.means.failed

    def forget(self, task: bytes) -> bool:
        """Let go of a task's result that is kept for whoever asks; tell whether there was one."""
        return self._kept.forget(task)

    def _finish(self, now: float) -> list[HolderEffect]:
        if self._dispatch.alarms:
            self._parking.tick(now)  # what has expired while the node was late must not start any more
        starts = self._dispatch.fill(now)
        if self._dispatch.begun:
            self._reports.begun(self._dispatch.begun)
        self._limits.watch(now)
        effects = [*self._effects, *starts, *self._reports.flush(), *self._recalls.answered()]
        self._effects.clear()
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
        for message in event.messages:
            if type(message) is Submit:
                self._on_submit(client, message, now, taken)
            else:
                handler = self._messages.get(type(message))
                if handler is not None:
                    handler(client, message, now)
        if taken:
            self._reports.taken(taken, now)
            self._clients.refresh_soon(now)
        elif not event.messages and now >= client.answered_at + ANSWER_S:
            client.answered_at = now
            self._reports.say(client, Pong(0))  # a piece has come; the client's PINGs may be far behind it

    def _on_ping(self, client: ClientAccount, message: Ping, now: float) -> None:
        self._reports.say(client, Pong(message.sequence))

    def _on_submit(self, client: ClientAccount, message: Submit, now: float, taken: list[Held]) -> None:
        held = client.held.get(message.task)
        if held is not None and held.is_followed_by(message.attempt):
            self._endings.forget(held)
        elif held is not None and not self._is_now_detached(held, message):
            self._on_submit_again(held, message, now)
            return
        if client.leaving:
            return  # a late copy of what was taken back
        if self._tombs.covers(client.client, message.task, message.attempt):
            # A late copy, whose owner takes no notice of this; or a new task of an old id, which then comes anew.
            self._reports.say(client, Withdrawn(message.task, message.attempt, "unknown"))
            return
        payload = message.payload
        is_large = type(payload) is not bytes or len(payload) > SMALL_BYTES
        reason = self._refusal(client, message, is_large)
        if reason:
            passed_on = reason is DRAINS and self._entrusting.has_passed_on(client, message.task)
            answer = Accepted(*message[:2]) if passed_on else Nack(message.task, message.attempt, *reason)
            if not passed_on:
                self._refused.bury(client.client, message.task, message.attempt)
            self._reports.say(client, answer)
            return
        if message.function in self._aliases:
            message = message._replace(function=self._aliases[message.function])
        held = Held(client, *message)
        client.held[message.task] = held
        if is_large and not message.detached:
            self.budget.take(held, large_size(payload))
        if held.terms is not None:
            self._limits.notice(held.terms)
        if self._revocations.contains(message.task, now):
            self._reports.finished(held, Status.REVOKED, "", b"", 0.0, now)
        elif held.terms is not None and held.terms.is_keyed and (known := self.survey.value_of(held, now)):
            self._reports.finished(held, Status.OK, known.serializer, known.payload, 0.0, now)
        elif held.is_split and any(self.limits_of(held.function)):
            self._refuse_chunk(held, now)
        elif message.detached:
            self._entrusting.take(held, now)
        elif not self._parking.take(held, now):
            self._dispatch.queue(held)
            taken.append(held)

    def _refuse_chunk(self, held: Held, now: float) -> None:
        """End a chunk that nobody has asked for, as something counts for each of its calls."""
        text = f"{held.function} has limits here: its calls are to be tasks of their own"
        self._reports.finished(held, Status.FAILURE, "msgpack", dump_failure(ChunkRefused(text)), 0.0, now)

    def _on_limit(self, event: RateLimitSet | TimeLimitSet, now: float) -> None:
        if any(event[1:]):  # else it is lifted
            for held in self._dispatch.take_chunks(event.function):
                self._refuse_chunk(held, now)
        if isinstance(event, RateLimitSet):
            self._parking.on_rate_limit_set(event, now)
        else:
            self._limits.on_time_limit_set(event, now)

    def _on_submit_again(self, held: Held, message: Submit, now: float) -> None:
        """Answer a copy; a later attempt of what is here already goes on under its new number."""
        if message.attempt < held.attempt:
            return
        held.renumber(message.attempt)
        if held.state is HeldState.DONE:
            self._reports.send_result(held, now)
        elif held.state is HeldState.ENTRUSTED:
            self._entrusting.answer_again(held, now)
        elif not message.detached:  # else what runs stays its owner's, until it ends or is given back
            held.reported = False
            if held.state is HeldState.PARKED:
                self._parking.report(held, now)
            else:
                self._reports.say(held.client, Accepted(held.task, held.attempt))

    def _is_now_detached(self, held: Held, message: Submit) -> bool:
        """Whether an attempt that waits here for its owner comes anew, to be this node's own: it then makes room.

        So it is where a node that drains hands a task over which it has sent here before, and could not call back.
        """
        is_new = message.detached and not held.detached and message.attempt > held.attempt
        return is_new and self._withdrawals.let_go(held)

    def _refusal(self, client: ClientAccount, message: Submit, is_large: bool) -> tuple[str, str] | None:
        """Return why the attempt is not taken, whose arguments may be large: a code, and words."""
        if self._drain.has_begun and client.client != self._own_client:
            return DRAINS
        if message.function not in self._functions:
            return "unknown-task", f"the node does not offer {message.function}"[:LONGEST_TEXT]
        if message.serializer not in self._serializers:
            return "serializer", f"the node does not take {message.serializer}"[:LONGEST_TEXT]
        kept = len(client.held) - client.entrusted - client.parked
        if kept >= _MAX_KEPT:
            return "full", f"the client has {kept} attempts and unacknowledged results here"
        if message.detached and self._entrusting.is_full():
            return "full", f"detached tasks take up {self._entrusting.bytes} bytes here"
        if self._refused and self._refused.covers(client.client, message.task, message.attempt):
            return "full", "the node did not take this attempt before"
        if is_large and not message.detached:
            why = self.budget.refusal(client, large_size(message.payload))
            return ("full", why) if why else None
        return None

    # ------------------------------------------------------------------ workers

    def _on_functions(self, event: FunctionsKnown, now: float) -> None:
        self._functions, self._serializers, self._aliases = event.functions, event.serializers, event.aliases
        self._parking.declare(event.options)
        self._limits.declare(event.options)

    def _on_worker_ready(self, event: WorkerReady, now: float) -> None:
        slot = self._dispatch.slots.all.get(event.slot)
        if slot is not None:  # else it was given up while its worker was starting
            slot.ready = True

    def _on_worker_done(self, event: WorkerDone, now: float) -> None:
        touched: set[ClientAccount] = set()
        share_s = self._dispatch.share_s(event.slot, len(event.dones), now)
        for done in event.dones:
            held = self._dispatch.release(done.run, now)
            if held is None:
                continue
            client = held.client
            touched.add(client)
            mean, busy_s = client.mean_s, max(done.seconds, share_s)
            client.mean_s = busy_s if mean is None else mean + 0.1 * (busy_s - mean)
            self._dispatch.means.observe(held.function, busy_s)
            if done.status:
                self._dispatch.means.observe_failure(held.function)
            if held.intent is not Intent.NONE:
                self._withdrawals.settle(held, "finished")
            self._endings.end(held, done.status, done.serializer, done.payload, done.seconds, now)
        self._dispatch.means.fold()
        for client in touched:
            self._clients.grant(client)
        self._clients.refresh_soon(now)

    def _on_worker_gone(self, event: WorkerGone, now: float) -> None:
        slot = self._dispatch.slots.all.get(event.slot)
        if slot is None:
            return
        signalled, slot.signalled = slot.signalled, 0
        again: list[Held] = []
        for held in self._dispatch.vacate(event.slot):
            if held.intent is Intent.CUT:
                self._drain.end_cut(held, event, now)
            elif _may_have_run(held, event) or (
                held.run == event.started and is_to_blame(held.run, signalled, event)
            ):
                self._end_with_worker(held, event, now)
            elif held.intent is Intent.WITHDRAW or held.intent is Intent.REVOKE:
                self._withdrawals.drop(held, now)
            else:
                again.append(held)
        self._withdrawals.wait_again(again, now)
        self._limits.forget(event.slot)
        self._resizing.on_gone(event.slot)

    def _end_with_worker(self, held: Held, event: WorkerGone, now: float) -> None:
        status, outcome, text = Status.WORKER_LOST, "finished", event.reason
        if held.intent is Intent.TIME_LIMIT:
            status, outcome, text = Status.TIME_LIMIT, "terminated", self._limits.story(held)
        elif held.intent is Intent.REVOKE:
            status, outcome, text = Status.REVOKED, "terminated", ""
        self._withdrawals.settle(held, outcome)
        self._endings.end(held, status, "", text.encode(), 0.0, now)

    # ------------------------------------------------------------------ drain

    def _on_drain(self, event: DrainAsked, now: float) -> None:
        self._messages[Rack] = self._on_rack_while_draining
        self._drain.on_asked(event, now)

    def _on_rack_while_draining(self, client: ClientAccount, message: Rack, now: float) -> None:
        self._endings.on_rack(client, message, now)
        self._entrusting.on_rack(client, message)


def _may_have_run(held: Held, event: WorkerGone) -> bool:
    """Whether a run that must not be repeated had started; those before the last have ended, unheard."""
    return held.terms is not None and held.terms.once and held.run <= event.started
