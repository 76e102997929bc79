"""What clients that vanish leave behind: for how long nodes keep it, and that who asks for it has them go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshq.core.asked import Asked
from meshq.core.clients import QUEUE_LEASE_S, RESULT_LEASE_S, Clients
from meshq.core.held import ClientAccount
from meshq.core.owned import Ending
from meshq.testing import SimFunction, SimMesh
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode

HOUR_S = 3600.0
FUNCTIONS = {"ten": SimFunction(0.010, 0.010), "hour": SimFunction(HOUR_S, HOUR_S)}
POLL_S = 300.0
"""Attached clients ask four times a second; a lease must bear that it is seldom."""


def begin() -> tuple[SimMesh, SimNode, SimClient, list[bytes]]:
    """Make a mesh of one slot, where a task of a client runs for an hour, one is queued, ten are parked."""
    mesh = SimMesh(functions=FUNCTIONS)
    node, client = mesh.add_node(1), mesh.add_client()
    mesh.run_until(lambda: client.is_connected(node.ack.node), within=2.0)
    tasks = client.submit("hour")
    mesh.run(0.5)
    tasks += client.submit("ten") + client.submit("ten", 10, options={"countdown": HOUR_S})
    mesh.run(0.5)
    assert counts(node) == (1, 1, 10, 0)
    return mesh, node, client, tasks


def counts(node: SimNode) -> tuple[int, int, int, int]:
    """Return how many attempts run, are queued, parked and finished."""
    found = node.holder.counts()
    return found["running"], found["queued"], found["parked"], found["finished"]


def ask_for(mesh: SimMesh, node: SimNode, task: bytes, seconds: float) -> None:
    """Let time pass in which somebody has attached to a task."""
    end_at = mesh.now + seconds
    while mesh.now < end_at:
        node.holder.asked.owners([task], mesh.now)
        mesh.run(POLL_S)


def test_what_nobody_asks_for_is_dropped() -> None:
    """What waits, after a quarter of an hour; what runs goes on, and its result is there for an hour."""
    mesh, node, client, _ = begin()
    mesh.crash_client(client)
    mesh.run(QUEUE_LEASE_S - 10.0)
    assert counts(node) == (1, 1, 10, 0)
    mesh.run(20.0)
    assert counts(node) == (1, 0, 0, 0)
    mesh.run(HOUR_S - QUEUE_LEASE_S)
    assert counts(node) == (0, 0, 0, 1)
    mesh.run(RESULT_LEASE_S - 30.0)
    assert counts(node) == (0, 0, 0, 1)
    mesh.run(60.0)
    assert counts(node) == (0, 0, 0, 0)


def test_what_somebody_asks_for_is_kept() -> None:
    """All of the client's tasks run, once, and their results wait, for as long as somebody waits for one."""
    mesh, node, client, tasks = begin()
    mesh.crash_client(client)
    ask_for(mesh, node, tasks[-1], HOUR_S + 60.0)
    assert counts(node) == (0, 0, 0, 12)
    assert [mesh.ledger.records[task].starts for task in tasks] == [1] * 12
    ask_for(mesh, node, tasks[-1], RESULT_LEASE_S + 60.0)
    assert counts(node) == (0, 0, 0, 12)


def test_a_client_that_returns_within_its_lease() -> None:
    """Nothing was dropped, and nothing runs twice, however often that happens."""
    mesh, node, client, tasks = begin()
    for _ in range(2):
        mesh.freeze(client, QUEUE_LEASE_S - 60.0)
        mesh.run(QUEUE_LEASE_S - 70.0)
        assert counts(node)[1:3] == (1, 10)
        mesh.run(40.0)
    mesh.run_until(lambda: not mesh.unsettled(), within=HOUR_S)
    assert [mesh.ledger.records[task].starts for task in tasks] == [1] * 12


def test_a_client_that_returns_after_its_lease() -> None:
    """It sends again what was dropped, and each task ends once."""
    mesh, node, client, tasks = begin()
    mesh.freeze(client, QUEUE_LEASE_S + 60.0)
    mesh.run(QUEUE_LEASE_S + 30.0)
    assert counts(node) == (1, 0, 0, 0)
    mesh.run(60.0)
    assert counts(node)[1:3] == (1, 10)
    mesh.quiet(within=2 * HOUR_S)
    outcomes = [mesh.ledger.records[task].outcome for task in tasks]
    assert {outcome and outcome.ending for outcome in outcomes} == {Ending.DONE}
    assert [mesh.ledger.records[task].starts for task in tasks] == [1] * 12


def never_renewed_by_asking(patch: pytest.MonkeyPatch) -> None:
    """A fault: who asks gets an answer, and the lease goes on running out."""
    owners = Asked.owners

    def look(self: Asked, tasks: list[bytes], now: float) -> dict[bytes, bytes]:
        before = {client: client.asked_at for client in self._clients.values()}
        found = owners(self, tasks, now)
        for client, asked_at in before.items():
            client.asked_at = asked_at
        return found

    patch.setattr(Asked, "owners", look)


def never_renewed_by_its_client(patch: pytest.MonkeyPatch) -> None:
    """A fault: the lease counts from the client's first word."""
    heard = Clients.heard

    def hear(self: Clients, client: ClientAccount, now: float) -> None:
        before = client.heard_at
        heard(self, client, now)
        client.heard_at = before

    patch.setattr(Clients, "heard", hear)


def never_ending(patch: pytest.MonkeyPatch) -> None:
    """A fault: what a vanished client has left stays for ever."""
    patch.setattr(Clients, "_end_leases", lambda *_: None)


@pytest.mark.parametrize(
    ("fault", "scenario"),
    [
        (never_renewed_by_asking, test_what_somebody_asks_for_is_kept),
        (never_renewed_by_its_client, test_a_client_that_returns_within_its_lease),
        (never_ending, test_what_nobody_asks_for_is_dropped),
    ],
)
def test_a_fault_of_leases_is_noticed(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None], scenario: Callable[[], None]
) -> None:
    """Or these scenarios would prove nothing."""
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        scenario()
