"""The ten figures that meshq is to reach; ``pytest -s -m bench tests/bench/test_figures.py`` on a quiet machine.

A client, one node, two slots, loopback TCP, default settings, with a key and without; medians of five interleaved
pairs in one run; the same functions on each side. The code is that of ``meshq bench``; each test prints figures.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from processes import cpu_seconds, memory_bytes

from meshq import Mesh, bench
from meshq.cli.bench import local_mesh
from meshq.cli.bench_measures import Scale, warm
from meshq.cli.bench_parts import PARTS
from meshq.cli.bench_rounds import Line, run_part
from meshq.cli.bench_show import print_figures
from meshq.cli.bench_sides import EXECUTOR, MESHQ, POOL, Side, mesh_side, pools
from meshq.cli.local_nodes import LocalNodes, environment, processes_of, sealed_off

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

SCALE = Scale(rounds=5)
SLOTS = 2
REST_S = 10.0
both = pytest.mark.parametrize("secure", [False, True], ids=["open", "keyed"])


@pytest.fixture(scope="session")
def others() -> Iterator[dict[str, Side]]:
    """The pools to compare with; made before there are threads here."""
    with pools(SLOTS) as sides:
        yield {side.name: side for side in sides}


@contextlib.contextmanager
def local(secure: bool, nodes: int = 1, slots: int = SLOTS, name: str = MESHQ) -> Iterator[Side]:
    """Start nodes; yield their mesh as a side, each worker of which has been seen at work."""
    with local_mesh([f"n{number}" for number in range(nodes)], slots, secure=secure) as mesh:
        side = mesh_side(mesh, nodes * slots, {"name": mesh.name})
        assert warm(side) == side.workers
        yield side._replace(name=name)


def measure(part: str, *sides: Side, **changes: Any) -> dict[str, Line]:
    """Run a part on these sides, print its table, and return its lines by their key."""
    for side in sides[1:]:
        assert warm(side) == side.workers
    findings = run_part(PARTS[part]._replace(once=False), sides, replace(SCALE, **changes))
    print()
    print_figures({part: findings}, [side.name for side in sides])
    return {line.figure.key: line for line in findings.lines}


def ratio(line: Line, other: str) -> float:
    """Return the median of the ratios to another side."""
    found = line.ratios[other]
    assert found is not None
    return found


def median(line: Line, side: str = MESHQ) -> float:
    """Return a side's median."""
    found = line.medians[side]
    assert found is not None
    return found


@both
def test_1_no_ops_one_by_one(others: dict[str, Side], secure: bool) -> None:
    """No-ops, each its own future: at least 6 times ProcessPoolExecutor and twice multiprocessing.Pool."""
    with local(secure) as ours:
        line = measure("throughput", ours, others[EXECUTOR], others[POOL])["tasks_per_s"]
    assert ratio(line, EXECUTOR) >= 6.0
    assert ratio(line, POOL) >= 2.0


@both
def test_2_one_round_trip(others: dict[str, Side], secure: bool) -> None:
    """One submit and its result: at most 1.25 times ProcessPoolExecutor in the median, 1.5 times at 99 %."""
    with local(secure) as ours:
        lines = measure("latency", ours, others[EXECUTOR])
    assert ratio(lines["p50_us"], EXECUTOR) <= 1.25
    assert ratio(lines["p99_us"], EXECUTOR) <= 1.5


@both
def test_3_map_of_a_million(others: dict[str, Side], secure: bool) -> None:
    """A map of a million cheap items without a chunk size: at least 0.8 times that of multiprocessing.Pool."""
    with local(secure) as ours:
        line = measure("map", ours, others[POOL], items=1_000_000)["items_per_s"]
    assert ratio(line, POOL) >= 0.8


@both
def test_4_payloads(others: dict[str, Side], secure: bool) -> None:
    """Echoes of 1 MB, of 32 MB and of an array of 8 MB: at least 1.5, 3 and 1.5 times ProcessPoolExecutor."""
    with local(secure) as ours:
        lines = measure("payload", ours, others[EXECUTOR])
    found = {key: ratio(line, EXECUTOR) for key, line in lines.items()}
    goals = {"bytes_1_mb": 1.5, "bytes_32_mb": 3.0, "array_8_mb": 1.5}
    assert not {key: (found[key], goal) for key, goal in goals.items() if found[key] < goal}


