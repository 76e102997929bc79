"""The holder: what a node has accepted, from its arrival until its result is acknowledged.

Rules. An attempt is known by (client, task, attempt) and runs once, however often it is submitted. Clients are
served in turn, so that the million tasks of one do not hold up the one task of another. A result is kept and
sent again until the client acknowledges it. RESULT stands for ACCEPTED and STARTED too; those are sent of their
own only where 10 ms have passed without it. A worker that dies takes with it only the run that it had started:
that one is reported as lost, the others go to the next worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.core.credits import REFRESH_S, Credits
from meshq.core.dispatch import Dispatch
from meshq.core.events import Received, Send
from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    EntrustedDone,
    EntrustedStarted,
    EntrustedWithdrawn,
    FunctionsKnown,
    HolderEffect,
    HolderEvent,
    RecallRuns,
    RevokeAsked,
    SignalWorker,
)
from meshq.core.pace import MAX_CREDIT
from meshq.core.recalls import NOT_REMEMBERED, UNKNOWN, Recalls, Revoke
from meshq.core.reporting import Reports
from meshq.core.revocations import Revocations
from meshq.core.timers import earliest
from meshq.core.tombs import Tombs
from meshq.core.work import WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.messages import (
    Accepted,
    Bye,
    ByeAck,
    Draining,
    Nack,
    Ping,
    Pong,
    Rack,
    Refused,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.payload import Payload

QUEUE_LEASE_S = 900.0
RESULT_LEASE_S = 3600.0
"""What a client that vanished without BYE leaves behind: its queue for 15 min, its results for an hour."""
_LEASE_CHECK_S = 5.0
MAX_CLIENTS = 10_000
# A client keeps to its credit, and acknowledges; one that does not is refused before it fills our memory.
_MAX_KEPT = 2 * MAX_CREDIT
ENTRUSTED_BYTES = 256 * 1024**2
"""What detached tasks may take up at a node; past it they are refused as ``full`` and go elsewhere."""
_DRAINS = "draining", "the node finishes what it has and takes nothing new"
_LAPSED = "full", f"dropped, since nothing was heard of the client for {QUEUE_LEASE_S:g} s"
# A detached task with no arguments takes memory as well.
_ENTRUSTED_OVERHEAD = 1024


class Holder:
    """The machine; see the module's rules. ``own_client`` is the id that this node's own owner goes by."""

    def __init__(self, slots: int, own_client: bytes = b"") -> None:
        self._own_client = own_client
        self._dispatch = Dispatch(slots)
        self._reports = Reports()
        self._credits = Credits(slots)
        self._revocations = Revocations()
        self._recalls = Recalls()
        self._tombs = Tombs()
        self._clients: dict[bytes, ClientAccount] = {}
        self._functions: frozenset[str] = frozenset()
        self._serializers: frozenset[str] = frozenset()
        self._entrusted_bytes = 0
        self._refresh_at: float | None = None
        self._lease_at: float | None = None
        self._draining = self._drained = False
        self._effects: list[HolderEffect] = []
        self._events: dict[type[Any], Callable[[Any, float], None]] = {
            Received: self._on_received,
            ClientGreeted: self._on_greeted,
            ClientUnreachable: self._on_unreachable,
            FunctionsKnown: self._on_functions,
            EntrustedStarted: self._on_entrusted_started,
            EntrustedDone: self._on_entrusted_done,
            EntrustedWithdrawn: self._on_entrusted_withdrawn,
            RevokeAsked: self._on_revoke,
            DrainAsked: self._on_drain,
            WorkerReady: self._on_worker_ready,
            WorkerDone: self._on_worker_done,
            WorkerRecalled: self._on_worker_recalled,
            WorkerGone: self._on_worker_gone,
        }
        self._messages: dict[type[Any], Callable[[ClientAccount, Any, float], None]] = {
            Rack: self._on_rack,
            Withdraw: self._on_withdraw,
            Ping: self._on_ping,
            Bye: self._on_bye,
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
        self._reports.tick(self._clients.values(), now)
        self._effects.extend(self._dispatch.recall_behind(now))
        if self._refresh_at is not None and self._refresh_at <= now:
            self._refresh_at = None
            self._credits.survey(self._clients.values())
            for client in self._clients.values():
                self._grant(client)
        if self._lease_at is not None and self._lease_at <= now:
            self._lease_at = None
            self._end_leases(now)
        return self._finish(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        return earliest(
            self._reports.next_deadline(), self._dispatch.next_deadline(), self._refresh_at, self._lease_at
        )

    def counts(self) -> dict[str, int]:
        """Return how many attempts are queued, running and kept, and how many clients there are."""
        clients = self._clients.values()
        return {
            "queued": sum(len(client.queue) for client in clients),
            "running": self._dispatch.running(),
            "finished": sum(len(client.unacknowledged) for client in clients),
            "clients": sum(self._is_present(client) for client in clients),
        }

    def _is_present(self, client: ClientAccount) -> bool:
        return client.connected and not client.leaving and client.client != self._own_client

    def _finish(self, now: float) -> list[HolderEffect]:
        effects = self._effects
        effects.extend(self._dispatch.fill(now))
        effects.extend(self._reports.flush())
        effects.extend(self._recalls.answered())
        if self._draining and not self._drained and self._is_idle():
            self._drained = True
            effects.append(Drained())
        if self._lease_at is None and self._clients:
            self._lease_at = now + _LEASE_CHECK_S
        self._effects = []
        return effects

    # ------------------------------------------------------------------ clients

    def _on_greeted(self, event: ClientGreeted, now: float) -> None:
        client = self._clients.get(event.client)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS and not self._give_up_an_absent_one():
                refused = Refused("full", f"the node has {MAX_CLIENTS} clients")
                self._effects.append(Send(event.client, [refused]))
                return
            client = self._clients[event.client] = ClientAccount(event.client, now)
        client.connected, client.leaving = True, False
        self._grant(client, force=True)
        self._heard(client, now)
        for held in client.held.values():
            held.reported = False  # whatever was said may have been lost with the old connection
            self._reports.send_result(held, now)

    def _give_up_an_absent_one(self) -> bool:
        """Let go of the results of the client that was not heard for longest, if one is out of reach and idle."""
        absent = [
            client
            for client in self._clients.values()
            if not (client.connected or client.unfinished or client.client == self._own_client)
        ]
        if absent:
            del self._clients[min(absent, key=lambda client: client.heard_at).client]
        return bool(absent)

    def _heard(self, client: ClientAccount, now: float) -> None:
        client.heard_at = now
        if client.lapsed:
            self._hand_back(client)

    def _hand_back(self, client: ClientAccount) -> None:
        """Tell the client, once it is within reach, what was dropped, so that it sends that elsewhere or again."""
        if client.connected:
            why = _DRAINS if self._draining else _LAPSED
            for held in client.lapsed:
                self._reports.say(client, Nack(held.task, held.attempt, *why))
            client.lapsed.clear()

    def _on_unreachable(self, event: ClientUnreachable, now: float) -> None:
        client = self._clients.get(event.client)
        if client is not None:
            client.connected = False

    def _on_received(self, event: Received, now: float) -> None:
        client = self._clients.get(event.peer)
        if client is None:
            return
        self._heard(client, now)
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
            self._refresh_soon(now)

    def _on_ping(self, client: ClientAccount, message: Ping, now: float) -> None:
        self._reports.say(client, Pong(message.sequence))

    def _on_bye(self, client: ClientAccount, message: Bye, now: float) -> None:
        """Drop what the client has here, but for detached tasks; what runs is left to end unheard."""
        dropped = self._dispatch.clear(client)
        for held in dropped:
            self._forget(held)
        for held in list(client.held.values()):
            if held.state is HeldState.RUNNING:
                self._call_back(held, Intent.REBALANCE)
            elif held.state is HeldState.DONE and not held.detached:
                self._forget(held)
        self._reports.say(client, ByeAck(len(dropped)))
        client.leaving = True

    def _end_leases(self, now: float) -> None:
        for client in list(self._clients.values()):
            if client.client == self._own_client:
                continue
            left = client.leaving and not client.held
            last_at = max(client.heard_at, client.ended_at)
            if left or (now > last_at + RESULT_LEASE_S and client.unfinished == 0):
                del self._clients[client.client]
            elif now > client.heard_at + QUEUE_LEASE_S:
                self._drop_queue(client)

    def _drop_queue(self, client: ClientAccount) -> None:
        """Drop what the client has queued, to be handed back."""
        dropped = self._dispatch.clear(client)
        for held in dropped:
            self._drop(held)
        client.lapsed += dropped

    # ------------------------------------------------------------------ submit

    def _on_submit(self, client: ClientAccount, message: Submit, now: float, taken: list[Held]) -> None:
        held = client.held.get(message.task)
        if held is not None and _has_died_before(held, message):
            self._forget(held)
        elif held is not None:
            self._on_submit_again(held, message, now)
            return
        if client.leaving or self._tombs.covers(client.client, message.task, message.attempt):
            return  # a late copy: of what was taken back, or is over
        reason = self._refusal(client, message)
        if reason:
            self._reports.say(client, Nack(message.task, message.attempt, *reason))
            return
        held = Held(client, *message)
        client.held[message.task] = held
        if self._revocations.contains(message.task, now):
            self._reports.finished(held, Status.REVOKED, "", b"", 0.0, now)
        elif message.detached:
            self._entrust(held)
        else:
            self._dispatch.queue(held)
            taken.append(held)

    def _on_submit_again(self, held: Held, message: Submit, now: float) -> None:
        """Answer a copy; a later attempt of what is here already goes on under its new number."""
        if message.attempt < held.attempt:
            return
        self._renumber(held, message.attempt)
        if held.state is HeldState.DONE:
            self._reports.send_result(held, now)
        else:
            held.reported = False
            self._reports.say(held.client, Accepted(held.task, held.attempt))

    def _renumber(self, held: Held, attempt: int) -> None:
        """Go on under a later number; whoever wanted the earlier attempt back wants this one."""
        if attempt > held.attempt:
            held.attempt = attempt
            if held.result is not None:
                held.result = held.result._replace(attempt=attempt)
            if held.intent is Intent.WITHDRAW:
                held.intent = Intent.REBALANCE

    def _refusal(self, client: ClientAccount, message: Submit) -> tuple[str, str] | None:
        """Return why the attempt is not taken: a code, and words."""
        if self._draining and client.client != self._own_client:
            return _DRAINS
        if message.function not in self._functions:
            return "unknown-task", f"the node does not offer {message.function}"
        if message.serializer not in self._serializers:
            return "serializer", f"the node does not take {message.serializer}"
        kept = len(client.held) - client.entrusted
        if kept >= _MAX_KEPT:
            return "full", f"the client has {kept} attempts and unacknowledged results here"
        if message.detached and self._entrusted_bytes >= ENTRUSTED_BYTES:
            return "full", f"detached tasks take up {self._entrusted_bytes} bytes here"
        return None

    # ------------------------------------------------------------------ detached tasks

    def _entrust(self, held: Held) -> None:
        """Take over a detached task; said at once, since a short script may wait for just that."""
        held.state = HeldState.ENTRUSTED
        held.client.entrusted += 1
        self._entrusted_bytes += held.size + _ENTRUSTED_OVERHEAD
        self._reports.say(held.client, Accepted(held.task, held.attempt))
        self._effects.append(_entrust(held))

    def _on_entrusted_started(self, event: EntrustedStarted, now: float) -> None:
        held = self._find_entrusted(event.client, event.task)
        if held is not None:
            self._reports.say(held.client, Started(held.task, held.attempt, event.seconds))

    def _on_entrusted_done(self, event: EntrustedDone, now: float) -> None:
        held = self._find_entrusted(event.client, event.task)
        if held is not None:
            self._entrusted_no_more(held)
            self._reports.finished(held, event.status, event.serializer, event.payload, 0.0, now)

    def _on_entrusted_withdrawn(self, event: EntrustedWithdrawn, now: float) -> None:
        held = self._find_entrusted(event.client, event.task)
        if held is None:
            return
        wanted = held.intent is not Intent.WITHDRAW
        self._settle_intent(held, "dropped" if event.withdrawn else "running")
        if event.withdrawn and wanted:
            self._effects.append(_entrust(held))  # a later attempt came after the withdrawal
        elif event.withdrawn:
            self._entrusted_no_more(held)
            self._forget(held)

    def _entrusted_no_more(self, held: Held) -> None:
        held.client.entrusted -= 1
        self._entrusted_bytes -= held.size + _ENTRUSTED_OVERHEAD

    def _find_entrusted(self, client_id: bytes, task: bytes) -> Held | None:
        client = self._clients.get(client_id)
        held = client.held.get(task) if client is not None else None
        return held if held is not None and held.state is HeldState.ENTRUSTED else None

    # ------------------------------------------------------------------ results

    def _on_rack(self, client: ClientAccount, message: Rack, now: float) -> None:
        held = client.unacknowledged.get(message.task)
        # That of an earlier attempt comes from before this one was sent; its own is still to come.
        if held is not None and held.attempt == message.attempt:
            del client.unacknowledged[message.task], client.held[message.task]
            self._tombs.bury(client.client, message.task, message.attempt)

    def _end(self, held: Held, status: int, serializer: str, payload: Payload, seconds: float, now: float) -> None:
        """End an attempt that ran or was queued; nobody hears of it where its client has left."""
        if held.client.leaving:
            self._forget(held)
        else:
            self._reports.finished(held, status, serializer, payload, seconds, now)

    def _forget(self, held: Held) -> None:
        """Let go of an attempt, never to run it again."""
        self._drop(held)
        self._tombs.bury(held.client.client, held.task, held.attempt)

    def _drop(self, held: Held) -> None:
        held.state = HeldState.DONE
        del held.client.held[held.task]
        held.client.unacknowledged.pop(held.task, None)

    # ------------------------------------------------------------------ workers

    def _on_functions(self, event: FunctionsKnown, now: float) -> None:
        self._functions, self._serializers = event.functions, event.serializers

    def _on_worker_ready(self, event: WorkerReady, now: float) -> None:
        self._dispatch.slots.all[event.slot].ready = True

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
            if held.intent is not Intent.NONE:
                self._settle_intent(held, "finished")
            self._end(held, done.status, done.serializer, done.payload, done.seconds, now)
        self._dispatch.means.fold()
        for client in touched:
            self._grant(client)
        self._refresh_soon(now)

    def _on_worker_gone(self, event: WorkerGone, now: float) -> None:
        again: list[Held] = []
        for held in self._dispatch.vacate(event.slot):
            culprit = held.run == event.started and not event.retired
            if culprit and held.intent is Intent.REVOKE:
                self._settle_intent(held, "terminated")
                self._end(held, Status.REVOKED, "", b"", 0.0, now)
            elif culprit:
                self._settle_intent(held, "finished")
                self._end(held, Status.WORKER_LOST, "", event.reason.encode(), 0.0, now)
            elif held.intent is Intent.NONE or held.intent is Intent.REBALANCE:
                again.append(held)
            else:
                self._drop_recalled(held, now)
        self._wait_again(again)

    def _on_worker_recalled(self, event: WorkerRecalled, now: float) -> None:
        given_back = set(event.runs)
        again: list[Held] = []
        for run in event.asked:
            held = self._dispatch.find(run)
            if held is None:
                continue
            if run not in given_back:
                self._on_recall_refused(held)
                continue
            self._dispatch.release(run, now)
            if held.intent is Intent.REBALANCE:
                again.append(held)
            else:
                self._drop_recalled(held, now)
        self._wait_again(again)

    def _wait_again(self, helds: list[Held]) -> None:
        """Queue what no worker has started; what is of a client that left is dropped."""
        again: list[Held] = []
        for held in helds:
            held.intent = Intent.NONE
            held.reported = False
            if held.client.leaving:
                self._forget(held)
            else:
                again.append(held)
        self._dispatch.queue_first(again)

    def _call_back(self, held: Held, intent: Intent) -> None:
        """Ask a worker for a run; the most severe of several intents counts, each revoke with its own signal."""
        if intent > held.intent or intent is Intent.REVOKE:
            held.intent = intent
            self._effects.append(RecallRuns(held.slot, [held.run]))

    def _on_recall_refused(self, held: Held) -> None:
        """The run had started already."""
        if held.intent is not Intent.REVOKE:
            self._settle_intent(held, "running")
            return
        signal = self._recalls.started(held.run)
        if signal:
            self._effects.append(SignalWorker(held.slot, signal))
        elif not self._recalls.waits_for(held.run):
            held.intent = Intent.NONE

    def _drop_recalled(self, held: Held, now: float) -> None:
        """A run that was called back for good had not started."""
        revoked = held.intent is Intent.REVOKE
        self._settle_intent(held, "dropped")
        if revoked:
            self._end(held, Status.REVOKED, "", b"", 0.0, now)
        else:
            self._forget(held)

    def _settle_intent(self, held: Held, outcome: str) -> None:
        """Answer whoever wanted the run back."""
        intent, held.intent = held.intent, Intent.NONE
        if intent is Intent.WITHDRAW:
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, outcome))
        elif intent is Intent.REVOKE:
            self._recalls.resolve(held.run, outcome)

    # ------------------------------------------------------------------ withdraw and revoke

    def _on_withdraw(self, client: ClientAccount, message: Withdraw, now: float) -> None:
        held = client.held.get(message.task)
        if held is None:
            # Should the SUBMIT still be on its way, it comes too late.
            self._tombs.bury(client.client, message.task, message.attempt)
            self._reports.say(client, Withdrawn(message.task, message.attempt, "unknown"))
            return
        if message.attempt < held.attempt:
            return
        self._renumber(held, message.attempt)
        if held.state is HeldState.QUEUED:
            self._dispatch.unqueue(held)
            self._forget(held)
            self._reports.say(client, Withdrawn(message.task, message.attempt, "dropped"))
        elif held.state is HeldState.RUNNING:
            self._call_back(held, Intent.WITHDRAW)
        elif held.state is HeldState.ENTRUSTED:
            if held.intent is Intent.NONE:  # else the answer to an earlier asking is still to come
                self._effects.append(Disown(client.client, message.task))
            held.intent = Intent.WITHDRAW
        else:
            self._reports.send_result(held, now)

    def _on_revoke(self, event: RevokeAsked, now: float) -> None:
        revoke = Revoke(event.token, event.signal)
        tasks = dict.fromkeys(event.tasks)
        refused = set(self._revocations.add(tasks, now).refused)
        for task in tasks:
            revoke.note(task, NOT_REMEMBERED if task in refused else UNKNOWN)
            for client in self._clients.values():
                held = client.held.get(task)
                if held is not None:
                    self._revoke_held(held, revoke, now)
        self._recalls.add(revoke)

    def _revoke_held(self, held: Held, revoke: Revoke, now: float) -> None:
        if held.state is HeldState.QUEUED:
            self._dispatch.unqueue(held)
            self._end(held, Status.REVOKED, "", b"", 0.0, now)
            revoke.note(held.task, "dropped")
        elif held.state is HeldState.RUNNING:
            revoke.waiting[held.run] = held.task
            self._call_back(held, Intent.REVOKE)
        elif held.state is HeldState.DONE:
            revoke.note(held.task, "finished")
        # An entrusted one stands here a second time too, as an attempt of this node's own owner.

    # ------------------------------------------------------------------ credit and drain

    def _grant(self, client: ClientAccount, *, force: bool = False) -> None:
        if client.connected and not client.leaving:
            credit = self._credits.update(client, force=force)
            if credit is not None:
                self._reports.say(client, credit)

    def _refresh_soon(self, now: float) -> None:
        if self._refresh_at is None:
            self._refresh_at = now + REFRESH_S

    def _on_drain(self, event: DrainAsked, now: float) -> None:
        self._draining = True
        for client in self._clients.values():
            if client.client == self._own_client:
                continue  # what was entrusted to this node is its own, and is finished here
            self._drop_queue(client)
            self._hand_back(client)
            self._reports.say(client, Draining())

    def _is_idle(self) -> bool:
        """Whether nothing is left to run or to be acknowledged by a client within reach."""
        return not self._dispatch.running() and not any(
            client.queue or client.unfinished or (client.connected and client.unacknowledged)
            for client in self._clients.values()
        )


def _has_died_before(held: Held, message: Submit) -> bool:
    """Whether the attempt follows one whose worker died: that result is not its own, or one death counts twice."""
    died = held.result is not None and held.result.status == Status.WORKER_LOST
    return died and message.attempt > held.attempt


def _entrust(held: Held) -> Entrust:
    return Entrust(held.client.client, held.task, held.function, held.serializer, held.payload, held.options)
