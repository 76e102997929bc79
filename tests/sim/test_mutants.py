"""Faults put into the machines on purpose: a simulator that does not catch them proves nothing by its silence."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from meshq.core import owner, schedule
from meshq.core.accounts import NodeAccount
from meshq.core.admission import Admission
from meshq.core.clients import Clients
from meshq.core.discarding import Discarding
from meshq.core.dispatch import Dispatch
from meshq.core.entrusting import Entrusting
from meshq.core.events import Send
from meshq.core.finishing import Finishing
from meshq.core.gossip import Gossip
from meshq.core.held import Held
from meshq.core.losses import Losses
from meshq.core.membership import Membership
from meshq.core.owned import Ending, Outcome
from meshq.core.owner import Owner
from meshq.core.parking import Parking, terms_of
from meshq.core.rates import Bucket
from meshq.core.reporting import Reports
from meshq.core.resizing import Resizing
from meshq.core.retries import Retries
from meshq.core.revocations import Revocations
from meshq.core.terms import Terms
from meshq.core.tombs import Tombs
from meshq.core.wanted_back import WantedBack
from meshq.core.withdrawals import Withdrawals
from meshq.protocol.messages import Rack, Submit
from meshq.testing import SimFailure, SimMesh, chaos
from meshq.testing.chaos import Chaos

SEEDS = 100
"""Within so many seeds each is to be caught."""

Patch = pytest.MonkeyPatch
_MUTANTS: dict[str, tuple[tuple[str, ...], Callable[[Patch], None]]] = {}


def mutant(*caught_as: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Register a fault, with a part of what the simulator is to say of it: one of these."""

    def register(patch: Callable[[Patch], None]) -> Callable[[Patch], None]:
        _MUTANTS[patch.__name__] = caught_as, patch
        return patch

    return register


@mutant("twice")
def no_dedupe(patch: Patch) -> None:
    """The node takes each copy of a SUBMIT for a new attempt."""
    take = Admission.on_submit

    def on_submit(self: Admission, client: Any, message: Submit, now: float, taken: list[Held]) -> None:
        kept = client.held.pop(message.task, None)
        if kept is not None:
            client.unacknowledged.pop(message.task, None)
        take(self, client, message, now, taken)

    patch.setattr(Admission, "on_submit", on_submit)


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
    gone = Finishing.on_gone
    patch.setattr(Finishing, "on_gone", lambda self, event, now: gone(self, event._replace(started=0), now))


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
    on_alarm = Parking._on_alarm

    def on_late_alarm(self: Parking, held: Held, now: float) -> None:
        terms_of(held).expires_at = inf
        on_alarm(self, held, now)

    patch.setattr(Parking, "_on_alarm", on_late_alarm)


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


@mutant("too early")
def pause_ignored(patch: Patch) -> None:
    """The owner tries again as soon as it looks at its clock."""

    def tick(self: Retries, now: float) -> None:
        for task_id in [task_id for task_id, _ in self.timers.items()]:
            self.timers.cancel(task_id)
            self._router.wait(self._tasks[task_id], now)

    patch.setattr(Retries, "tick", tick)


@mutant("is to be tried again for the time")
def retries_not_counted(patch: Patch) -> None:
    """The owner tries again for ever."""
    on_result = Retries.on_result

    def forgetful(self: Retries, task: Any, *arguments: Any) -> None:
        task.retries = 0
        on_result(self, task, *arguments)

    patch.setattr(Retries, "on_result", forgetful)


@mutant("is charged with")
def charged_though_not_started(patch: Patch) -> None:
    """The owner charges all that a dead node had with its death."""
    on_lost = Losses.on_lost

    def charge_all(self: Losses, event: Any, now: float) -> None:
        node = self._nodes.get(event.node)
        for task in list(node.in_flight.values()) if node is not None and event.died else ():
            if not task.once:
                self.charge(task, node, "a node was lost", now)
        on_lost(self, event, now)

    patch.setattr(Losses, "on_lost", charge_all)


@mutant("failed once more than that", "ends as worker lost", "is charged with")
def death_counted_twice(patch: Patch) -> None:
    """The node takes an attempt's death for that of the next attempt too."""
    patch.setattr(Held, "is_followed_by", lambda *_: False)


@mutant("s after the last fault")
def deaths_not_counted(patch: Patch) -> None:
    """The owner sends out for ever what kills each worker."""

    def charge(self: Losses, task: Any, node: Any, story: str, now: float) -> None:
        self.give_up(task, node, story) if task.once else self.wait_again(node, [task], now)

    patch.setattr(Losses, "charge", charge)


@mutant("s after the last fault")
def credit_leaks(patch: Patch) -> None:
    """The owner goes on counting attempts that it has taken back."""
    let_go = NodeAccount.let_go

    def let_go_of_less(self: NodeAccount, task: Any) -> None:
        used = self.used
        let_go(self, task)
        self.used = used

    patch.setattr(NodeAccount, "let_go", let_go_of_less)


