"""Nodes that drain: a rolling restart under load, what a script has left, the grace, results on their way."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import rolling
from mesh_harness import Stage, wait_until
from rolling_harness import drain, leave_tasks, runs, until_acquainted

from meshq import TaskLost

WANTS_BYTES = """
import os, signal, work
from meshq import Mesh
with Mesh() as mesh:
    futures = [mesh.submit(work.many_bytes, 16 << 20, seconds) for seconds in (0.0, 0.5, 0.5)]
    futures[0].result(timeout=60)
    print("begun", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)  # while the others run
    print(sum(len(future.result(timeout=60)) for future in futures) >> 20, "MiB")
"""


def test_a_rolling_restart(stage: Stage, tmp_path: Path) -> None:
    """Each node is drained and started anew under load: nothing is lost, and nothing runs twice."""
    path = tmp_path / "runs"
    for label in "abc":
        stage.start("rolling", slots=2, name=label, ready=False)
    nodes = [node.until_ready() for node in stage.nodes]
    mesh = stage.client()
    until_acquainted(mesh, 3)
    left = leave_tasks(stage, path, 150, 0.02)
    own = [f"own {number}" for number in range(300)]
    futures = [mesh.submit(rolling.mark, str(path), text, 0.01) for text in own]
    detached = [mesh.delay(rolling.mark, str(path), f"detached {text}", 0.01) for text in own[:150]]
    for node, label in zip(nodes, "abc", strict=True):
        drain(node, within=10.0)
        stage.start("rolling", slots=2, name=label)
    assert [future.result(timeout=30) for future in futures] == own
    assert [result.get(timeout=30) for result in detached] == [f"detached {text}" for text in own[:150]]
    expected = {*left, *own, *(f"detached {text}" for text in own[:150])}
    wait_until(lambda: len(runs(path)) >= len(expected), what="all tasks have run")
    assert runs(path) == dict.fromkeys(expected, 1)


def test_a_node_leaves_what_scripts_have_left_to_its_peers(stage: Stage, tmp_path: Path) -> None:
    """It ends at once, though it had minutes of work; that goes on at a node that was started later."""
    path = tmp_path / "runs"
    old = stage.start("rolling")
    left = leave_tasks(stage, path, 20, 0.25)
    stage.start("rolling", slots=8)
    drain(old, within=3.0)
    wait_until(lambda: len(runs(path)) == len(left), what="all tasks have run")
    assert runs(path) == dict.fromkeys(left, 1)


def test_after_the_grace_what_runs_is_ended_and_tried_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """What must not run twice is lost, and its caller told so."""
    path = str(tmp_path / "runs")
    old = stage.start("rolling", slots=2, grace=0.3)
    mesh = stage.client()
    plain, once = mesh.submit(rolling.mark, path, "plain", 1.5), mesh.submit(rolling.mark_once, path, "once", 60.0)
    wait_until(lambda: len(runs(Path(path))) == 2)
    stage.start("rolling", slots=2)
    mesh.wait_for_nodes(2, timeout=10)
    drain(old, within=3.0)
    with pytest.raises(TaskLost):
        once.result(timeout=10)
    assert plain.result(timeout=10) == "plain"
    assert runs(Path(path)) == {"plain": 2, "once": 1}
    assert "0.3 s of grace are over" in old.text()


def test_a_node_that_drains_waits_until_its_results_have_arrived(stage: Stage) -> None:
    """Large ones too, and where the client hangs for a moment; not for one that is silent for longer."""
    node = stage.start("work", slots=2)
    script = stage.script(WANTS_BYTES)
    script.until_logged("begun")
    node.send(signal.SIGTERM)
    time.sleep(1.5)  # the client hangs for that long; nothing tells when the node would have given up
    assert node.is_running()
    script.send(signal.SIGCONT)
    assert script.wait() == 0, script.text()
    assert "48 MiB" in script.text()
    assert node.wait() == 0
