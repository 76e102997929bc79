"""Detached tasks that a busy node has accepted run at its peers, and are that node's all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import work
from mesh_harness import NodeProcess, Stage, wait_until

from meshq import AsyncResult, Mesh, TaskRevoked


@pytest.fixture
def busy(stage: Stage) -> Mesh:
    """A client of a mesh of one node with one slot; another node, of two, is to come."""
    stage.start()
    return stage.client()


def join(stage: Stage, mesh: Mesh) -> NodeProcess:
    """Start the other node, and wait until both its slots are taken."""
    node = stage.start(slots=2)
    wait_until(lambda: running(mesh).get(node.name) == 2, what="the other node has work")
    return node


def running(mesh: Mesh) -> dict[str, int]:
    """Return how many tasks each node runs."""
    return {name: reply["running"] for name, reply in mesh.control.ping(timeout=5).by_node().items()}


def rows(mesh: Mesh) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the node, the list and the row of each task that is listed."""
    look = mesh.control.inspect(timeout=5)
    for what, listed in (
        ("active", look.active()),
        ("reserved", look.reserved()),
        ("scheduled", look.scheduled()),
    ):
        for node, listed_there in listed.items():
            for row in listed_there:
                yield node, what, row


def test_a_task_that_runs_at_a_peer_is_seen_and_ended_there(stage: Stage, busy: Mesh) -> None:
    """Each is listed once, by the node that has it, is known by its id to anybody, and can be terminated."""
    sent = [busy.delay(work.nap, 30.0) for _ in range(5)]
    assert busy.wait_accepted(5) == 0
    other = join(stage, busy)
    listed = list(rows(busy))
    assert sorted(row["id"] for _, _, row in listed) == sorted(result.id for result in sent)
    assert Counter(what for _, what, _ in listed) == {"active": 3, "reserved": 2}
    said = busy.control.inspect(timeout=5).query_task([result.id for result in sent])
    assert sorted(task for tasks in said.values() for task in tasks) == sorted(result.id for result in sent)
    stranger = stage.client(2)
    states = Counter(AsyncResult[int](result.id, stranger).status for result in sent)
    assert states == {"STARTED": 3, "QUEUED": 2}
    there = next(row["id"] for node, what, row in listed if (node, what) == (other.name, "active"))
    AsyncResult[int](there, stranger).revoke(terminate=True)
    [ended] = [result for result in sent if result.id == there]
    with pytest.raises(TaskRevoked):
        ended.get(timeout=5)
    assert AsyncResult[int](there, stranger).status == "REVOKED"


def test_the_share_of_a_peer_that_is_killed_runs_elsewhere(stage: Stage, busy: Mesh, tmp_path: Path) -> None:
    """What ran there is started anew where there is a slot for it, and nothing else is."""
    paths = [tmp_path / f"ran-{number}" for number in range(4)]
    for path in paths:
        busy.delay(work.note, str(path), 30.0)
    assert busy.wait_accepted(5) == 0
    other = join(stage, busy)
    wait_until(lambda: sum(map(Path.exists, paths)) == 3)
    other.kill()
    busy.control.pool_resize(4, destination=[stage.nodes[0].name], reply=True, timeout=5)
    wait_until(lambda: all(map(Path.exists, paths)) and runs(paths) == [1, 1, 2, 2])
    assert running(busy) == {stage.nodes[0].name: 4}


def runs(paths: list[Path]) -> list[int]:
    """Return how often each of the tasks has started, the fewest first."""
    return sorted(len(path.read_text().splitlines()) for path in paths)


def test_what_waits_for_a_slot_gets_one_elsewhere(stage: Stage, busy: Mesh) -> None:
    """As soon as there is one; whoever runs a task, its client gets the result from the node that accepted it."""
    busy.delay(work.nap, 30.0)
    sent = [busy.delay(work.where) for _ in range(20)]
    assert busy.wait_accepted(5) == 0
    stage.start(slots=2)
    assert {result.get(timeout=10) for result in sent} == {"b"}