@both
def test_5_makespan(secure: bool) -> None:
    """200 exponential sleeps on two nodes of two slots: at most 1.05 times an ideal list schedule."""
    with local(secure, nodes=2) as ours:
        lines = measure("balance", ours)
    assert median(lines["makespan"]) <= 1.05


@both
def test_6_backlog(secure: bool) -> None:
    """A million waiting tasks drain at 0.9 times the rate of ten thousand, and take 700 bytes each at most."""
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    with local(secure) as ours:
        lines = measure("backlog", ours, backlogs=sizes)
    few, many = (lines[f"drain_{count}"].rounds[MESHQ] for count in (10_000, 1_000_000))
    drains = statistics.median(b / a for a, b in zip(few, many, strict=True))
    print(f"drain rate at 10^6 to that at 10^4: {drains:.2f}")
    assert drains >= 0.9
    assert median(lines["bytes_1000000"]) <= 700


@both
def test_7_ping_of_ten(secure: bool) -> None:
    """A ping of ten nodes from a client that is warm: under 3 ms in the median."""
    with local(secure, nodes=10, slots=1) as ours:
        lines = measure("ping", ours)
    assert median(lines["ping_p50_ms"]) < 3.0


@both
def test_8_at_rest(secure: bool) -> None:
    """A node with two workers takes 0.5 % of a core and 120 MB at most; the first result comes within 1 s of its
    start, and ``meshq ctl ping`` in a shell takes less than 0.8 s."""
    firsts, pings = [], []
    for _ in range(SCALE.rounds):
        with started(secure) as (mesh, began_at):
            assert mesh.submit(bench.task_of(bench.noop)).result(20) is None
            firsts.append(time.perf_counter() - began_at)
            pings.append(shell_ping())
    with started(secure) as (mesh, _):
        name = mesh.name
        mesh.wait_for_nodes(1, 20)
        mesh.close()
        time.sleep(1.0)
        pids = processes_of(name)
        before = sum(map(cpu_seconds, pids))
        time.sleep(REST_S)
        core = (sum(map(cpu_seconds, pids)) - before) / REST_S
        megabytes = sum(map(memory_bytes, pids)) / 1e6
    first, ping = statistics.median(firsts), statistics.median(pings)
    print(f"\nat rest {core:.2%} of a core, {megabytes:.0f} MB in {len(pids)} processes")
    print(f"start to first result {first:.2f} s, meshq ctl ping {ping:.2f} s")
    assert len(pids) == 1 + SLOTS
    assert core <= 0.005
    assert megabytes <= 120
    assert first < 1.0
    assert ping < 0.8


@contextlib.contextmanager
def started(secure: bool) -> Iterator[tuple[Mesh, float]]:
    """Open a mesh and start its only node; yield the mesh, and when the node was started."""
    name = f"bench-{secrets.token_hex(4)}"
    with (
        sealed_off(name, SLOTS, secure) as directory,
        LocalNodes(name, directory, bench.__name__) as nodes,
        Mesh() as mesh,
    ):
        began_at = time.perf_counter()
        nodes.start("n0")
        yield mesh, began_at


def shell_ping() -> float:
    """Return how long ``meshq ctl ping`` takes, the start of its process included."""
    began_at = time.perf_counter()
    command = [sys.executable, "-m", "meshq", "ctl", "ping", "--json"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    took = time.perf_counter() - began_at
    assert len(json.loads(done.stdout)["replies"]) == 1
    return took


def test_9_with_a_key() -> None:
    """No-ops one by one with a key: at least 0.8 times the rate without."""
    with local(False, name="open") as open_side, local(True, name="keyed") as keyed:
        line = measure("throughput", keyed, open_side)["tasks_per_s"]
    assert ratio(line, "open") >= 0.8


@both
def test_10_eight_clients(secure: bool) -> None:
    """Eight client processes: at least 0.7 times the rate of one in all, the slowest at least half the mean."""
    with local(secure) as ours:
        lines = measure("clients", ours)
    assert median(lines["all_to_one"]) >= 0.7
    assert median(lines["slowest_to_mean"]) >= 0.5
