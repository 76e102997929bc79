"""Row 7: no node is taken for dead while all CPUs are saturated, or packets are lost.

``MESHQ_TEST_SECONDS=60`` shortens the ten minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import score_tasks
from mesh_harness import NodeProcess, Stage
from score_ends import Deliveries
from score_field import Field, path_of, wait_until_quiet
from score_figures import Figures, percentile
from score_lab import ScoreLab, hear_again, lose_packets

from meshq.core.membership import Membership, NodeDead, NodeSuspect

SECONDS = float(os.environ.get("MESHQ_TEST_SECONDS", "600"))
LOSSY_S = min(60.0, SECONDS)
PERCENT = 5
NODES, SLOTS = 4, 2
IN_FLIGHT = 40
TASK_S = 0.02

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(SECONDS + 240)]

_GONE = re.compile(r"peer \S+ is gone: (.*)")


class Verdicts:
    """What this process's clients make of nodes, from the moment it is entered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[type] = Counter()
        self._lock = threading.Lock()
        for name in ("handle", "tick"):
            monkeypatch.setattr(Membership, name, self._watched(getattr(Membership, name)))

    def _watched(self, method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            effects = method(*arguments)
            with self._lock:
                self.counts.update(type(effect) for effect in effects)
            return effects

        return call


@contextmanager
def saturation() -> Iterator[None]:
    """Run two busy loops for each CPU."""
    cpus = len(os.sched_getaffinity(0))
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * cpus)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def deaths_logged(nodes: list[NodeProcess]) -> int:
    """Return how many peers these nodes have declared dead."""
    return sum(len(_GONE.findall(node.text())) for node in nodes)


def idle_share(begun: tuple[float, float]) -> float:
    """Return which share of all CPUs' time was idle since ``cpu_times`` returned ``begun``."""
    idle, total = cpu_times()
    return (idle - begun[0]) / (total - begun[1])


def cpu_times() -> tuple[float, float]:
    """Return the idle ticks of all CPUs together, and all their ticks."""
    ticks = [float(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def test_no_node_is_taken_for_dead_on_saturated_cpus(
    stage: Stage, score: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For ten minutes all CPUs have much more to do than they can: nobody is declared dead, nothing is re-sent."""
    field = Field(stage, NODES, SLOTS, "--log-level", "debug")
    verdicts = Verdicts(monkeypatch)
    mesh = field.client()
    path, deliveries, trips = path_of(stage), Deliveries(), []
    deaths = deaths_logged(field.nodes)
    flying: deque[tuple[float, Future[int]]] = deque()
    number, end_at, times = 0, time.monotonic() + SECONDS, cpu_times()
    with saturation():
        while time.monotonic() < end_at:
            while len(flying) < IN_FLIGHT:
                future = mesh.submit(score_tasks.burn, str(path), number, TASK_S)
                flying.append((time.monotonic(), deliveries.watch(number, future)))
                number += 1
            submitted_at, oldest = flying.popleft()
            oldest.result(timeout=120)
            trips.append(time.monotonic() - submitted_at)
        idle = idle_share(times)
        while flying:
            flying.popleft()[1].result(timeout=120)
    wait_until_quiet(field, mesh)
    runs = score_tasks.runs(path)
    score.tell("7", f"seconds with all CPUs saturated, {NODES} nodes", SECONDS, "s")
    score.at_most("7", "CPU time that was idle", 100 * idle, 5.0, "%")
    score.tell("7", "tasks run meanwhile", number)
    score.tell("7", "slowest round trip", percentile(trips, 1.0), "s")
    score.tell("7", "times that the client suspected a node", verdicts.counts[NodeSuspect])
    score.exactly("7", "nodes that the client declared dead", verdicts.counts[NodeDead], 0)
    score.exactly("7", "peers that nodes declared dead", deaths_logged(field.nodes) - deaths, 0)
    score.exactly("7", "tasks re-sent", sum(run.attempt > 1 for run in runs), 0)
    score.exactly("7", "extra runs", len(runs) - number, 0)
    score.exactly("7", "tasks that did not end with their value", deliveries.wrong(range(number)), 0)
    score.check()


@pytest.mark.lab
def test_no_node_is_taken_for_dead_while_packets_are_lost(lab: ScoreLab, score: Figures, tmp_path: Path) -> None:
    """For a minute each host loses 5 % of what comes to it: nobody is declared dead, nothing is re-sent."""
    *hosts, desk = lab.segment().add_hosts("h1", "h2", "h3", "h4", "desk")
    mesh = lab.open_mesh()
    lab.nodes(mesh, *hosts)
    path = tmp_path / "runs"
    client = lab.client(desk, mesh, "load", len(hosts), IN_FLIGHT, TASK_S, LAB_TRACES=str(path))
    client.wait_for("begun")
    for host in (*hosts, desk):
        lose_packets(host, PERCENT)
    time.sleep(LOSSY_S)  # what is tested is that nothing happens
    dropped = sum(hear_again(host) for host in (*hosts, desk))
    client.may_stop()
    ended = client.wait_for("ended", timeout=60)
    assert client.wait() == 0
    states = Counter(event["state"] for event in client.events("node"))
    runs = score_tasks.runs(path)
    score.tell("7", f"seconds with {PERCENT} % of all packets lost, {len(hosts)} hosts", LOSSY_S, "s")
    score.at_least("7", "packets lost", dropped, int(10 * LOSSY_S))
    score.tell("7", "tasks run meanwhile", ended["submitted"])
    score.tell("7", "slowest round trip", ended["slowest"], "s")
    score.tell("7", "times that the client suspected a node", states["suspect"])
    score.exactly("7", "nodes that the client declared dead", states["gone"], 0)
    score.exactly("7", "tasks re-sent", sum(run.attempt > 1 for run in runs), 0)
    score.exactly("7", "extra runs", len(runs) - ended["submitted"], 0)
    score.exactly("7", "tasks lost, or delivered twice", ended["wrong"] + ended["twice"], 0)
    score.check()
