"""Whether a machine's own books agree with each other, and whether they are empty when all is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from meshq.core.accounts import weight_of
from meshq.core.budget import large_size
from meshq.core.held import NODE, ClientAccount, HeldState
from meshq.core.holder import Holder
from meshq.core.owner import Owner

if TYPE_CHECKING:
    from meshq.testing.client import SimClient
    from meshq.testing.node import SimNode


def owner_faults(owner: Owner) -> Iterator[str]:
    """Yield what does not add up in an owner's books."""
    waiting = [task for queue in owner._router.waiting() for task in queue.tasks if task.node is None]
    if len(waiting) != len({task.id for task in waiting}):
        yield "a task waits twice"
    in_flight = 0
    for account in owner._nodes.values():
        counted = [task for task in account.in_flight.values() if not (task.detached or task.parked)]
        parked = [task for task in account.in_flight.values() if task.parked]
        in_flight += len(account.in_flight)
        if account.used != len(counted) or account.used != sum(account.used_of.values()):
            yield f"{account.name}: {account.used} in use, {len(counted)} in flight, {dict(account.used_of)}"
        if account.used_bytes != sum(large_size(task.payload) for task in counted):
            yield f"{account.name}: {account.used_bytes} bytes of arguments in the books, which is wrong"
        if account.parked != len(parked):
            yield f"{account.name}: {account.parked} parked, of {len(parked)}"
        asking = [
            task for task in account.in_flight.values() if not task.accepted and (task.parked or task.detached)
        ]
        if account.asking != sum(map(weight_of, asking)):
            yield f"{account.name}: {account.asking} bytes unanswered, of {len(asking)}"
        if any(task.node != account.node for task in account.in_flight.values()):
            yield f"{account.name}: has a task in flight that is elsewhere"
        if account.lost_at is not None and account.in_flight:
            yield f"{account.name}: is lost and has tasks in flight"
    pausing = len(owner._retries.timers)
    if in_flight + len(waiting) + pausing != len(owner._tasks):
        counts = f"{in_flight} in flight, {len(waiting)} waiting, {pausing} pausing"
        yield f"{len(owner._tasks)} unsettled, but {counts}"


def holder_faults(holder: Holder) -> Iterator[str]:
    """Yield what does not add up in a holder's books."""
    dispatch = holder._dispatch
    ringed = list(dispatch._ring)
    queueing = [client for client in holder._accounts.values() if client.queue and not client.stalled]
    if len(ringed) != len(queueing) or set(map(id, ringed)) != set(map(id, queueing)):
        yield f"{len(queueing)} clients have attempts queued, and {len(ringed)} take turns"
    for slot in dispatch.slots:
        if any((held.slot, held.run) != (slot.number, run) for run, held in slot.runs.items()):
            yield f"slot {slot.number} has runs that are not its own"
    size = 0
    for client in holder._accounts.values():
        yield from _client_faults(client)
        entrusted = [held for held in client.held.values() if held.state is HeldState.ENTRUSTED]
        size += sum(held.size + 1024 for held in entrusted)
    yield from budget_faults(holder)
    if size != holder._entrusting.bytes:
        yield f"{size} bytes entrusted, {holder._entrusting.bytes} in the books"


def budget_faults(holder: Holder) -> Iterator[str]:
    """Yield what of a node's budget is not what it holds."""
    budget, clients = holder.budget, holder._accounts.values()
    for client in clients:
        apart = HeldState.PARKED, HeldState.ENTRUSTED  # these have budgets of their own
        weighed = [held for held in client.held.values() if held.state not in apart]
        done = [held for held in weighed if held.state is HeldState.DONE and held.result is not None]
        arguments = sum(large_size(held.payload) for held in weighed if held.state is not HeldState.DONE)
        results = sum(large_size(held.result.payload) for held in done if held.result is not None)
        if (arguments, results) != (client.arguments, client.results):
            yield f"{arguments} + {results} bytes are held, {client.arguments} + {client.results} in the books"
        if client.stalled != (client in holder._dispatch._stalled):
            yield f"client {client.client.hex()[:8]}: stalled is {client.stalled}, and the turns say otherwise"
    sums = (
        sum(client.arguments for client in clients),
        sum(client.results for client in clients if client.connected),
        sum(client.results for client in clients if not client.connected),
    )
    if sums != (budget.arguments, budget.results, budget.absent_results):
        yield f"{sums} bytes are held, {budget.arguments, budget.results, budget.absent_results} in the books"


def _client_faults(client: ClientAccount) -> Iterator[str]:
    states = [held.state for held in client.held.values()]
    name = client.client.hex()[:8]
    if states.count(HeldState.QUEUED) != client.queued_count():
        yield f"client {name}: {states.count(HeldState.QUEUED)} are queued, {client.queued_count()} in the queue"
    if states.count(HeldState.PARKED) != client.parked:
        yield f"client {name}: {states.count(HeldState.PARKED)} are parked, {client.parked} in the books"
    if states.count(HeldState.DONE) != len(client.unacknowledged):
        yield f"client {name}: {states.count(HeldState.DONE)} done, {len(client.unacknowledged)} kept"
    if states.count(HeldState.ENTRUSTED) != client.entrusted:
        yield f"client {name}: {states.count(HeldState.ENTRUSTED)} entrusted, {client.entrusted} in the books"


def ghosts(client: SimClient, nodes: Iterable[SimNode]) -> Iterator[str]:
    """Yield the nodes that a client takes for present, though their processes have ended."""
    alive = {node.ack.node for node in nodes if node.alive}
    for view in client.session.membership.nodes():
        if view.node_id not in alive:
            yield f"{client.name} takes {view.ack.name} for {view.state}, which has ended"


def leftovers(holder: Holder, gone: set[bytes], left: set[bytes]) -> Iterator[str]:
    """Yield what a node still has when all is over.

    Clients that are ``gone`` without a word may have results here, and so may those that ``left`` where a
    HELLO of a connection made anew came after their BYE; else only of detached tasks. A node that has given this
    one up, and has peers enough without it, need not come back for what it has had run elsewhere since.
    """
    for client in holder._accounts.values():
        for held in client.held.values():
            has_left = client.client in left
            is_kept = client.client in gone or (has_left and (held.detached or not client.leaving))
            is_kept |= client.role == NODE and not client.connected
            if not (is_kept and held.state is HeldState.DONE):
                name = client.client.hex()[:8]
                yield f"task {held.task.hex()[:8]} of client {name} is still {held.state.name}"
    if holder._dispatch.running():
        yield f"{holder._dispatch.running()} runs are in the hands of workers"
