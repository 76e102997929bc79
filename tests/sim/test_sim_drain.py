"""Drains on the virtual network: nothing is lost, nothing runs twice, whoever is there to see to it."""

from __future__ import annotations

from random import Random

import pytest

from meshq.core.owned import Ending
from meshq.protocol.messages import Status
from meshq.testing import SimFunction, SimMesh
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode

FUNCTIONS = {
    "ten": SimFunction(0.010, 0.010),
    "slow": SimFunction(0.2, 0.5),
    "long": SimFunction(20.0, 20.0),
}


def make_mesh(seed: int = 0, *, trace: bool = True) -> SimMesh:
    """Make a mesh that loses nothing of its own accord."""
    return SimMesh(seed, functions=FUNCTIONS, trace=trace)


def add_nodes(mesh: SimMesh, *slots: int) -> list[SimNode]:
    """Start nodes with these slots, which know each other."""
    nodes = [mesh.add_node(count) for count in slots]
    mesh.run_until(lambda: all(len(node.peers.connected()) == len(slots) - 1 for node in nodes), within=3.0)
    return nodes


def add_client(mesh: SimMesh) -> SimClient:
    """Start a client that knows all nodes."""
    client = mesh.add_client()
    nodes = mesh.living_nodes()
    mesh.run_until(lambda: all(client.is_connected(node.ack.node) for node in nodes), within=3.0)
    return client


def starts(mesh: SimMesh, tasks: list[bytes]) -> set[int]:
    """Return how often the tasks were started."""
    return {mesh.ledger.records[task].starts for task in tasks}


def leave(mesh: SimMesh, client: SimClient) -> None:
    """Have a client end as a script does, once its detached tasks are accepted."""
    mesh.run_until(lambda: not client.owner.unaccepted(), within=10.0)
    mesh.leave(client)
    mesh.run(0.6)


def drain(mesh: SimMesh, node: SimNode, within: float = 30.0, grace: float | None = None) -> None:
    """Drain a node, and wait for its end."""
    mesh.drain(node, grace)
    mesh.run_until(lambda: not node.alive, within)


@pytest.mark.parametrize("seed", range(3))
def test_a_rolling_restart(seed: int) -> None:
    """Tasks of a client and of a script that has ended: each runs once, and the client has all its values."""
    mesh = make_mesh(seed, trace=False)
    nodes = add_nodes(mesh, 2, 3, 1)
    script, client = add_client(mesh), add_client(mesh)
    left = script.submit("ten", 200, detached=True) + script.submit("slow", 10, detached=True)
    leave(mesh, script)
    tasks = client.submit("ten", 300, spread_s=3.0) + client.submit("slow", 20, spread_s=3.0)
    tasks += client.submit("ten", 200, detached=True, spread_s=3.0)
    rng = Random(seed)
    for index, node in enumerate(nodes):
        mesh.run(rng.uniform(0.1, 1.0))
        drain(mesh, node)
        nodes[index] = mesh.restart(node)
        mesh.run(1.0)
    mesh.quiet(within=30.0)
    assert starts(mesh, left + tasks) == {1}
    assert {mesh.ledger.records[task].outcome.ending for task in tasks} == {Ending.DONE}  # type: ignore[union-attr]


def test_what_a_script_has_left_goes_to_a_peer_at_once() -> None:
    """A node with an hour of such tasks ends within a second; also with those that have yet to wait."""
    mesh = make_mesh()
    first, second = add_nodes(mesh, 1, 2)
    script = add_client(mesh)
    tasks = script.submit("ten", 100, detached=True, options={"countdown": 60.0})
    leave(mesh, script)
    mesh.run(1.0)
    drain(mesh, first, within=1.5)
    assert len(second.held()) >= 100
    mesh.run(70.0)
    assert starts(mesh, tasks) == {1}


