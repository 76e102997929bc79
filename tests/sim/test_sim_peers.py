"""Detached tasks and revoked ids among nodes, each of which is a client of the others."""

from __future__ import annotations

import pytest

from meshq.core.owned import Ending
from meshq.testing import SimFunction, SimMesh
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode

FUNCTIONS = {"ten": SimFunction(0.010, 0.010), "long": SimFunction(0.5, 0.5)}


def begin(*slots: int, seed: int = 0) -> tuple[SimMesh, list[SimNode], SimClient]:
    """Start nodes with these slots, which know each other, and a client that knows the first one alone."""
    mesh = SimMesh(seed, functions=FUNCTIONS)
    nodes = [mesh.add_node(count) for count in slots]
    client = mesh.add_client()
    for node in nodes[1:]:
        mesh.cut(client, node)
    mesh.run_until(lambda: all(len(node.peers.connected()) == len(slots) - 1 for node in nodes), within=2.0)
    mesh.run_until(lambda: client.is_connected(nodes[0].ack.node), within=2.0)
    return mesh, nodes, client


def ran_at(mesh: SimMesh, node: SimNode) -> int:
    """Return how many runs have started at a node."""
    return sum(started[0] == node.ack.node for started in mesh.ledger._starts)


def endings(mesh: SimMesh, tasks: list[bytes]) -> set[Ending | None]:
    """Return how the tasks ended."""
    outcomes = (mesh.ledger.records[task].outcome for task in tasks)
    return {None if outcome is None else outcome.ending for outcome in outcomes}


def starts(mesh: SimMesh, tasks: list[bytes]) -> int:
    """Return how many runs of the tasks were started."""
    return sum(mesh.ledger.records[task].starts for task in tasks)


def test_a_busy_nodes_detached_tasks_run_at_its_peers() -> None:
    """In a third of the time with three nodes; each runs once."""
    mesh, nodes, client = begin(2, 2, 2)
    began = mesh.now
    tasks = client.submit("ten", 600, detached=True)
    mesh.run_until(lambda: not mesh.unsettled(), within=2.0)
    assert mesh.now - began < 1.5 * 600 * 0.010 / 6
    assert starts(mesh, tasks) == 600
    assert min(ran_at(mesh, node) for node in nodes) > 100


def test_what_finds_a_free_slot_stays() -> None:
    """As does what is parked until its time: nothing is gained by sending it away."""
    mesh, [node, other], client = begin(2, 2)
    client.submit("ten", 100, detached=True, options={"countdown": 2.0})
    for _ in range(20):
        client.submit("ten", 2, detached=True)
        mesh.run(0.05)
    assert (ran_at(mesh, node), ran_at(mesh, other)) == (40, 0)
    assert node.holder.counts()["parked"] == 100
    mesh.quiet(within=10.0)


def test_two_busy_nodes_do_not_swap_their_tasks() -> None:
    """Each keeps to its own as long as the other has no room to spare."""
    mesh, nodes, client = begin(2, 2)
    mesh.heal()
    second = mesh.add_client()
    mesh.run_until(lambda: second.is_connected(nodes[1].ack.node), within=3.0)
    mesh.cut(client, nodes[1])
    mesh.cut(second, nodes[0])
    mesh.run(4.0)
    for each in (client, second):
        each.submit("ten", 400, detached=True)
    mesh.run_until(lambda: not mesh.unsettled(), within=5.0)
    own = {node.ack.node: node.hello.client for node in nodes}
    swapped = sum(own[started[0]] != started[1] for started in mesh.ledger._starts)
    assert swapped < 0.15 * 800


@pytest.mark.parametrize("fault", ["crash", "power", "freeze", "cut"])
def test_a_peer_that_is_lost(fault: str) -> None:
    """Its share runs elsewhere, 3.5 s later at most; at once where it is known to have died."""
    mesh, [_, peer], client = begin(1, 3)
    tasks = client.submit("long", 40, detached=True)
    mesh.run(0.7)
    running = peer.holder.counts()["running"]
    assert running == 3
    match fault:
        case "freeze":
            mesh.freeze(peer, 60.0)
        case "cut":
            mesh.cut(mesh.nodes[0], peer)
        case _:
            mesh.crash(peer, silent=fault == "power")
    own = mesh.nodes[0].entrusted.session.owner
    mesh.run_until(lambda: not own._nodes[peer.ack.node].in_flight, within=1.0 if fault == "crash" else 3.5)
    mesh.quiet(within=60.0)
    assert endings(mesh, tasks) == {Ending.DONE}
    assert starts(mesh, tasks) <= 40 + 2 * running


