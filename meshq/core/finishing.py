"""What the workers of a node say: which are ready, which runs have ended, and which have died with a worker."""

from __future__ import annotations

from meshq.core.clients import Clients
from meshq.core.dispatch import Dispatch, is_to_blame
from meshq.core.draining import Draining
from meshq.core.endings import Endings
from meshq.core.held import ClientAccount, Held, Intent
from meshq.core.limits import Limits
from meshq.core.resizing import Resizing
from meshq.core.withdrawals import Withdrawals
from meshq.core.work import WorkerDone, WorkerGone, WorkerReady
from meshq.protocol.messages import Result, Status

# For what each task passes: a member of an enum takes 60 ns to find, and Result(…) 100 ns more than what it calls.
_NO_INTENT = Intent.NONE
_new = tuple.__new__


class Finishing:
    """The events of workers at the holder, part by part of which it is made."""

    def __init__(
        self,
        dispatch: Dispatch,
        clients: Clients,
        endings: Endings,
        withdrawals: Withdrawals,
        limits: Limits,
        resizing: Resizing,
        drain: Draining,
    ) -> None:
        self._dispatch = dispatch
        self._clients = clients
        self._endings = endings
        self._withdrawals = withdrawals
        self._limits = limits
        self._resizing = resizing
        self._drain = drain

    def on_ready(self, event: WorkerReady, now: float) -> None:
        """Give the worker work from now on."""
        slot = self._dispatch.slots.all.get(event.slot)
        if slot is not None:  # else it was given up while its worker was starting
            slot.ready = True

    def on_done(self, event: WorkerDone, now: float) -> None:
        """End runs, and learn from how long they took."""
        dispatch, means, dones = self._dispatch, self._dispatch.means, event.dones
        slot, share_s = dispatch.slots.all[event.slot], dispatch.share_s(event.slot, len(dones), now)
        runs, head = slot.runs, next(iter(slot.runs), 0)
        ended: dict[ClientAccount, list[Held]] = {}
        function: str | None = None
        tally: list[float] = []
        for run, status, serializer, payload, seconds in dones:
            held = runs.pop(run, None)
            if held is None:
                continue
            slot.load_s -= held.expected_s
            client, mean_s = held.client, held.client.mean_s
            busy_s = seconds if seconds > share_s else share_s
            client.mean_s = busy_s if mean_s is None else mean_s + 0.1 * (busy_s - mean_s)
            if held.function != function:  # as a rule it is the same one again
                function, tally = held.function, means.tally(held.function)
            tally[0] += busy_s
            tally[1] += 1
            if status:
                means.observe_failure(held.function)
            if held.intent is not _NO_INTENT:
                self._end(ended, now)  # what is told of this one comes behind them
                self._withdrawals.settle(held, "finished")
            held.result = _new(Result, (held.task, held.attempt, status, serializer, payload, seconds))
            helds = ended.get(client)
            if helds is None:
                ended[client] = [held]
            else:
                helds.append(held)
        dispatch.slots.relieved(slot, head, now)
        means.fold()
        for client, helds in ended.items():
            self._endings.end_all(client, helds, now)
            self._clients.grant(client)
        if self._clients.refresh_at is None:
            self._clients.refresh_soon(now)

    def _end(self, ended: dict[ClientAccount, list[Held]], now: float) -> None:
        """End attempts that have their results, and empty the lists."""
        for client, helds in ended.items():
            self._endings.end_all(client, helds, now)
            helds.clear()

    def on_gone(self, event: WorkerGone, now: float) -> None:
        """End what died with the worker; what it had not started goes to another."""
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
                self._end_with_it(held, event, now)
            elif held.intent is Intent.WITHDRAW or held.intent is Intent.REVOKE:
                self._withdrawals.drop(held, now)
            else:
                again.append(held)
        self._withdrawals.wait_again(again, now)
        self._limits.forget(event.slot)
        self._resizing.on_gone(event.slot)
        self._clients.refresh_soon(now)

    def _end_with_it(self, held: Held, event: WorkerGone, now: float) -> None:
        """End a run that its worker took along: as lost, or as what the worker was killed for."""
        status, outcome, text = Status.WORKER_LOST, "finished", event.reason
        if held.intent is Intent.TIME_LIMIT:
            status, outcome, text = Status.TIME_LIMIT, "terminated", self._limits.story(held)
        elif held.intent is Intent.REVOKE:
            status, outcome, text = Status.REVOKED, "terminated", ""
        self._withdrawals.settle(held, outcome)
        self._endings.end(held, status, "", text.encode(), 0.0, now)


def _may_have_run(held: Held, event: WorkerGone) -> bool:
    """Whether a run that must not be repeated had started; those before the last have ended, unheard."""
    return held.terms is not None and held.terms.once and held.run <= event.started
