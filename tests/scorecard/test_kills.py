"""Rows 1 to 4: nodes are SIGKILLed every 2 s in the midst of 10,000 tasks."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import wait

import pytest
import score_tasks
from mesh_harness import Stage
from score_ends import Deliveries
from score_field import Field, kill_every, path_of, wait_until_quiet
from score_figures import Figures

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(300)]

TASKS = 10_000
TASK_S = 0.01
NODES, SLOTS = 3, 2
KILL_S = 2.0
LIMIT_S = 200.0


def test_10_000_tasks_while_nodes_are_killed(stage: Stage, score: Figures) -> None:
    """Each of 10,000 tasks ends once with its value, though a node is SIGKILLed every 2 s and started again."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, deliveries = path_of(stage), Deliveries()
    begun_at = time.monotonic()
    stamps = [mesh.submit(score_tasks.stamp, str(path), number, TASK_S) for number in range(TASKS)]
    futures = [deliveries.watch(number, future) for number, future in enumerate(stamps)]
    kills = kill_every(field, KILL_S, deliveries, TASKS, LIMIT_S)
    took_s = time.monotonic() - begun_at
    wait(futures, timeout=0)
    wait_until_quiet(field, mesh)
    extra = len(score_tasks.runs(path)) - TASKS
    score.tell("1", f"{TASKS} tasks of 10 ms on {NODES} nodes of {SLOTS} slots took", took_s, "s")
    score.at_least("1", "nodes SIGKILLed meanwhile", kills, 5)
    score.exactly("1", "tasks lost, or ended with anything but their value", deliveries.wrong(range(TASKS)), 0)
    score.exactly("2", "tasks delivered twice", deliveries.twice(), 0)
    score.at_most("3", "extra runs (goal: 2 × kills × slots)", extra, 2 * kills * SLOTS)
    score.check()


def test_tasks_at_most_once_while_nodes_are_killed(stage: Stage, score: Figures) -> None:
    """Under the same kills no task that must not run twice does; those given up say that they may have run."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, deliveries = path_of(stage), Deliveries()
    once = score_tasks.stamp.options(delivery="at-most-once")
    for number in range(TASKS):
        deliveries.watch(number, mesh.submit(once, str(path), number, TASK_S))
    kills = kill_every(field, KILL_S, deliveries, TASKS, LIMIT_S)
    wait_until_quiet(field, mesh)
    counts = Counter(run.number for run in score_tasks.runs(path))
    lost = deliveries.lost()
    kept = set(range(TASKS)) - lost
    score.at_least("4", "nodes SIGKILLed under tasks at most once", kills, 5)
    score.exactly("4", "tasks that ran twice", sum(count > 1 for count in counts.values()), 0)
    score.tell("4", "tasks given up as TaskLost(maybe_executed=True)", len(lost))
    score.tell("4", "… of which had not run", sum(number not in counts for number in lost))
    score.exactly("4", "others that did not end with their value", deliveries.wrong(kept), 0)
    score.exactly("4", "others that did not run", sum(number not in counts for number in kept), 0)
    score.exactly("4", "tasks delivered twice", deliveries.twice(), 0)
    score.check()
