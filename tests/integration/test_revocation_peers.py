"""A revoke reaches nodes that were away or only starting when it was given, and outlasts them on disk."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import steered
import work
from mesh_harness import NodeProcess, Stage, wait_until

from meshq import Mesh, TaskRevoked

HEALED_S = 2.0
"""Within this time after its return a node refuses what was revoked meanwhile."""


def revoke(mesh: Mesh, *tasks: str) -> None:
    """Revoke tasks; at least one node has answered on return."""
    assert mesh.control.revoke(list(tasks), reply=True, timeout=2)


def refused(mesh: Mesh, node: str) -> list[str]:
    """Return the ids that a node refuses."""
    said: Any = mesh.control.inspect([node], timeout=5).revoked()
    ids: list[str] = said[node]
    return sorted(ids)


def runs(mesh: Mesh, task: str, path: Path) -> bool:
    """Submit a task under an id that was revoked, and tell whether it ran all the same."""
    with pytest.raises(TaskRevoked):
        mesh.submit(work.note.options(task_id=task), str(path)).result(timeout=10)
    return path.exists()


def leave_only(stage: Stage, last: NodeProcess) -> None:
    """Kill all nodes but this one."""
    for node in stage.nodes:
        if node is not last and node.is_running():
            node.kill()


def test_a_revoke_given_while_a_node_is_down_holds_after_its_return(stage: Stage, tmp_path: Path) -> None:
    """It learns of it from a peer before it takes anything."""
    stage.start(name="one")
    stage.start(name="two").kill()
    mesh, task = stage.client(1), str(uuid.uuid4())
    revoke(mesh, task)
    back = stage.start(name="two")
    leave_only(stage, back)
    mesh.wait_for_nodes(1)
    assert not runs(stage.client(1), task, tmp_path / "ran")


def test_a_revoke_given_while_a_node_starts_holds_once_it_is_there(stage: Stage, tmp_path: Path) -> None:
    """Whatever is revoked between its first question to its peers and its first client."""
    stage.start(name="one")
    mesh = stage.client()
    starting = stage.start(name="two", ready=False)
    tasks = [str(uuid.uuid4())]
    while "is ready" not in starting.text():
        revoke(mesh, tasks[-1])
        tasks.append(str(uuid.uuid4()))
    del tasks[-1]
    mesh.wait_for_nodes(2)
    wait_until(lambda: refused(mesh, starting.name) == sorted(tasks), HEALED_S)
    leave_only(stage, starting)
    assert not runs(stage.client(1), tasks[0], tmp_path / "ran")


def test_a_revoke_given_while_a_node_is_frozen_holds_when_it_thaws(stage: Stage, tmp_path: Path) -> None:
    """Its own queue too is cleared of what was revoked, before its one slot gets to it; so with detached tasks."""
    one, two = (stage.start("work", "steered", name=name, ready=False) for name in ("one", "two"))
    one.until_ready()
    two.until_ready()
    mesh, paths = stage.client(), [tmp_path / f"ran-{number}" for number in range(8)]
    gate = tmp_path / "gate"
    running = [mesh.submit(steered.hold, str(gate)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    queued = [mesh.submit(work.note, str(path)) for path in paths[:4]]
    detached = [mesh.delay(work.note, str(path)) for path in paths[4:]]
    assert mesh.wait_accepted(5) == 0
    two.freeze()
    wait_until(lambda: [node.full_name for node in mesh.nodes()] == [one.name])
    ids = sorted([*(future.task_id for future in queued), *(result.id for result in detached)])
    revoke(mesh, *ids)
    two.thaw()
    mesh.wait_for_nodes(2)
    wait_until(lambda: refused(mesh, two.name) == ids, HEALED_S)
    gate.touch()
    wait_until(lambda: all(value["running"] == value["queued"] == 0 for value in states(mesh)))
    assert [path for path in paths if path.exists()] == []


def states(mesh: Mesh) -> list[dict[str, Any]]:
    """Return what each node says of itself."""
    return list(mesh.control.ping(timeout=5).by_node().values())


def test_a_node_that_joins_later_refuses_it_too(stage: Stage, tmp_path: Path) -> None:
    """Revoked ids go from node to node, also to those that were not meant when they were revoked."""
    stage.start(name="one")
    mesh, tasks = stage.client(), [str(uuid.uuid4()) for _ in range(3)]
    revoke(mesh, *tasks)
    second = stage.start(name="two")
    stage.nodes[0].kill()
    third = stage.start(name="three")
    assert refused(stage.client(2), third.name) == refused(stage.client(2), second.name) == sorted(tasks)
    leave_only(stage, third)
    assert not runs(stage.client(1), tasks[0], tmp_path / "ran")


def test_a_node_alone_remembers_over_a_restart(stage: Stage, tmp_path: Path) -> None:
    """What it has acknowledged is on disk in its --state directory, however it ends; readable by its user only."""
    state = tmp_path / "kept"
    node = stage.start(name="one", state=state)
    task = str(uuid.uuid4())
    revoke(stage.client(), task)
    node.kill()
    [file] = state.glob("*.revoked")
    assert file.stat().st_mode & 0o777 == 0o600
    back = stage.start(name="one", state=state)
    mesh = stage.client(1)
    assert refused(mesh, back.name) == [task]
    assert not runs(mesh, task, tmp_path / "ran")


def test_peers_are_no_clients(stage: Stage) -> None:
    """``ping`` counts who submits, not the other nodes."""
    stage.start(name="one")
    stage.start(name="two")
    mesh = stage.client()
    wait_until(lambda: [value["clients"] for value in states(mesh)] == [1, 1])
