"""meshq against ``ProcessPoolExecutor(2)``, in turn in one run; for a quiet machine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import bench_tasks
import pytest

import meshq
from meshq import Mesh

PAIRS = 5
TASKS = 20_000
ROUND_TRIPS = 1_000

Submit = Callable[[], "Future[Any]"]


@pytest.fixture(params=["open", "keyed"])
def mesh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mesh]:
    """One node with two slots, as it is started by default, and a client of it."""
    key = tmp_path / "mesh.key"
    if request.param == "keyed":
        subprocess.run([sys.executable, "-m", "meshq", "key", "new", str(key)], check=True, capture_output=True)
    flags = ["--key", str(key)] if request.param == "keyed" else []
    name = f"bench-{uuid.uuid4().hex[:12]}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("MESHQ_")}
    paths = [str(Path(__file__).parent), str(Path(meshq.__file__).parents[1])]
    env |= {"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    env["PYTHONPATH"] = os.pathsep.join(paths)
    command = [sys.executable, "-m", "meshq", "node", "bench_tasks", "--slots", "2", "--mesh", name, *flags]
    log = (tmp_path / "node.log").open("w")
    with log, subprocess.Popen(command, env=env, stderr=log) as node:
        try:
            with Mesh(name, key if flags else None) as mesh:
                mesh.wait_for_nodes(1, timeout=20)
                yield mesh
        finally:
            node.terminate()


@pytest.fixture
def executor() -> Iterator[ProcessPoolExecutor]:
    """The executor to compare with."""
    with ProcessPoolExecutor(2) as executor:
        yield executor


def _rate(submit: Submit) -> float:
    """Return tasks a second: submitted one by one, each its own future, all results read."""
    began_at = time.perf_counter()
    futures = [submit() for _ in range(TASKS)]
    for future in futures:
        future.result()
    return TASKS / (time.perf_counter() - began_at)


def _round_trip(submit: Submit) -> float:
    """Return the median seconds from a submit to its result."""
    times = []
    for _ in range(ROUND_TRIPS):
        began_at = time.perf_counter()
        submit().result()
        times.append(time.perf_counter() - began_at)
    return statistics.median(times)


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_twice_the_rate_and_at_most_twice_the_round_trip(mesh: Mesh, executor: ProcessPoolExecutor) -> None:
    """20,000 no-ops run at least twice as fast, one round trip takes at most twice as long: medians of 5 pairs."""

    def ours() -> Future[Any]:
        return mesh.submit(bench_tasks.noop)

    def theirs() -> Future[Any]:
        return executor.submit(bench_tasks.plain_noop)

    workers = {mesh.submit(bench_tasks.pid).result() for _ in range(2_000)}
    workers |= {f.result() for f in [mesh.submit(bench_tasks.pid) for _ in range(2_000)]}
    assert len(workers) == 2
    assert len({f.result() for f in [executor.submit(bench_tasks.plain_pid) for _ in range(2_000)]}) == 2
    rates, trips = [], []
    for _ in range(PAIRS):
        rates.append((_rate(ours), _rate(theirs)))
        trips.append((_round_trip(ours), _round_trip(theirs)))
    rate = statistics.median(a / b for a, b in rates)
    trip = statistics.median(a / b for a, b in trips)
    print(f"rate: {rate:.2f} times the executor's ({[f'{a:.0f}:{b:.0f}' for a, b in rates]} tasks/s)")
    print(f"round trip: {trip:.2f} times ({[f'{a * 1e6:.0f}:{b * 1e6:.0f}' for a, b in trips]} µs)")
    assert rate >= 2.0
    assert trip <= 2.0
