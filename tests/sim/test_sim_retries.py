"""Retries and keys: tasks that ask for another try, and tasks that several clients call by one key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshq.core.owned import Ending
from meshq.testing import SimFunction, SimMesh
from meshq.testing.bounds import node_overflows, refuse_few, small_tables
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode
from meshq.testing.record import Record

FUNCTIONS = {
    "ten": SimFunction(0.010, 0.010),
    "long": SimFunction(1.0, 1.0),
    "flaky": SimFunction(0.010, 0.010, "flaky"),
    "deadly": SimFunction(0.005, 0.005, "kills"),
}
STEADY = {"max_retries": 50, "retry_backoff": 0.01, "retry_jitter": False}


def begin(*slots: int, clients: int = 1, seed: int = 0) -> tuple[SimMesh, list[SimNode], list[SimClient]]:
    """Make a mesh of nodes with these slots, and of clients that know them all."""
    mesh = SimMesh(seed, functions=FUNCTIONS)
    nodes = [mesh.add_node(count) for count in slots]
    made = [mesh.add_client() for _ in range(clients)]
    mesh.run_until(lambda: all(c.is_connected(n.ack.node) for c in made for n in nodes), within=2.0)
    return mesh, nodes, made


def endings(mesh: SimMesh, tasks: list[bytes]) -> set[Ending | None]:
    """Return how the tasks ended."""
    outcomes = (mesh.ledger.records[task].outcome for task in tasks)
    return {None if outcome is None else outcome.ending for outcome in outcomes}


def pausing(client: SimClient) -> int:
    """Return how many tasks wait for their next try."""
    return len(client.owner._retries.timers)


@pytest.mark.parametrize("detached", [False, True])
def test_what_fails_is_tried_again(detached: bool) -> None:
    """As often as it may be, and no more; what has had all its tries ends with its failure."""
    mesh, _, [client] = begin(2, 2)
    often = client.submit("flaky", 50, options=STEADY, detached=detached)
    twice = client.submit("flaky", 50, options={**STEADY, "max_retries": 1}, detached=detached)
    mesh.quiet(within=30.0)
    starts = [mesh.ledger.records[task].starts for task in twice]
    assert endings(mesh, often) == {Ending.DONE}
    assert endings(mesh, twice) == {Ending.DONE, Ending.FAILURE}
    assert set(starts) == {1, 2}


def test_a_retry_may_go_to_another_node() -> None:
    """It goes on where its first node is no more, and that it failed there is not forgotten."""
    mesh, [first, _], [client] = begin(1, 1)
    tasks = client.submit("flaky", 20, options={**STEADY, "retry_backoff": 2.0})
    mesh.run_until(lambda: pausing(client) > 5, within=1.0)
    mesh.crash(first, silent=True)
    mesh.quiet(within=600.0)
    records = [mesh.ledger.records[task] for task in tasks]
    assert endings(mesh, tasks) == {Ending.DONE}
    assert all(record.starts <= 1 + record.retries + record.moves for record in records)


@pytest.mark.parametrize(
    ("ask", "ending"),
    [
        (lambda mesh, client, tasks: client.withdraw(tasks), Ending.CANCELLED),
        (lambda mesh, client, tasks: mesh.revoke(tasks), Ending.REVOKED),
        (lambda mesh, client, tasks: mesh.purge(0.5, client), Ending.REVOKED),
        (lambda mesh, client, tasks: mesh.run(8.0), Ending.EXPIRED),
    ],
)
def test_what_waits_for_a_retry_can_be_ended(ask: Callable[..., Any], ending: Ending) -> None:
    """Withdrawn, revoked, purged or expired: it ends at once, not when its pause is over."""
    mesh, _, [client] = begin(4)
    options = {"max_retries": 50, "retry_backoff": 500.0, "retry_jitter": False, "expires": 8.0}
    tasks = client.submit("flaky", 100, options=options)
    mesh.run_until(lambda: client.unsettled == pausing(client) > 5, within=5.0)
    waiting = [task for task in tasks if mesh.ledger.records[task].outcome is None]
    ask(mesh, client, waiting)
    mesh.run(0.5)
    # Some have asked for a pause of their own, which was shorter.
    assert {ending} <= endings(mesh, waiting) <= {ending, Ending.DONE}
    assert pausing(client) == client.unsettled == 0


def test_what_must_not_run_twice_may_ask_for_it() -> None:
    """It runs again only because it has said so itself; by default it does not get that far."""
    mesh, _, [client] = begin(2)
    asked = client.submit("flaky", 50, options={**STEADY, "once": True})
    default = client.submit("flaky", 50, options={"once": True})
    mesh.quiet(within=30.0)
    assert endings(mesh, asked) == {Ending.DONE}
    assert endings(mesh, default) == {Ending.DONE, Ending.FAILURE}
    assert {mesh.ledger.records[task].starts for task in default} == {1}


@pytest.mark.parametrize("seed", range(5))
def test_poison_kills_three_workers(seed: int) -> None:
    """Exactly three, each task; and nobody else's task is charged with that."""
    mesh, nodes, [client] = begin(2, 2, 1, seed=seed)
    others = client.submit("long", 20)
    poison = client.submit("deadly", 5)
    mesh.run(0.5)
    mesh.break_connections(nodes[0])
    mesh.quiet(within=60.0)
    records = [mesh.ledger.records[task] for task in poison]
    assert endings(mesh, poison) == {Ending.WORKER_LOST}
    assert {record.blames for record in records} == {record.starts for record in records} == {3}
    assert {len(record.task.deaths or ()) for record in records} == {3}
    assert {mesh.ledger.records[task].starts for task in others} == {1}


