"""Attempts that somebody wants back: a client that withdraws one or leaves, whoever revokes, the node itself.

What is queued ends at once. A run in the hands of a worker is called back: the worker gives it back, or has
started it already. Each run has one *intent*, why it is wanted back; the most severe of several counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshq.core.dispatch import Dispatch
from meshq.core.endings import Endings
from meshq.core.entrusting import Entrusting
from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import HolderEffect, RecallRuns, RevokeAsked, SignalWorker
from meshq.core.parking import Parking
from meshq.core.recalls import NOT_REMEMBERED, UNKNOWN, Recalls, Revoke
from meshq.core.reporting import Reports
from meshq.core.revocations import Revocations
from meshq.core.work import WorkerRecalled
from meshq.protocol.messages import Bye, ByeAck, Status, Withdraw, Withdrawn


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
        self._effects = effects

    # ------------------------------------------------------------------ who asks

    def on_withdraw(self, client: ClientAccount, message: Withdraw, now: float) -> None:
        """Give the client its task back, if it has not started."""
        held = client.held.get(message.task)
        if held is None:
            # Should the SUBMIT still be on its way, it comes too late.
            self._endings.tombs.bury(client.client, message.task, message.attempt)
            self._reports.say(client, Withdrawn(message.task, message.attempt, "unknown"))
            return
        if message.attempt < held.attempt:
            return
        held.renumber(message.attempt)
        if held.state is HeldState.QUEUED:
            self._dispatch.unqueue(held)
            self._endings.forget(held)
            self._reports.say(client, Withdrawn(message.task, message.attempt, "dropped"))
        elif held.state is HeldState.RUNNING:
            self._call_back(held, Intent.WITHDRAW)
        elif held.state is HeldState.ENTRUSTED:
            self._entrusting.withdraw(held)
        else:
            self._reports.send_result(held, now)

    def on_bye(self, client: ClientAccount, message: Bye, now: float) -> None:
        """Drop what the client has here, but for detached tasks; what runs is left to end unheard."""
        dropped = self._dispatch.clear(client)
        for held in dropped:
            self._endings.forget(held)
        for held in list(client.held.values()):
            if held.state is HeldState.RUNNING:
                self._call_back(held, Intent.REBALANCE)
            elif held.state is HeldState.DONE and not held.detached:
                self._endings.forget(held)
        self._reports.say(client, ByeAck(len(dropped)))
        client.leaving = True

    def on_revoke(self, event: RevokeAsked, now: float) -> None:
        """End what is here of these tasks, and remember them."""
        revoke = Revoke(event.token, event.signal)
        tasks = dict.fromkeys(event.tasks)
        refused = set(self.revocations.add(tasks, now).refused)
        for task in tasks:
            revoke.note(task, NOT_REMEMBERED if task in refused else UNKNOWN)
            for client in self._clients.values():
                held = client.held.get(task)
                if held is not None:
                    self._revoke(held, revoke, now)
        self.recalls.add(revoke)

    def _revoke(self, held: Held, revoke: Revoke, now: float) -> None:
        if held.state is HeldState.QUEUED:
            self._dispatch.unqueue(held)
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
            revoke.note(held.task, "dropped")
        elif held.state is HeldState.RUNNING:
            revoke.waiting[held.run] = held.task
            self._call_back(held, Intent.REVOKE)
        elif held.state is HeldState.DONE:
            revoke.note(held.task, "finished")
        # An entrusted one stands here a second time too, as an attempt of this node's own owner.

    def _call_back(self, held: Held, intent: Intent) -> None:
        """Ask a worker for a run; the most severe of several intents counts, each revoke with its own signal."""
        if intent > held.intent or intent is Intent.REVOKE:
            held.intent = intent
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
            if held.intent is Intent.REBALANCE:
                again.append(held)
            else:
                self.drop(held, now)
        self.wait_again(again)

    def _on_refused(self, held: Held) -> None:
        """The run had started already."""
        if held.intent is not Intent.REVOKE:
            self.settle(held, "running")
            return
        signal = self.recalls.started(held.run)
        if signal:
            self._effects.append(SignalWorker(held.slot, signal))
        elif not self.recalls.waits_for(held.run):
            held.intent = Intent.NONE

    def drop(self, held: Held, now: float) -> None:
        """End a run that was called back for good, and had not started."""
        revoked = held.intent is Intent.REVOKE
        self.settle(held, "dropped")
        if revoked:
            self._endings.end(held, Status.REVOKED, "", b"", 0.0, now)
        else:
            self._endings.forget(held)

    def settle(self, held: Held, outcome: str) -> None:
        """Answer whoever wanted the run back."""
        intent, held.intent = held.intent, Intent.NONE
        if intent is Intent.WITHDRAW:
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, outcome))
        elif intent is Intent.REVOKE:
            self.recalls.resolve(held.run, outcome)

    def wait_again(self, helds: list[Held]) -> None:
        """Queue what no worker has started; what is of a client that left is dropped."""
        again: list[Held] = []
        for held in helds:
            held.intent = Intent.NONE
            held.reported = False
            if held.client.leaving:
                self._endings.forget(held)
            else:
                again.append(held)
        self._dispatch.queue_first(again)
