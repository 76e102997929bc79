"""Row 19: nodes that are drained and started anew in the midst of work, one after the other."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
import rolling
from mesh_harness import NodeProcess, Stage, wait_until
from rolling_harness import drain, leave_tasks, runs, until_acquainted
from score_figures import Figures

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(900)]

TASKS, LEFT, DRAINS = 10_000, 2_000, 10
SECONDS = 0.01
NODES, SLOTS = 3, 2
WITHIN_S = 20.0


def test_drains_under_load(stage: Stage, score: Figures, tmp_path: Path) -> None:
    """Of the tasks of a client, and of a script that has ended, none is lost, and none runs twice."""
    path = tmp_path / "runs"
    nodes = [_start(stage, place) for place in range(NODES)]
    mesh = stage.client()
    until_acquainted(mesh, NODES)
    left = leave_tasks(stage, path, LEFT, SECONDS)
    own = [f"own {number}" for number in range(TASKS)]
    half = TASKS // 2
    futures = [mesh.submit(rolling.mark, str(path), text, SECONDS) for text in own[:half]]
    results = [mesh.delay(rolling.mark, str(path), text, SECONDS) for text in own[half:]]
    longest = 0.0
    for place in itertools.islice(itertools.cycle(range(NODES)), DRAINS):
        begin = time.monotonic()
        drain(nodes[place], WITHIN_S)
        longest = max(longest, time.monotonic() - begin)
        nodes[place] = _start(stage, place)
    values = [future.result(timeout=300) for future in futures] + [result.get(timeout=300) for result in results]
    expected = {*left, *own}
    wait_until(lambda: len(runs(path)) == len(expected), 300.0, "all tasks have run")
    score.tell("19", "drains", DRAINS)
    score.tell("19", "the longest of them", longest, "s")
    score.exactly("19", f"of {TASKS} tasks of a client, lost", sum(map(_differ, values, own)), 0)
    score.exactly("19", f"of {LEFT} that a script had left, lost", len(set(left) - runs(path).keys()), 0)
    score.exactly("19", "runs more than tasks", runs(path).total() - len(expected), 0)
    score.check()


def _start(stage: Stage, place: int) -> NodeProcess:
    return stage.start("rolling", slots=SLOTS, name=f"n{place}")


def _differ(value: str, expected: str) -> bool:
    return value != expected
