"""Attempts that somebody wants back: a client that withdraws one or leaves, whoever revokes, the node itself.

What is queued ends at once. A run in the hands of a worker is called back: the worker gives it back, or has
started it already. Each run has one *intent*, why it is wanted back; the most severe of several counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.entrusting import Entrusting
from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import HolderEffect, RecallRuns, RevokeAsked, SignalWorker
from meshq.core.parking import Parking
from meshq.core.recalls import ANSWER_SHARE, NOT_REMEMBERED, UNKNOWN, Recalls, Revoke
from meshq.core.reconciling import MAX_PAIRS
from meshq.core.relaying import Relaying
from meshq.core.reporting import Reports
from meshq.core.revocations import Revocations
from meshq.core.work import WorkerRecalled
from meshq.ids import ID_BYTES
from meshq.protocol.messages import Bye, ByeAck, Holding, Status, Withdraw, Withdrawn

_GOES_AGAIN = frozenset({Intent.REBALANCE, Intent.TIME_LIMIT, Intent.CUT})
"""Of one given back with these intents nobody wants that it does not run: it was not what took too long."""
_BOTH = frozenset({Intent.WITHDRAW, Intent.REVOKE})


class Withdrawals:
    """What is wanted back, and by whom; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        clients: Mapping[bytes, ClientAccount],
        dispatch: Dispatch,
        parking: Parking,
        reports: Reports,
        endings: Endings,
        entrusting: Entrusting,
        relaying: Relaying,
        effects: list[HolderEffect],
    ) -> None:
        self.revocations = Revocations()
        self.recalls = Recalls()
        self._clients = clients
        self._dispatch = dispatch
        self._parking = parking
        self._reports = reports
        self._endings = endings
        self._entrusting = entrusting
        self._relaying = relaying
        self._effects = effects
        self.on_given_back: Callable[[Held], None] | None = None
        """Called with what no worker has started, once this node is to start nothing any more."""
        self._outdone: dict[int, int] = {}
        """Run → attempt, where its client waits to hear of a withdrawal that a revoke has outdone."""

    # ------------------------------------------------------------------ who asks

    def on_withdraw(self, client: ClientAccount, message: Withdraw, now: float) -> None:
        """Give the client its task back, if it has not started."""
        held = client.held.get(message.task)
        if held is not None and held.is_followed_by(message.attempt):
            self._endings.forget(held)
            held = None
        if held is None:
            if self._entrusting.has_passed_on(client, message.task):
                self._reports.say(client, Withdrawn(message.task, message.attempt, "running"))
                return
            # Should the SUBMIT still be on its way, it comes too late.
            self._endings.tombs.bury(client.client, message.task, message.attempt)
            self._reports.say(client, Withdrawn(message.task, message.attempt, "unknown"))
            return
        if message.attempt < held.attempt:
            return
        held.renumber(message.attempt)
        if self.let_go(held):
            self._reports.say(client, Withdrawn(message.task, message.attempt, "dropped"))
        elif held.state is HeldState.RUNNING:
            self._call_back(held, Intent.WITHDRAW)
        elif held.state is HeldState.ENTRUSTED:
            self._entrusting.withdraw(held)
        else:
            self._reports.send_result(held, now)

    def on_holding(self, client: ClientAccount, message: Holding, now: float) -> None:
        """Tell the client which attempts are not here, though it counts on them; a late copy of one is refused."""
        for task, attempt in filter(_is_attempt, message.pairs[:MAX_PAIRS]):
            if task not in client.held:
                self._endings.tombs.bury(client.client, task, attempt)
                self._reports.say(client, Withdrawn(task, attempt, "unknown"))

    def on_bye(self, client: ClientAccount, message: Bye, now: float) -> None:
        """Drop what the client has here, but for detached tasks; what runs is left to end unheard."""
        dropped = self._dispatch.clear(client) + self._parking.clear(client)
        for held in dropped:
            self._endings.forget(held)
        for held in list(client.held.values()):
            if held.state is HeldState.RUNNING:
                self._call_back(held, Intent.REBALANCE)
            elif held.state is HeldState.DONE:
                self._endings.leave(held, now)
        self._reports.say(client, ByeAck(len(dropped)))
        client.leaving = True

    def on_revoke(self, event: RevokeAsked, now: float) -> None:
        """End what is here of these tasks, remember them, and pass that on."""
        due = now + ANSWER_SHARE * event.seconds if event.seconds else None
        revoke = Revoke(event.token, event.signal, due)
        tasks = list(dict.fromkeys(event.tasks))
        refused = set(self.revocations.add(tasks, now).refused)
        for task in tasks:
            revoke.note(task, NOT_REMEMBERED if task in refused else UNKNOWN)
            status = self._endings.status_of(task, now)
            if status is not None:
                revoke.note(task, _outcome_of(status))
        self._revoke_all(tasks, revoke, now)
        self.recalls.add(revoke)
        self._relaying.revoke(event.command, tasks)
        # Those known before are refused for longer from now on, which is to be kept too.
        self._relaying.refused(self.revocations.remaining(tasks, now), None)

    def learn(self, ids: Iterable[tuple[bytes, float]], now: float) -> list[bytes]:
        """Refuse tasks, each for so many seconds, and let run what has started; return those not known before."""
        new = self.revocations.merge(ids, now).new
        self._revoke_all(new, Revoke(None, 0), now)
        return new

    def _revoke_all(self, tasks: list[bytes], revoke: Revoke, now: float) -> None:
        holders = [client for client in self._clients.values() if client.held]
        for task in tasks:
            for client in holders:
                held = client.held.get(task)
                if held is not None:
                    self._revoke(held, revoke, now)

    def _revoke(self, held: Held, revoke: Revoke, now: float) -> None:
        if self._take_out(held):
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
            revoke.note(held.task, "dropped")
        elif held.intent is Intent.TIME_LIMIT:
            revoke.note(held.task, "running")  # and is being killed
        elif held.state is HeldState.RUNNING:
            revoke.waiting[held.run] = held.task
            self._call_back(held, Intent.REVOKE)
        elif held.result is not None and held.result.status != Status.RETRY:
            revoke.note(held.task, _outcome_of(held.result.status))
        # An entrusted one stands here a second time too, as an attempt of this node's own owner.

    def let_go(self, held: Held) -> bool:
        """Forget an attempt that waits here; return False where it does not wait."""
        waits = self._take_out(held)
        if waits:
            self._endings.forget(held)
        return waits

    def _take_out(self, held: Held) -> bool:
        """Take an attempt out of where it waits; False where it does not wait here."""
        if held.state is HeldState.QUEUED:
            self._dispatch.unqueue(held)
        elif held.state is HeldState.PARKED:
            self._parking.remove(held)
        else:
            return False
        return True

    def _call_back(self, held: Held, intent: Intent) -> None:
        """Ask a worker for a run; the most severe of several intents counts, each revoke with its own signal."""
        is_outdone = {intent, held.intent} == _BOTH
        if is_outdone:
            self._outdone[held.run] = held.attempt
        if is_outdone or intent > held.intent or intent is Intent.REVOKE:
            held.intent = max(intent, held.intent)
            self._effects.append(RecallRuns(held.slot, [held.run]))

    # ------------------------------------------------------------------ what workers say

    def on_worker_recalled(self, event: WorkerRecalled, now: float) -> None:
        """Take what the worker gives back; the rest had started."""
        given_back = set(event.runs)
        again: list[Held] = []
        for run in event.asked:
            held = self._dispatch.find(run)
            if held is None:
                continue
            if run not in given_back:
                self._on_refused(held)
                continue
            self._dispatch.release(run, now)
            if held.intent in _GOES_AGAIN:
                again.append(held)
            else:
                self.drop(held, now)
        self.wait_again(again, now)

    def _on_refused(self, held: Held) -> None:
        """The run had started already."""
        if held.intent is Intent.TIME_LIMIT or held.intent is Intent.CUT:
            return  # it ends with its worker
        if held.intent is not Intent.REVOKE:
            self.settle(held, "running")
            return
        if self._outdone.pop(held.run, None) == held.attempt:
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, "running"))
        slot, signal = self._dispatch.slots.all[held.slot], self.recalls.started(held.run)
        if signal:
            slot.signalled = held.run
            self._effects.append(SignalWorker(held.slot, signal))
        elif not self.recalls.waits_for(held.run) and slot.signalled != held.run:
            held.intent = Intent.NONE

    def drop(self, held: Held, now: float) -> None:
        """End a run that was called back for good, and had not started."""
        revoked = held.intent is Intent.REVOKE
        self._parking.give_back(held)
        self.settle(held, "dropped")
        if revoked:
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
        else:
            self._endings.forget(held)

    def settle(self, held: Held, outcome: str) -> None:
        """Answer whoever wanted the run back."""
        intent, held.intent = held.intent, Intent.NONE
        self._outdone.pop(held.run, None)  # what is told of its end says more
        if intent is Intent.WITHDRAW:
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, outcome))
        elif intent >= Intent.REVOKE:
            self.recalls.resolve(held.run, outcome)

    def wait_again(self, helds: list[Held], now: float) -> None:
        """Queue or park what no worker has started; what is of a client that left, or was revoked, ends."""
        again: list[Held] = []
        for held in helds:
            held.intent = Intent.NONE
            held.reported = False
            self._outdone.pop(held.run, None)
            self._parking.give_back(held)
            is_revoked = self.recalls.waits_for(held.run) or self.revocations.contains(held.task, now)
            self.recalls.resolve(held.run, "dropped")
            if held.client.leaving:
                self._endings.forget(held)
            elif is_revoked:
                self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
            elif self.on_given_back is not None:
                self.on_given_back(held)
            elif not self._parking.take(held, now):
                again.append(held)
        self._dispatch.queue_first(again)


def _outcome_of(status: int) -> str:
    """Say what a revoke finds that has ended: a detached task may have been dropped just now, by our own owner."""
    return "dropped" if status == Status.REVOKED else "finished"


def _is_attempt(pair: list[Any]) -> bool:
    """Whether what a peer has sent is an attempt: the wire only sees to it that it is a list."""
    return list(map(type, pair)) == [bytes, int] and len(pair[0]) == ID_BYTES
