"""Freezes: nodes and workers are stopped for 0.5 to 8 s under load, and go on.

``MESHQ_TEST_ROUNDS=500`` makes it as many freezes.
"""

from __future__ import annotations

import heapq
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest
import score_tasks
from mesh_harness import Stage
from score_ends import Deliveries
from score_field import Field, path_of, thaw, wait_until_quiet
from score_figures import Figures

from meshq import Mesh

FREEZES = int(os.environ.get("MESHQ_TEST_ROUNDS", "60"))
AT_ONCE = 3
NODES, SLOTS = 5, 2
IN_FLIGHT = 60
TASK_S = 0.02
KINDS = ("node", "worker", "node and workers")

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(120 + 6 * FREEZES)]


class Frost:
    """Stops processes of a field and lets them go on, several at a time."""

    def __init__(self, field: Field, rng: random.Random) -> None:
        self.field = field
        self.random = rng
        self.counts: Counter[str] = Counter()
        self._due: list[tuple[float, int, list[int]]] = []
        self._frozen: set[int] = set()

    def freeze(self, kind: str) -> None:
        """Stop something for 0.5 to 8 s, on a place where nothing is stopped."""
        place = self.random.choice([place for place in range(NODES) if place not in self._frozen])
        node = self.field.nodes[place]
        workers = node.workers()
        pids = {"node": [node.pid], "worker": workers[:1]}.get(kind, [node.pid, *workers])
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self._frozen.add(place)
        self.counts[kind] += 1
        heapq.heappush(self._due, (time.monotonic() + self.random.uniform(0.5, 8.0), place, pids))

    def go_on(self) -> int:
        """Let those go on whose time has come; return how many places have something stopped still."""
        while self._due and self._due[0][0] <= time.monotonic():
            _, place, pids = heapq.heappop(self._due)
            thaw(pids)
            self._frozen.discard(place)
        return len(self._due)


def work_until_thawed(frost: Frost, mesh: Mesh, function: Any, path: str, deliveries: Deliveries) -> int:
    """Keep calls of a function unfinished until all freezes are over; return how many there were."""
    number = 0
    while (frozen := frost.go_on()) or frost.counts.total() < FREEZES:
        if frozen < AT_ONCE and frost.counts.total() < FREEZES:
            frost.freeze(KINDS[frost.counts.total() % len(KINDS)])
        while number - deliveries.count() < IN_FLIGHT:
            deliveries.watch(number, mesh.submit(function, path, number, TASK_S))
            number += 1
        time.sleep(0.01)
    return number


def show_freezes(score: Figures, row: str, frost: Frost, count: int) -> None:
    """Note what there was."""
    for kind in KINDS:
        score.tell(row, f"freezes of 0.5 to 8 s of a {kind}", frost.counts[kind])
    score.tell(row, "tasks run meanwhile", count)


def test_freezes_lose_nothing_and_double_nothing(stage: Stage, score: Figures) -> None:
    """Sixty freezes of nodes, of workers and of both, three at a time: each task ends once, with its value."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, deliveries = path_of(stage), Deliveries()
    frost = Frost(field, random.Random(6))
    count = work_until_thawed(frost, mesh, score_tasks.stamp, str(path), deliveries)
    wait_until_quiet(field, mesh)
    show_freezes(score, "2", frost, count)
    score.exactly("2", "tasks lost, or ended with anything but their value", deliveries.wrong(range(count)), 0)
    score.exactly("2", "tasks delivered twice", deliveries.twice(), 0)
    score.tell("2", "extra runs", len(score_tasks.runs(path)) - count)
    score.check()


def test_freezes_run_nothing_twice_that_must_not(stage: Stage, score: Figures) -> None:
    """Under as many freezes no task at most once runs twice; those given up say that they may have run."""
    field = Field(stage, NODES, SLOTS)
    mesh = field.client()
    path, deliveries = path_of(stage), Deliveries()
    frost = Frost(field, random.Random(4))
    once = score_tasks.stamp.options(delivery="at-most-once")
    count = work_until_thawed(frost, mesh, once, str(path), deliveries)
    wait_until_quiet(field, mesh)
    counts = Counter(run.number for run in score_tasks.runs(path))
    show_freezes(score, "4", frost, count)
    score.exactly("4", "tasks that ran twice", sum(n > 1 for n in counts.values()), 0)
    lost = deliveries.lost()
    score.tell("4", "tasks given up as TaskLost(maybe_executed=True)", len(lost))
    kept = set(range(count)) - lost
    score.exactly("4", "others that did not end with their value", deliveries.wrong(kept), 0)
    score.exactly("4", "tasks delivered twice", deliveries.twice(), 0)
    score.check()
