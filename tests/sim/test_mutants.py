"""Faults put into the machines on purpose: a simulator that does not catch them proves nothing by its silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshq.core.accounts import NodeAccount
from meshq.core.discarding import Discarding
from meshq.core.dispatch import Dispatch
from meshq.core.events import Send
from meshq.core.held import Held
from meshq.core.holder import Holder
from meshq.core.losses import Losses
from meshq.core.owned import Ending, Outcome
from meshq.core.owner import Owner
from meshq.core.parking import Parking
from meshq.core.rates import Bucket
from meshq.core.reporting import Reports
from meshq.core.revocations import Revocations
from meshq.core.terms import Terms
from meshq.core.tombs import Tombs
from meshq.core.withdrawals import Withdrawals
from meshq.protocol.messages import Rack, Submit
from meshq.testing import SimFailure, SimMesh, chaos
from meshq.testing.chaos import Chaos

SEEDS = 40

Patch = pytest.MonkeyPatch
_MUTANTS: dict[str, tuple[str, Callable[[Patch], None]]] = {}


def mutant(caught_as: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a fault, with a part of what the simulator is to say of it."""

    def register(patch: Callable[[Patch], None]) -> Callable[[Patch], None]:
        _MUTANTS[patch.__name__] = caught_as, patch
        return patch

    return register


@mutant("twice")
def no_dedupe(patch: Patch) -> None:
    """The node takes each copy of a SUBMIT for a new attempt."""
    take = Holder._on_submit

    def on_submit(self: Holder, client: Any, message: Submit, now: float, taken: list[Held]) -> None:
        kept = client.held.pop(message.task, None)
        if kept is not None:
            client.unacknowledged.pop(message.task, None)
        take(self, client, message, now, taken)

    patch.setattr(Holder, "_on_submit", on_submit)


@mutant("twice")
def attempts_forgotten(patch: Patch) -> None:
    """The node does not remember attempts that were acknowledged."""
    patch.setattr(Tombs, "covers", lambda *_: False)


@mutant("s after the last fault")
def result_sent_once(patch: Patch) -> None:
    """The node sends each result once, and does not wait for its acknowledgement."""
    send = Reports.send_result

    def send_result(self: Reports, held: Held, now: float) -> None:
        if not held.tries:
            send(self, held, now)

    patch.setattr(Reports, "send_result", send_result)


@mutant("s after the last fault")
def submit_sent_once(patch: Patch) -> None:
    """The owner does not send again what is not answered."""
    patch.setattr(Owner, "_resend", lambda *_: None)


@mutant("whose credit is")
def credit_ignored(patch: Patch) -> None:
    """The owner sends as much as it has."""
    patch.setattr(NodeAccount, "room", lambda *_: 1_000_000)


@mutant("s after the last fault this is left")
def rack_forgotten(patch: Patch) -> None:
    """The owner acknowledges nothing."""
    handle = Owner.handle

    def without_racks(self: Owner, event: Any, now: float) -> list[Any]:
        effects = handle(self, event, now)
        return [e for e in effects if not (type(e) is Send and e.messages and type(e.messages[0]) is Rack)]

    patch.setattr(Owner, "handle", without_racks)


@mutant("for which there is no reason")
def worker_lost_is_final(patch: Patch) -> None:
    """The owner gives a task up when the first worker has died under it."""

    def on_worker_lost(self: Owner, task: Any, node: Any, story: str, now: float) -> None:
        self._settle(task, Outcome(Ending.WORKER_LOST, text=story))

    patch.setattr(Owner, "_on_worker_lost", on_worker_lost)


@mutant("s after the last fault")
def lost_node_keeps_its_tasks(patch: Patch) -> None:
    """The owner does not send elsewhere what a lost node had."""

    def on_lost(self: Losses, event: Any, now: float) -> None:
        if event.node in self._nodes:
            self._nodes[event.node].lost_at = now

    patch.setattr(Losses, "on_lost", on_lost)