# ---------------------------------------------------------------------- keys


def of_key(mesh: SimMesh, task: bytes) -> list[Record]:
    """Return what each client has of a task."""
    first = mesh.ledger.records[task]
    return [first, *first.twins]


def test_a_key_is_one_task_for_its_client() -> None:
    """However often it is called by that key, it runs once."""
    mesh, _, [client] = begin(2)
    [task] = {task for _ in range(5) for task in client.submit("ten", key="a")}
    [other] = client.submit("ten", key="b")
    mesh.quiet(within=5.0)
    assert [len(of_key(mesh, each)) for each in (task, other)] == [1, 1]
    assert [mesh.ledger.records[each].starts for each in (task, other)] == [1, 1]


@pytest.mark.parametrize("detached", [False, True])
def test_clients_that_call_by_the_same_key(detached: bool) -> None:
    """Each has its end of the task; who comes later gets the value that is there, from the same node."""
    mesh, _, [first, second, third] = begin(2, clients=3)
    [task] = first.submit("ten", key="a", detached=detached)
    mesh.run_until(lambda: not first.unsettled, within=1.0)
    assert second.submit("ten", key="a", detached=detached) == [task]
    mesh.quiet(within=5.0)
    assert mesh.ledger.records[task].starts == 1
    third.submit("long", key="a")
    mesh.quiet(within=5.0)
    outcomes = [record.outcome for record in of_key(mesh, task)]
    assert [outcome is not None and outcome.ending for outcome in outcomes] == [Ending.DONE] * 2


def test_who_withdraws_a_key_withdraws_its_own() -> None:
    """The task of another client by that key goes on."""
    mesh, _, [first, second] = begin(1, clients=2)
    first.submit("long")
    mesh.run(0.1)
    [task] = first.submit("ten", key="a", detached=True)
    mesh.run(0.1)
    second.submit("ten", key="a", detached=True)
    mesh.run(0.1)
    first.withdraw([task])
    mesh.quiet(within=5.0)
    outcomes = [record.outcome for record in of_key(mesh, task)]
    assert [outcome is not None and outcome.ending for outcome in outcomes] == [Ending.CANCELLED, Ending.DONE]


# ---------------------------------------------------------------------- bounds


def test_small_tables_are_filled_to_their_bounds() -> None:
    """Where tables are small they do fill up, refuse or forget, and all tasks end all the same."""
    with small_tables():
        mesh, [node], clients = begin(2, clients=2)
        refuse_few(node)
        for client in clients:
            client.submit("ten", 40, detached=True, padding=5000)
            client.submit("ten", 60, options={"countdown": 1.0})
            client.submit("deadly", 3)
            client.submit("ten", 60)
        mesh.run(0.5)
        assert node.holder._parking.count >= 4
        mesh.revoke([bytes([number]) * 16 for number in range(1, 7)])
        mesh.quiet(within=120.0)
        assert len(node.holder._revocations._expiry) == 6
        assert len(node.holder.dead._letters) == 1
        assert len(node.entrusted._attempts) == 8
        assert list(node_overflows(node)) == []
    assert {record.outcome is not None for record in mesh.ledger.all()} == {True}


def test_a_table_that_is_too_large_is_noticed() -> None:
    """The audit names the process, the table and its bound."""
    with small_tables():
        mesh, [node], _ = begin(1)
        for number in range(3):
            node.holder.dead._letters[bytes([number])] = "f", "", 0.0
        assert list(node_overflows(node)) == ["3 dead letters, of 1 at most"]
        with pytest.raises(AssertionError, match="a table of node1 is too large: 3 dead letters"):
            mesh.audit_one(node)