@mutant("that are left")
def expiry_counted_anew(patch: Patch) -> None:
    """The owner gives a task that it sends again all of its time again."""
    submit = schedule.submission

    def submission(task: Any, now: float) -> Submit:
        expires = (task.options or {}).get("expires")
        message = submit(task, now)
        return message if expires is None else message._replace(options={**message.options, "expires": expires})

    patch.setattr(owner, "submission", submission)


@mutant("is sent with a countdown of")
def instants_on_the_wire(patch: Patch) -> None:
    """The owner says when, by its own clock, rather than in how long."""

    def submission(task: Any, now: float) -> Submit:
        message = schedule.submission(task, now)
        waits = task.due_at is not None and task.due_at > now
        return message._replace(options={**message.options, "countdown": task.due_at}) if waits else message

    patch.setattr(owner, "submission", submission)


@mutant("after it has acknowledged its revocation")
def revokes_not_told_to_who_joins(patch: Patch) -> None:
    """A node that starts again refuses nothing of what it refused before, nor what its peers tell it."""
    patch.setattr(Gossip, "on_heard", lambda *_: None)
    patch.setattr(Gossip, "on_ids", lambda *_: None)


@mutant("s after the last fault")
def withdrawn_ignored(patch: Patch) -> None:
    """The owner does not take back what a node gives back."""
    patch.setattr(WantedBack, "on_withdrawn", lambda *_: None)


@mutant("s after the last fault")
def recalled_runs_lost(patch: Patch) -> None:
    """The node does not hear which runs a worker has given back."""
    patch.setattr(Withdrawals, "on_worker_recalled", lambda *_: None)


@mutant("of one purge")
def purge_carried_out_again(patch: Patch) -> None:
    """The owner carries a purge out for each node that tells of it."""
    find = Discarding._purge

    def purge_anew(self: Discarding, command: bytes, now: float) -> Any:
        self._purges.pop(command, None)
        return find(self, command, now)

    patch.setattr(Discarding, "_purge", purge_anew)


@mutant("s after the last fault")
def entrusted_ends_unheard(patch: Patch) -> None:
    """The node does not tell the client what its own owner was told of a detached task."""
    patch.setattr(Entrusting, "on_done", lambda *_: None)


@mutant("s after the last fault")
def dead_worker_is_used(patch: Patch) -> None:
    """The node gives runs to a worker that is gone."""
    vacate = Dispatch.vacate

    def vacate_and_go_on(self: Dispatch, slot: int) -> list[Held]:
        helds = vacate(self, slot)
        self.slots.all[slot].ready = True
        return helds

    patch.setattr(Dispatch, "vacate", vacate_and_go_on)


@mutant("that are to go")
def more_runs_than_slots(patch: Patch) -> None:
    """The node takes one slot more than it is told to have, and says that it has."""
    resize = Resizing.on_resize
    patch.setattr(
        Resizing, "on_resize", lambda self, event, now: resize(self, event._replace(slots=event.slots + 1), now)
    )


@mutant("which has ended")
def incarnation_ignored(patch: Patch) -> None:
    """The client takes the process that answers at a dead node's port for that node."""

    def welcome_again(self: Membership, node: Any, ack: Any, now: float) -> list[Any]:
        return self._hear(node, now)

    patch.setattr(Membership, "_welcome_again", welcome_again)


@mutant("s after the last fault")
def lease_not_renewed(patch: Patch) -> None:
    """The node takes no notice of a client's signs of life, but for its greeting."""

    def heard(self: Clients, client: Any, now: float) -> None:
        if client.lapsed:
            self._hand_back(client)

    patch.setattr(Clients, "heard", heard)


# ---------------------------------------------------------------------- the test


@pytest.mark.parametrize("name", _MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: Patch) -> None:
    """Within a hundred seeds it shows in what users see: the machines' own books are not looked into."""
    caught_as, patch = _MUTANTS[name]
    patch(monkeypatch)
    monkeypatch.setattr(SimMesh, "audit_one", lambda *_: None)
    monkeypatch.setattr(chaos, "QUIET_S", 60.0)
    seeds = range(1, SEEDS + 1)
    found = ((seed, text) for seed in seeds if any(part in (text := complaint_about(seed)) for part in caught_as))
    seed, complaint = next(found, (0, ""))
    print(f"{name}: seed {seed}: {complaint}")
    assert complaint


def test_there_are_enough_mutants() -> None:
    """At least two dozen faults, of every room of the machines."""
    assert len(_MUTANTS) >= 24


def complaint_about(seed: int) -> str:
    """Return what breaks the rules in a seed, or "" """
    try:
        Chaos(seed).run()
    except SimFailure as failure:
        return str(failure).partition("\n")[0]
    return ""