@mutant("settled twice")
def every_result_wins(patch: Patch) -> None:
    """The owner keeps a task that has ended, and takes a second result of it."""
    settle = Owner._settle

    def settle_and_keep(self: Owner, task: Any, outcome: Outcome) -> None:
        settle(self, task, outcome)
        if type(self) is not Owner:  # a node's own owner passes on what it hears, and must do so once
            task.node = None
            self._tasks[task.id] = task

    patch.setattr(Owner, "_settle", settle_and_keep)


@mutant("twice")
def dead_worker_is_not_to_blame(patch: Patch) -> None:
    """The node gives the run that a worker died under to the next worker, as the same attempt."""
    gone = Holder._on_worker_gone
    patch.setattr(Holder, "_on_worker_gone", lambda self, event, now: gone(self, event._replace(started=0), now))


@mutant("s after the last fault")
def dead_worker_keeps_its_runs(patch: Patch) -> None:
    """The node forgets what a worker that died still had to run."""
    patch.setattr(Dispatch, "vacate", lambda *_: [])


@mutant("has left, and still has attempts queued")
def leave_taken_for_silence(patch: Patch) -> None:
    """The node keeps all that a client that said BYE had there."""

    def on_bye(self: Withdrawals, client: Any, message: Any, now: float) -> None:
        client.leaving = True

    patch.setattr(Withdrawals, "on_bye", on_bye)


@mutant("before its time")
def countdown_ignored(patch: Patch) -> None:
    """The node starts what it can, whenever it comes."""
    begin = Terms.begin

    def begin_at_once(self: Terms, now: float) -> None:
        begin(self, now)
        self.start_at = now

    patch.setattr(Terms, "begin", begin_at_once)


@mutant("after it has expired")
def expiry_ignored(patch: Patch) -> None:
    """The node runs what has expired while it waited there."""
    patch.setattr(Parking, "_on_alarm", lambda *_: None)


@mutant("in a second")
def rate_ignored(patch: Patch) -> None:
    """The node counts no runs against a rate limit."""
    patch.setattr(Bucket, "admit", lambda *_: True)


@mutant("after it has acknowledged its revocation")
def revocation_forgotten(patch: Patch) -> None:
    """The node drops what it has of a revoked task, and takes it when it comes again."""
    patch.setattr(Revocations, "contains", lambda *_: False)


@mutant("that it has discarded")
def discarded_in_vain(patch: Patch) -> None:
    """The owner counts what nodes end themselves, and what runs, as discarded."""
    called_back = Discarding._begin

    def begin(self: Discarding, purge: Any, now: float) -> None:
        called_back(self, purge, now)
        purge.discarded += purge.called_back

    patch.setattr(Discarding, "_begin", begin)


@mutant("s after the last fault")
def parked_for_good(patch: Patch) -> None:
    """The node does not release what a rate limit held back."""
    patch.setattr(Parking, "_release", lambda *_: None)


@mutant("for the second time")
def run_again_though_it_may_have_run(patch: Patch) -> None:
    """The owner sends what must not run twice elsewhere, when its node or worker is lost."""
    patch.setattr(Losses, "give_up", lambda self, task, node, story: self.wait_again(node, [task], 0.0))


@pytest.mark.parametrize("name", _MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: Patch) -> None:
    """Within a few seeds it shows in what users see: the machines' own books are not looked into."""
    caught_as, patch = _MUTANTS[name]
    patch(monkeypatch)
    monkeypatch.setattr(SimMesh, "audit", lambda _: None)
    monkeypatch.setattr(chaos, "QUIET_S", 60.0)
    complaints = filter(None, map(complaint_about, range(1, SEEDS)))
    assert caught_as in next(complaints, "nothing was noticed")


def complaint_about(seed: int) -> str:
    """Return what breaks the rules in a seed, or "" """
    try:
        Chaos(seed).run()
    except SimFailure as failure:
        return str(failure).partition("\n")[0]
    return ""
