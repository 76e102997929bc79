"""Row 17: a task that kills workers kills three, and is given up with its story; its neighbours do not notice."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import score_tasks
from mesh_harness import Stage, wait_until
from score_ends import Deliveries
from score_field import Field, path_of
from score_figures import Figures

from meshq import Mesh, WorkerLost

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(180)]

NODES, SLOTS = 3, 2
NEIGHBOURS = 600
TASK_S = 0.02
KILLS = 3
CGROUPS = Path("/sys/fs/cgroup")
GROUP_BYTES = 256 << 20
"""For a node and its workers: twice what they need."""
EATERS = 20


def workers_lost(field: Field) -> int:
    """Return how many workers have died, as their nodes say."""
    return sum(len(re.findall(r"worker \d+ is gone", node.text())) for node in field.nodes)


def submit_neighbours(mesh: Mesh, path: Path, deliveries: Deliveries, numbers: range) -> None:
    """Submit tasks that do no harm."""
    for number in numbers:
        deliveries.watch(number, mesh.submit(score_tasks.stamp, str(path), number, TASK_S))


def show_neighbours(score: Figures, path: Path, deliveries: Deliveries) -> None:
    """Note how the others have fared."""
    counts = Counter(run.number for run in score_tasks.runs(path))
    score.exactly("17", "neighbours that did not end with their value", deliveries.wrong(range(NEIGHBOURS)), 0)
    score.exactly("17", "neighbours that did not run just once", sum(n != 1 for n in counts.values()), 0)


def letters_of(mesh: Mesh, count: int) -> list[dict[str, Any]]:
    """Return the dead letters of all nodes, once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        listed = mesh.control.inspect(timeout=5).dead()
        letters = [letter for letters in listed.values() for letter in letters]
        return letters if len({letter["id"] for letter in letters}) >= count else None

    letters = wait_until(look, what=f"{count} dead letters")
    assert letters is not None
    return letters


@pytest.mark.parametrize("how", ["exit", "SIGKILL"])
@pytest.mark.parametrize("detached", [False, True], ids=["attached", "detached"])
def test_poison_kills_three_workers(stage: Stage, score: Figures, how: str, detached: bool) -> None:
    """It kills exactly three, raises WorkerLost with its story and is a dead letter; each neighbour runs once."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, poisoned, deliveries = path_of(stage), path_of(stage, "poison"), Deliveries()
    submit_neighbours(mesh, path, deliveries, range(NEIGHBOURS // 2))
    task: Any = (mesh.delay if detached else mesh.submit)(score_tasks.die, str(poisoned), 0, how)
    submit_neighbours(mesh, path, deliveries, range(NEIGHBOURS // 2, NEIGHBOURS))
    with pytest.raises(WorkerLost) as caught:
        task.get(timeout=60) if detached else task.result(timeout=60)
    wait_until(lambda: deliveries.count() == NEIGHBOURS, 60.0)
    letters = letters_of(mesh, 1)
    manner = f"by {how}, {'detached' if detached else 'attached'}"
    deaths = str(caught.value).count("exit code 3" if how == "exit" else "SIGKILL")
    score.exactly("17", f"workers that poison has killed, {manner}", workers_lost(field), KILLS)
    score.exactly("17", "times that it ran", len(score_tasks.runs(poisoned)), KILLS)
    score.exactly("17", "deaths that its WorkerLost tells of", deaths, KILLS)
    score.exactly("17", "dead letters", len(letters), 1)
    assert letters[0]["id"] == (task.id if detached else task.task_id)
    show_neighbours(score, path, deliveries)
    score.check()


@pytest.fixture
def groups() -> Iterator[list[Path]]:
    """A cgroup of little memory for each node; skips where none can be made."""
    made: list[Path] = []
    try:
        for number in range(NODES):
            made.append(make_group(f"meshq-score-{os.getpid()}-{number}"))
        yield made
    except OSError as error:
        pytest.skip(f"NO CGROUP: {error}")
    finally:
        for group in made:
            wait_until(lambda group=group: not (group / "cgroup.procs").read_text(), what=f"{group} to be empty")
            group.rmdir()


def make_group(name: str) -> Path:
    """Make a cgroup of little memory, of version 1 or 2."""
    old = CGROUPS / "memory"
    group = (old if old.is_dir() else CGROUPS) / name
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")).write_text(str(GROUP_BYTES))
    except OSError:
        group.rmdir()
        raise
    return group


def test_nodes_survive_workers_out_of_memory(groups: list[Path], stage: Stage, score: Figures) -> None:
    """Tasks eat all the memory that node and workers have: workers die of it, the nodes live, others are done."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, eaten, deliveries = path_of(stage), path_of(stage, "eaten"), Deliveries()
    wait_until(lambda: all(len(node.workers()) == SLOTS for node in field.nodes))
    for node, group in zip(field.nodes, groups, strict=True):
        for pid in (node.pid, *node.workers()):
            (group / "cgroup.procs").write_text(str(pid))
    pids = [node.pid for node in field.nodes]
    eaters = [mesh.submit(score_tasks.devour, str(eaten), number) for number in range(EATERS)]
    submit_neighbours(mesh, path, deliveries, range(NEIGHBOURS))
    ends = [eater.exception(timeout=100) for eater in eaters]
    wait_until(lambda: deliveries.count() == NEIGHBOURS, 60.0)
    score.exactly("17", "workers killed for want of memory", workers_lost(field), KILLS * EATERS)
    score.exactly("17", "tasks that end as WorkerLost", sum(isinstance(end, WorkerLost) for end in ends), EATERS)
    score.exactly("17", "dead letters", len(letters_of(mesh, EATERS)), EATERS)
    score.exactly("17", "nodes that live", sum(node.is_running() for node in field.nodes), NODES)
    assert [node.pid for node in field.nodes] == pids
    show_neighbours(score, path, deliveries)
    score.check()