def test_a_lonely_node_finishes_what_it_was_left() -> None:
    """There is nobody to take it over; with a grace, too, nothing of it is lost."""
    mesh = make_mesh()
    [node] = add_nodes(mesh, 2)
    script = add_client(mesh)
    tasks = script.submit("slow", 10, detached=True)
    leave(mesh, script)
    drain(mesh, node, grace=0.1)
    assert starts(mesh, tasks) == {1}


def test_a_peer_that_comes_during_the_drain_gets_what_waits() -> None:
    """The node that drains has gone on by itself meanwhile."""
    mesh = make_mesh()
    [node] = add_nodes(mesh, 1)
    script = add_client(mesh)
    tasks = script.submit("slow", 100, detached=True)
    leave(mesh, script)
    mesh.drain(node)
    mesh.run(2.0)
    assert 0 < sum(mesh.ledger.records[task].starts for task in tasks) < 20
    mesh.add_node(1)
    mesh.run_until(lambda: not node.alive, within=3.0)
    mesh.run(60.0)
    assert starts(mesh, tasks) == {1}


@pytest.mark.parametrize("detached", [False, True])
def test_after_the_grace_what_runs_starts_anew_elsewhere(detached: bool) -> None:
    """That is not counted against it; its client is there."""
    mesh = make_mesh()
    first, _ = add_nodes(mesh, 2, 2)
    client = add_client(mesh)
    tasks = client.submit("long", 4, detached=detached)
    mesh.run(1.0)
    drain(mesh, first, within=4.0, grace=2.0)
    mesh.quiet(within=60.0)
    assert sorted(mesh.ledger.records[task].starts for task in tasks) == [1, 1, 2, 2]
    assert all(mesh.ledger.records[task].task.deaths is None for task in tasks)


def test_after_the_grace_what_a_script_has_left_starts_anew_at_a_peer() -> None:
    """It is handed over as what has not started is."""
    mesh = make_mesh()
    first, second = add_nodes(mesh, 2, 2)
    script = add_client(mesh)
    tasks = script.submit("long", 4, detached=True)
    leave(mesh, script)
    drain(mesh, first, within=4.0, grace=2.0)
    mesh.run(60.0)
    assert {mesh.ledger.records[task].starts for task in tasks} <= {1, 2}
    results = [second.holder.survey.result(task, mesh.now) for task in tasks]
    assert sum(result is not None and result.status == Status.OK for result in results) >= 2
    assert sum(mesh.ledger.records[task].starts for task in tasks) == 6


@pytest.mark.parametrize("detached", [False, True])
def test_after_the_grace_what_must_not_run_twice_is_lost(detached: bool) -> None:
    """What has not started goes elsewhere as ever."""
    mesh = make_mesh()
    first, _ = add_nodes(mesh, 1, 1)
    client = add_client(mesh)
    tasks = client.submit("long", 8, detached=detached, options={"once": True})
    mesh.run(1.0)
    drain(mesh, first, within=4.0, grace=1.0)
    mesh.quiet(within=200.0)
    endings = [mesh.ledger.records[task].outcome.ending for task in tasks]  # type: ignore[union-attr]
    assert starts(mesh, tasks) == {1}
    assert (endings.count(Ending.LOST), endings.count(Ending.DONE)) == (1, 7)


def test_a_client_that_crashes_during_the_drain_leaves_nothing_undone() -> None:
    """Its detached tasks go to peers, those that were handed back to it just then too."""
    for seed in range(2, 8, 2):
        mesh = make_mesh(seed)
        first, _ = add_nodes(mesh, 1, 1)
        client = add_client(mesh)
        tasks = client.submit("ten", 80, detached=True)
        mesh.run_until(lambda client=client: not client.owner.unaccepted(), within=5.0)  # type: ignore[misc]
        mesh.drain(first)
        mesh.run(0.0005 * seed)
        mesh.crash_client(client)
        mesh.run_until(lambda first=first: not first.alive, within=20.0)  # type: ignore[misc]
        mesh.run(20.0)
        assert 0 not in starts(mesh, tasks), seed