def test_what_must_not_run_twice_starts_once() -> None:
    """A peer that is lost may have run it: then it is lost to its client too, and runs nowhere else."""
    mesh, [node, peer], client = begin(1, 1)
    tasks = client.submit("ten", 100, detached=True, options={"once": True})
    mesh.run(0.3)
    mesh.crash(peer)
    mesh.run(0.2)
    mesh.kill_worker(node, 0)
    mesh.quiet(within=60.0)
    assert max(mesh.ledger.records[task].starts for task in tasks) == 1
    assert endings(mesh, tasks) == {Ending.DONE, Ending.LOST}


def test_the_tasks_of_a_node_that_dies_come_from_their_client_again() -> None:
    """What its peer runs for it ends there unheard; the peer keeps nothing of it for good."""
    mesh, [node, peer], client = begin(1, 2)
    mesh.heal()
    tasks = client.submit("ten", 100, detached=True)
    mesh.run(0.2)
    mesh.crash(node)
    mesh.run_until(lambda: not mesh.unsettled(), within=10.0)
    assert endings(mesh, tasks) == {Ending.DONE}
    mesh.crash_client(client)
    mesh.part()
    mesh.run(2 * 3600.0)
    mesh.gone.clear()
    assert list(peer.holder._accounts) == [peer.hello.client]


def test_withdrawn_tasks_are_fetched_back_from_a_peer() -> None:
    """Those that have not started there; and a purge counts each once, wherever it waits."""
    mesh, [node, peer], client = begin(1, 1)
    tasks = client.submit("long", 8, detached=True)
    mesh.run(0.3)
    client.withdraw(tasks[4:])
    mesh.run(0.3)
    assert endings(mesh, tasks[4:]) == {Ending.CANCELLED}
    more = client.submit("long", 20, detached=True)
    mesh.run(0.2)
    command = mesh.purge()
    mesh.run(2.0)
    ended = [task for task in tasks[:4] + more if endings(mesh, [task]) == {Ending.REVOKED}]
    counted = sum(each.steering.discarded[command] + each.steering.purged[command].own for each in (node, peer))
    assert counted == len(ended) >= 20
    assert starts(mesh, ended) == 0
    mesh.quiet(within=10.0)


def test_a_purge_of_one_node_discards_what_waits_there_for_another() -> None:
    """The other one lets it end, and does not send it elsewhere."""
    mesh, [_, peer], client = begin(1, 1)
    tasks = client.submit("long", 12, detached=True)
    mesh.run(0.3)
    waiting = peer.holder.counts()["queued"]
    assert waiting == 1
    mesh.ledger.revoke_asked(tasks)
    peer.post(lambda: peer.steering.purge(b"p" * 16, 2.0))
    mesh.run(0.3)
    assert peer.steering.purged[b"p" * 16].own == waiting
    assert sum(endings(mesh, [task]) == {Ending.REVOKED} for task in tasks) == waiting
    mesh.quiet(within=10.0)


@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0])
def test_what_was_revoked_during_a_cut(seconds: float) -> None:
    """The node that was cut off learns of it from its peers, within two seconds of the healing."""
    mesh, [node, peer], client = begin(1, 1)
    tasks = client.submit("long", 30, detached=True)
    mesh.run(0.2)
    mesh.cut(node, peer)
    ids = [mesh.rng.randbytes(16) for _ in range(5)]
    mesh.ledger.revoke_asked(tasks[20:])
    node.post(lambda: node.steering.revoke(1, [*tasks[20:], *ids], 0, b"c" * 16))
    mesh.run(seconds)
    mesh.heal()
    mesh.run_until(lambda: {task for task, _ in peer.holder.revoked(mesh.now)} >= {*tasks[20:], *ids}, within=2.0)
    mesh.quiet(within=60.0)
    assert endings(mesh, tasks[20:]) == {Ending.REVOKED}
