"""Workers of real nodes: how they die, are replaced, and print."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest
import work
from mesh_harness import Stage, wait_until

from meshq import Mesh, WorkerLost


def test_a_task_that_kills_its_worker_is_tried_three_times(mesh: Mesh, tmp_path: Path) -> None:
    """Then ``WorkerLost`` tells what became of each attempt; it is a ``BrokenExecutor`` too."""
    path = tmp_path / "deaths"
    with pytest.raises(WorkerLost) as caught:
        mesh.submit(work.die, str(path)).result(timeout=20)
    assert path.read_text() == "died\n" * 3
    assert isinstance(caught.value, BrokenExecutor)
    text = str(caught.value)
    assert "work.die" in text
    assert re.search(r"attempt 1 on .*exit code 3.*attempt 2 on .*exit code 3.*attempt 3 on .*exit code 3", text)


def test_a_task_may_kill_two_workers_and_still_succeed(mesh: Mesh, tmp_path: Path) -> None:
    """The third attempt's result is the task's."""
    assert mesh.submit(work.die_twice, str(tmp_path / "tries")).result(timeout=20) == "third time lucky"


def test_other_tasks_survive_a_worker_that_dies(mesh: Mesh, tmp_path: Path) -> None:
    """Tasks beside and behind the one that kills its worker have their results, and are not run twice."""
    bad = mesh.submit(work.die, str(tmp_path / "deaths"))
    paths = [tmp_path / str(n) for n in range(200)]
    futures = [mesh.submit(work.note, str(path), 0.001) for path in paths]
    assert all(isinstance(future.result(timeout=30), int) for future in futures)
    assert [len(path.read_text().split()) for path in paths] == [1] * 200
    assert isinstance(bad.exception(timeout=20), WorkerLost)


def test_a_worker_that_is_killed_is_replaced_and_its_task_tried_again(
    mesh: Mesh, shared: Stage, tmp_path: Path
) -> None:
    """After ``kill -9`` of a worker, its task comes back from another one, and the node has all its workers."""
    node = shared.nodes[0]
    path = tmp_path / "pids"
    future = mesh.submit(work.note, str(path), 0.5)
    victim = int(wait_until(lambda: path.exists() and path.read_text().strip()))
    assert victim in node.workers()
    os.kill(victim, signal.SIGKILL)
    survivor = future.result(timeout=20)
    assert path.read_text().split() == [str(victim), str(survivor)]
    assert survivor != victim
    wait_until(lambda: len(node.workers()) == 2, what="the worker is replaced")


def test_workers_are_replaced_after_so_many_tasks(stage: Stage) -> None:
    """With ``--max-tasks-per-child 3`` no process runs more than three tasks, and none is lost."""
    stage.start(slots=2, max_tasks_per_child=3)
    mesh = stage.client()
    counts = Counter(mesh.map(work.pid, [0.0] * 15))
    assert sum(counts.values()) == 15
    assert max(counts.values()) <= 3


def test_what_a_task_prints_is_in_the_nodes_log_with_its_id(mesh: Mesh, shared: Stage) -> None:
    """Both streams, a line each, nothing of them in front of another line."""
    future = mesh.submit(work.say, "out we go", "err we must")
    future.result(timeout=10)
    node = shared.nodes[0]
    for text in ("out we go", "err we must"):
        line = node.until_logged(rf"(?m)^.*{text}.*$").group(0)
        assert future.task_id in line
        assert node.name in line


def test_a_node_that_cannot_load_its_module_says_why_and_ends(stage: Stage) -> None:
    """Its exit code is 2, and the text names the module and what to look at."""
    node = stage.start("no_such_module", ready=False)
    assert node.wait() == 2
    assert "no_such_module" in node.text()
    assert "current directory" in node.text()
