"""Time, limits, priorities and control commands, each in a scenario of its own on the virtual network."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.core import parking
from meshq.core.owned import Ending
from meshq.testing import SimFunction, SimMesh
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode

FUNCTIONS = {
    "ten": SimFunction(0.010, 0.010),
    "long": SimFunction(1.0, 1.0),
    "limited": SimFunction(0.010, 0.010, options={"rate_limit": "20/s"}),
    "soft": SimFunction(5.0, 5.0, options={"soft_time_limit": 0.5}),
    "hard": SimFunction(5.0, 5.0, options={"time_limit": 0.5}),
}


def begin(slots: list[int], clients: int = 1) -> tuple[SimMesh, list[SimNode], list[SimClient]]:
    """Make a mesh of nodes with these slots, and of clients that know them all."""
    mesh = SimMesh(functions=FUNCTIONS)
    nodes = [mesh.add_node(count) for count in slots]
    made = [mesh.add_client() for _ in range(clients)]
    mesh.run_until(lambda: all(c.is_connected(n.ack.node) for c in made for n in nodes), within=2.0)
    return mesh, nodes, made


def endings(mesh: SimMesh, tasks: list[bytes]) -> list[Ending | None]:
    """Return how the tasks ended, in their order."""
    outcomes = (mesh.ledger.records[task].outcome for task in tasks)
    return [None if outcome is None else outcome.ending for outcome in outcomes]


def done(mesh: SimMesh, tasks: list[bytes]) -> int:
    """Return how many of the tasks are done."""
    return endings(mesh, tasks).count(Ending.DONE)


def starts(mesh: SimMesh, tasks: list[bytes]) -> int:
    """Return how many runs of the tasks were started."""
    return sum(mesh.ledger.records[task].starts for task in tasks)


def counts(mesh: SimMesh, what: str) -> int:
    """Return a count of all nodes together."""
    return sum(node.holder.counts()[what] for node in mesh.living_nodes())


def test_what_is_urgent_goes_first() -> None:
    """It waits for no more than what nodes have in hand, however much was there before."""
    mesh, _, [client] = begin([2])
    many = client.submit("ten", 1000)
    mesh.run(1.0)
    urgent = client.submit("ten", 10, options={"priority": 9})
    later = client.submit("ten", 10, options={"priority": 0})
    mesh.run_until(lambda: done(mesh, urgent) == 10, within=0.15)
    mesh.run_until(lambda: done(mesh, many) == 1000, within=6.0)
    assert done(mesh, later) <= 1  # on the second slot, beside the last of the many
    mesh.quiet(within=1.0)


def test_a_countdown_takes_up_nothing() -> None:
    """What is parked leaves the slots to others, starts at its time, and elsewhere where its node is lost."""
    mesh, nodes, [client] = begin([1, 1])
    began = mesh.now
    parked = client.submit("ten", 100, options={"countdown": 5.0})
    others = client.submit("ten", 200)
    mesh.run_until(lambda: done(mesh, others) == 200, within=2.0)
    assert [node.holder.counts()["parked"] for node in nodes] == [50, 50]
    mesh.crash(nodes[0])
    mesh.run(began + 4.9 - mesh.now)
    assert starts(mesh, parked) == 0
    mesh.run_until(lambda: done(mesh, parked) == 100, within=4.0)
    assert starts(mesh, parked) == 100


def test_more_is_parked_than_nodes_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over waits at its owner, and all of it runs when its time has come."""
    monkeypatch.setattr(parking, "MAX_PARKED", 52)
    mesh, _, [client] = begin([2, 2])
    parked = client.submit("ten", 200, options={"countdown": 3.0})
    mesh.run(2.5)
    assert counts(mesh, "parked") == 40
    mesh.run_until(lambda: done(mesh, parked) == 200, within=2.5)
    assert starts(mesh, parked) == 200


@pytest.mark.parametrize("detached", [False, True])
def test_what_is_not_started_in_time_expires(detached: bool) -> None:
    """At a node, where it waits behind others, as at its owner; what runs is let run."""
    mesh, _, [client] = begin([1])
    running = client.submit("long", options={"expires": 0.5}, detached=detached)
    mesh.run(0.1)
    waiting = client.submit("long", 20, options={"expires": 0.5}, detached=detached)
    mesh.run(0.6)
    assert set(endings(mesh, waiting)) == {Ending.EXPIRED}
    mesh.quiet(within=5.0)
    assert (endings(mesh, running), starts(mesh, waiting)) == ([Ending.DONE], 0)


def test_a_rate_holds_at_each_node() -> None:
    """Two nodes do twice as much; nothing starts in bursts, and other functions are not held up."""
    mesh, _, [client] = begin([2, 2])
    began = mesh.now
    limited = client.submit("limited", 80)
    others = client.submit("ten", 100)
    mesh.run_until(lambda: done(mesh, others) == 100, within=1.0)
    mesh.run(began + 2.0 - mesh.now)
    assert done(mesh, limited) == pytest.approx(80, abs=6)
    mesh.quiet(within=2.0)


def test_a_node_that_joins_helps_with_what_a_rate_holds_back() -> None:
    """It gets some of what is parked elsewhere, and nothing goes to and fro."""
    mesh, nodes, [client] = begin([4])
    limited = client.submit("limited", 200)
    mesh.run(1.0)
    nodes.append(mesh.add_node(4))
    mesh.run_until(lambda: done(mesh, limited) == 200, within=7.5)
    attempts = [mesh.ledger.records[task].task.attempt for task in limited]
    assert max(attempts) <= 3
    assert starts(mesh, limited) == 200


