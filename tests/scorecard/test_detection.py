"""Rows 5 and 6: how soon the work of a node that dies, freezes or is cut off has started on another one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import score_tasks
from lab_process import LabClient
from mesh_harness import Stage, wait_until
from score_field import Field, path_of
from score_figures import Figures, percentile
from score_lab import ScoreLab
from score_tasks import Run

from meshq import Mesh

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(400)]

KILLS = 60
DIED_S = 1.0
ROUNDS = 12
SILENT = 2
"""How many fall silent at once: well below half of the nodes, for with more of them death waits for longer."""
SILENT_S = 3.5


def started(path: Path, numbers: Iterable[int], attempts: int) -> dict[int, list[Run]]:
    """Wait until each of these tasks has been started so often; return their runs."""

    def look() -> dict[int, list[Run]] | None:
        found: dict[int, list[Run]] = {number: [] for number in numbers}
        for run in score_tasks.runs(path):
            if run.number in found:
                found[run.number].append(run)
        return found if all(len(each) >= attempts for each in found.values()) else None

    found = wait_until(look, 30.0, f"{attempts} starts of each of {list(numbers)}")
    assert found is not None
    return found


def show(score: Figures, row: str, what: str, seconds: list[float], goal: float) -> None:
    """Note how long it took."""
    score.tell(row, f"{what}: rounds", len(seconds))
    score.tell(row, f"{what} → started elsewhere, median", percentile(seconds, 0.5), "s")
    score.at_most(row, f"{what} → started elsewhere, p99", percentile(seconds, 0.99), goal, "s")
    score.tell(row, f"{what} → started elsewhere, worst", max(seconds), "s")


def hold_everywhere(mesh: Mesh, path: Path, numbers: list[int]) -> list[Any]:
    """Submit tasks that stay where they are first started."""
    return [mesh.submit(score_tasks.hold, str(path), number) for number in numbers]


def test_work_of_a_killed_node_starts_elsewhere(stage: Stage, score: Figures) -> None:
    """A node is SIGKILLed under a task, 60 times: the task has started on another node within 1 s."""
    field = Field(stage, places=4, slots=2)
    mesh = field.client()
    path, took = path_of(stage), []
    for number in range(KILLS):
        wait_until(lambda: len(field.ready()) == 4, what="all nodes are ready")
        mesh.wait_for_nodes(4, timeout=20)
        (future,) = hold_everywhere(mesh, path, [number])
        (first,) = started(path, [number], 1)[number]
        place = field.place_of(first.node)
        killed_at = field.kill(place)
        second = started(path, [number], 2)[number][1]
        took.append(second.at - killed_at)
        assert second.node != first.node
        field.replace(place)
        assert future.result(timeout=20) == score_tasks.value_of(number)
    show(score, "5", "SIGKILL", took, DIED_S)
    score.check()


@pytest.mark.parametrize("whole", [False, True], ids=["node", "node-and-workers"])
def test_work_of_a_frozen_node_starts_elsewhere(stage: Stage, score: Figures, whole: bool) -> None:
    """Two of six nodes are stopped under tasks, again and again: these have started elsewhere within 3.5 s."""
    field = Field(stage, places=6, slots=2)
    mesh = field.client()
    took: list[float] = []
    for number in range(ROUNDS):
        wait_until(lambda: len(field.ready()) == 6, what="all nodes are ready")
        mesh.wait_for_nodes(6, timeout=20)
        path = path_of(stage, f"runs{number}")
        freeze_two(field, mesh, path, whole, took)
    show(score, "6", "SIGSTOP of " + ("a node and its workers" if whole else "a node"), took, SILENT_S)
    score.check()


def freeze_two(field: Field, mesh: Mesh, path: Path, whole: bool, took: list[float]) -> None:
    """Freeze two nodes that run one task each; then let these two be replaced by others."""
    futures = hold_everywhere(mesh, path, list(range(6)))
    firsts = {number: seen[0] for number, seen in started(path, range(6), 1).items()}
    victims = list(dict.fromkeys(run.node for run in firsts.values()))[:SILENT]
    places = [field.place_of(pid) for pid in victims]
    frozen_at = {}
    for place in places:
        frozen_at[field.nodes[place].pid] = time.monotonic()
        field.signal_all(place, signal.SIGSTOP) if whole else field.nodes[place].freeze()
    moved = [number for number, run in firsts.items() if run.node in victims]
    for number, seen in started(path, moved, 2).items():
        assert seen[1].node not in victims
        took.append(seen[1].at - frozen_at[firsts[number].node])
    Path(f"{path}.go").touch()
    for place in places:
        field.signal_all(place, signal.SIGKILL)
        field.nodes[place].kill()
        field.replace(place)
    for number, future in enumerate(futures):
        assert future.result(timeout=20) == score_tasks.value_of(number)


def seen_nodes(client: LabClient, names: Iterable[str]) -> Callable[[], bool]:
    """Return whether the client sees all of these, as a condition to wait for."""

    def look() -> bool:
        states = {event["name"]: event["state"] for event in client.events("node")}
        return all(states.get(name) == "alive" for name in names)

    return look


@pytest.mark.lab
def test_work_of_a_node_that_is_cut_off_starts_elsewhere(lab: ScoreLab, score: Figures, tmp_path: Path) -> None:
    """The cables of two of six hosts are pulled under tasks, again and again: started elsewhere within 3.5 s."""
    *hosts, desk = lab.segment().add_hosts("h1", "h2", "h3", "h4", "h5", "h6", "desk")
    mesh = lab.open_mesh()
    nodes = lab.nodes(mesh, *hosts)
    client = lab.client(desk, mesh, "hold", ROUNDS, len(hosts), LAB_TRACES=str(tmp_path))
    took: list[float] = []
    for number in range(ROUNDS):
        wait_until(seen_nodes(client, [node.full_name for node in nodes]), 60.0, "the client sees all nodes")
        path = tmp_path / f"runs{number}"
        (tmp_path / f"begin{number}").touch()
        firsts = {task: seen[0] for task, seen in started(path, range(len(hosts)), 1).items()}
        victims = list(dict.fromkeys(run.host for run in firsts.values()))[:SILENT]
        cut = [host for host in hosts if host.name in victims]
        cut_at = {host.name: host.pull() for host in cut}
        moved = [task for task, run in firsts.items() if run.host in victims]
        for task, seen in started(path, moved, 2).items():
            assert seen[1].host not in victims
            took.append(seen[1].at - cut_at[firsts[task].host])
        Path(f"{path}.go").touch()
        for host in cut:
            host.heal()
        client.wait_for("round", number=number, wrong=0)
    assert client.wait() == 0
    show(score, "6", "cable pulled", took, SILENT_S)
    score.check()
