"""One client process of ``meshq bench``: ``python -m meshq.cli.bench_client``, told what to do by JSON lines.

The first line names the job and the mesh; it is answered when all is ready, and the second one begins the job. Its
result is the last answer, or an ``error``.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from meshq import bench
from meshq.cli.absence import absence, settle
from meshq.cli.bench_measures import payloads, throughput, warm_payloads
from meshq.cli.bench_sides import POOLS, Side, mesh_side
from meshq.client.mesh import Mesh
from meshq.core.owned import TaskState
from meshq.errors import MeshqError

READY_S = 20.0
"""From the start of the process until it sees a node."""
HOLD_S = 0.5
LONGEST_HOLD_S = 120.0
_SAMPLE = 2_000

Job = Iterator[dict[str, Any]]
"""Yields once when it is ready, and then the result."""


def measure_throughput(side: Side, tasks: int) -> Job:
    """Submit no-ops one by one, and read all results: ``tasks_per_s``."""
    throughput(side, 500)
    yield {}
    yield {"tasks_per_s": throughput(side, tasks)}


def measure_payload(side: Side, small: int, large: int, arrays: int) -> Job:
    """Echo payloads of each kind: see ``bench_measures.payloads``."""
    warm_payloads(side, small)
    yield {}
    yield payloads(side, small, large, arrays)


def measure_backlog(side: Side, slots: int, count: int) -> Job:
    """Let no-ops wait behind slots that are busy, then see them drained.

    ``queued`` is how many were waiting when the last was submitted, ``bytes_per_task`` the memory that this
    process took for them from the system (None where that cannot be told), ``tasks_per_s`` the rate from the
    moment that the slots were free.
    """
    rate = min(throughput(side, _SAMPLE) for _ in range(2))
    yield {}
    hold_s = min(max(HOLD_S, count / rate), LONGEST_HOLD_S)  # to submit takes less than to run them as well
    holds = _occupy(side, slots, hold_s)
    noop, submit = side.function(bench.noop), side.submit
    gc.collect()
    before = _resident_bytes()
    tasks = [submit(noop) for _ in range(count)]
    after = _resident_bytes()
    waiting = _unfinished(tasks)  # while the slots are busy, so that it does not count
    is_late = any(hold.done() for hold in holds)
    concurrent.futures.wait(holds, return_when=concurrent.futures.FIRST_COMPLETED)
    began_at = time.perf_counter()
    if is_late:
        waiting = _unfinished(tasks)
    for task in waiting:
        task.result()
    took = time.perf_counter() - began_at
    grown = None if before is None or after is None else (after - before) / count
    yield {"tasks_per_s": len(waiting) / took, "bytes_per_task": grown, "queued": len(waiting)}


def _unfinished(tasks: list[Any]) -> list[Any]:
    return [task for task in tasks if task.state is not TaskState.DONE]  # to ask done() would cost each a lock


def _occupy(side: Side, slots: int, seconds: float) -> list[Any]:
    """Give each slot a sleep, and wait until all of them have begun."""
    holds = [side.submit(side.function(bench.nap), seconds) for _ in range(slots)]
    end_at = time.monotonic() + READY_S
    while not all(hold.running() for hold in holds):
        if time.monotonic() > end_at:
            raise MeshqError(f"not all of {slots} slots were free within {READY_S:.0f} s: is the mesh busy?")
        time.sleep(0.01)
    return holds


def _resident_bytes() -> int | None:
    """Return how much memory this process has from the system; None where it does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


JOBS: dict[str, Callable[..., Job]] = {
    "throughput": measure_throughput,
    "payload": measure_payload,
    "backlog": measure_backlog,
}


def main() -> None:
    """Do the job that the first line of stdin names."""
    order = json.loads(sys.stdin.readline())
    try:
        with _side(**order) as side:
            job = JOBS[order["job"]](side, **order["arguments"])
            _say(next(job))
            if not sys.stdin.readline():
                raise MeshqError("nobody waits for the result")
            _say(next(job))
    except MeshqError as error:
        _say({"error": str(error)})


@contextlib.contextmanager
def _side(flags: dict[str, Any] | None, name: str, workers: int, **_: Any) -> Iterator[Side]:
    """Start the pool of this name, or join the mesh of these flags."""
    if flags is None:
        with POOLS[name](workers) as pool:
            yield pool
        return
    with Mesh(**flags) as mesh:
        if not settle(mesh, READY_S):
            raise absence(mesh)
        yield mesh_side(mesh, workers, flags)


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