def test_a_changed_rate_acts_at_once() -> None:
    """On what is parked, and on what is queued; lifted, it holds nothing back."""
    mesh, _, [client] = begin([2])
    limited, free = client.submit("limited", 100), client.submit("ten", 100)
    mesh.rate_limit("ten", 10.0)
    mesh.run(1.0)
    assert done(mesh, free) < 20
    mesh.rate_limit("limited", 0.0)
    mesh.run_until(lambda: done(mesh, limited) == 100, within=1.0)
    mesh.rate_limit("ten", 0.0)
    mesh.quiet(within=1.5)
    assert done(mesh, free) == 100


def test_time_limits() -> None:
    """The soft one is raised in the run, the hard one takes its worker; others are not charged with that."""
    mesh, _, [client] = begin([1])
    tasks = client.submit("soft") + client.submit("hard") + client.submit("ten", 5)
    mesh.run_until(lambda: not client.unsettled, within=3.0)
    assert endings(mesh, tasks) == [Ending.FAILURE, Ending.TIME_LIMIT, *[Ending.DONE] * 5]
    assert starts(mesh, tasks) == 7


def test_slots_come_and_go() -> None:
    """New ones are put to use, surplus ones end after their run."""
    mesh, [node], [client] = begin([1])
    tasks = client.submit("long", 12)
    mesh.run(0.1)
    mesh.resize(node, 4)
    mesh.run_until(lambda: node.holder.counts()["running"] == 4, within=1.0)
    mesh.resize(node, 2)
    mesh.run(2.5)
    assert node.holder.counts()["running"] == 2
    mesh.quiet(within=10.0)
    assert (done(mesh, tasks), starts(mesh, tasks)) == (12, 12)


def purged(mesh: SimMesh, nodes: list[SimNode], command: bytes) -> tuple[int, int, set[str]]:
    """Return what clients and nodes have discarded by a purge, and who was silent, as who asks adds it up."""
    answers = [node.steering.purged[command] for node in nodes]
    clients: dict[bytes, int] = {}
    for answer in answers:
        for client, count in answer.clients.items():
            clients[client] = max(count, clients.get(client, 0))
    own = sum(answer.own for answer in answers) + sum(node.steering.discarded[command] for node in nodes)
    return sum(clients.values()), own, {label for answer in answers for label in answer.silent}


@pytest.mark.parametrize("words", [{}, {"detached": True}, {"options": {"countdown": 60.0}}], ids=str)
def test_a_purge_counts_each_task_once(words: dict[str, Any]) -> None:
    """Whoever has it, and however many nodes pass the purge on; what runs is left to run."""
    mesh, nodes, clients = begin([1, 1], clients=3)
    running = [task for client in clients for task in client.submit("long", 2)]
    mesh.run(0.1)
    waiting = [task for client in clients for task in client.submit("long", 30, **words)]
    mesh.run(0.3)
    command = mesh.purge(client=clients[0])
    mesh.run(0.5)
    owned, own, silent = purged(mesh, nodes, command)
    ended = endings(mesh, running + waiting).count(Ending.REVOKED)
    assert (owned + own, silent) == (ended, set())
    assert endings(mesh, waiting) == [Ending.REVOKED] * 90
    mesh.quiet(within=5.0)
    assert starts(mesh, waiting) == 0
    assert (own > 0) is ("detached" in words)


def test_a_purge_with_a_client_that_is_frozen() -> None:
    """What it has at nodes is discarded there, it is named, and the others are counted as ever."""
    mesh, nodes, clients = begin([1, 1], clients=3)
    tasks = [client.submit("long", 30) for client in clients]
    mesh.run(0.3)
    held = sum(node.holder.counts()["queued"] for node in nodes)
    mesh.freeze(clients[0], 30.0)
    command = mesh.purge(1.0)
    mesh.run(0.7)
    owned, own, silent = purged(mesh, nodes, command)
    ended = [endings(mesh, each).count(Ending.REVOKED) for each in tasks]
    assert (ended[0], owned) == (0, ended[1] + ended[2])
    assert 0 < own <= held
    assert silent == {clients[0].name}
    assert ended[1] + ended[2] >= 56
    mesh.quiet(within=60.0)


def test_a_purge_with_a_node_that_is_frozen() -> None:
    """The clients answer for what they have got back, in time for the other node."""
    mesh, [node, frozen], clients = begin([1, 1], clients=2)
    tasks = [task for client in clients for task in client.submit("long", 30)]
    mesh.run(0.3)
    mesh.freeze(frozen, 1.5)
    command = mesh.purge(1.0)
    mesh.run(0.7)
    owned, own, silent = purged(mesh, [node], command)
    assert (owned + own, silent) == (endings(mesh, tasks).count(Ending.REVOKED), set())
    assert owned >= 50
    mesh.quiet(within=10.0)
    assert starts(mesh, tasks) <= 6


def test_a_revoke_outlives_a_restart() -> None:
    """A node that starts again refuses what it refused before, whoever sends it."""
    mesh, [node], [client] = begin([1])
    running, *waiting = client.submit("long", 10)
    mesh.run(0.3)
    mesh.freeze(client, 6.0)
    mesh.revoke(waiting)
    mesh.run(0.3)
    mesh.crash(node)
    mesh.restart(node, same_port=True)
    mesh.quiet(within=20.0)
    assert endings(mesh, [running, *waiting]) == [Ending.DONE, *[Ending.REVOKED] * 9]
    assert starts(mesh, waiting) == 0
