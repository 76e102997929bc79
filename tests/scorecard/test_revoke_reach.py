"""Row 18: how soon a revoke is known to ten nodes, and to one that joins later."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

import pytest
import score_tasks
from mesh_harness import NodeProcess, Stage, wait_until
from score_field import Field, path_of
from score_figures import Figures, percentile

from meshq import Mesh, TaskRevoked

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(240)]

NODES = 10
REVOKES = 200
REACH_S = 0.5
WAITING = 5
"""Tasks that each revoke withdraws."""
JOINERS = 10
JOINER_S = 2.0


def test_revokes_reach_ten_nodes(stage: Stage, score: Figures) -> None:
    """Two hundred revokes of tasks that wait: all ten nodes have acknowledged within 500 ms, and none runs."""
    field = Field(stage, NODES, slots=1)
    mesh = field.client()
    path, holding, took = path_of(stage), path_of(stage, "holding"), []
    holders = [mesh.submit(score_tasks.hold, str(holding), number) for number in range(NODES)]
    wait_until(lambda: len(score_tasks.runs(holding)) == NODES, what="each slot is taken")
    for _ in range(REVOKES):
        waiting = [mesh.submit(score_tasks.stamp, str(path), number, 0.0) for number in range(WAITING)]
        begun_at = time.monotonic()
        replies = mesh.control.revoke([future.task_id for future in waiting], reply=True, timeout=5.0)
        took.append(time.monotonic() - begun_at)
        assert len(replies) == NODES
        assert not replies.missing
        for future in waiting:
            assert isinstance(future.exception(timeout=20), TaskRevoked)
    Path(f"{holding}.go").touch()
    for holder in holders:
        holder.result(timeout=20)
    score.tell(
        "18", f"revoke → acknowledged by {NODES} busy nodes, median of {REVOKES}", percentile(took, 0.5), "s"
    )
    score.at_most("18", "revoke → acknowledged by all of them, p99", percentile(took, 0.99), REACH_S, "s")
    score.exactly("18", "revoked tasks that ran", len(score_tasks.runs(path)), 0)
    score.check()


def join(stage: Stage, number: int) -> NodeProcess:
    """Start a node that can be asked for by a tag of its own."""
    command = [sys.executable, "-m", "meshq", "node", "score_tasks", "--slots", "1", "--name", f"joiner{number}"]
    command += ["--tag", f"joiner{number}"]
    node = NodeProcess(f"joiner{number}", command, stage.env, stage.directory / f"joiner{number}.log")
    stage.nodes.append(node)
    return node


def sees(mesh: Mesh, name: str) -> bool:
    """Whether the client sees a node of this name."""
    return any(node.name == name for node in mesh.nodes())


def test_a_joiner_refuses_what_was_revoked_before(stage: Stage, score: Figures) -> None:
    """The first task that each of ten joiners is given has been revoked: refused within 2 s, and never run."""
    Field(stage, 3, slots=1)
    path, took = path_of(stage), []
    for number in range(JOINERS):
        with stage.client(3) as knowing:
            revoked = str(uuid.uuid4())
            assert len(knowing.control.revoke([revoked], reply=True, timeout=5.0)) >= 3
        with stage.client(3) as mesh:
            joiner = join(stage, number)
            wait_until(lambda name=f"joiner{number}": sees(mesh, name), what="the client sees the joiner")
            seen_at = time.monotonic()
            stamp = score_tasks.stamp.options(task_id=revoked, tags={f"joiner{number}"})
            with pytest.raises(TaskRevoked):
                mesh.submit(stamp, str(path), number, 0.0).result(timeout=20)
            took.append(time.monotonic() - seen_at)
        joiner.kill()
    score.at_most("18", f"a joiner is seen → it has refused, worst of {JOINERS}", max(took), JOINER_S, "s")
    score.exactly("18", "revoked tasks that ran on a joiner", len(score_tasks.runs(path)), 0)
    score.check()
