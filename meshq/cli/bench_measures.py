"""What ``meshq bench`` measures of one side: each function takes a side once through its paces."""

from __future__ import annotations

import heapq
import importlib.util
import random
import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshq import bench
from meshq.cli.bench_sides import Side
from meshq.errors import MeshqError

WARM_S = 10.0
"""How long it may take until each worker has been seen at work."""
MEGABYTE = 1_000_000
IN_FLIGHT = 8
"""How many payloads of 1 MB are on their way at a time."""
PING_S = 5.0
"""How long a reply is waited for; an answer that takes as long is a figure, too."""
_WARM_TRIPS = 20


@dataclass(frozen=True)
class Scale:
    """How much of everything. Sizes are counts but for ``nap_s``, the mean of the sleeps in seconds."""

    rounds: int = 5
    tasks: int = 20_000
    trips: int = 1_000
    items: int = 200_000
    small: int = 64
    """Payloads of 1 MB; 8 are on their way at a time."""
    large: int = 4
    """Payloads of 32 MB, one after the other."""
    arrays: int = 10
    """Arrays of 8 MB, one after the other."""
    naps: int = 200
    nap_s: float = 0.010
    marks: int = 20_000
    """Tasks that say where they ran. With 4,000, a tenth of a second, chance decides who gets how many of them."""
    pings: int = 50
    clients: int = 8
    backlogs: tuple[int, ...] = (1_000, 10_000, 100_000)


QUICK = Scale(
    rounds=1, tasks=2_000, trips=100, items=5_000, small=8, large=1, arrays=1, naps=40, nap_s=0.005, marks=500,
    pings=5, clients=2, backlogs=(1_000,),
)  # fmt: skip
"""Enough to see that all works, and the order of the figures."""


def warm(side: Side) -> int:
    """Keep a side busy until each of its workers has been seen at work; return how many were."""
    nap, end_at = side.function(bench.nap), time.monotonic() + WARM_S
    seen: set[tuple[str, int]] = set()
    while len(seen) < side.workers and time.monotonic() < end_at:
        handles = [side.submit(nap, 0.002) for _ in range(8 * side.workers)]
        seen |= {tuple(side.read(handle)) for handle in handles}
    throughput(side, 500)
    return len(seen)


def throughput(side: Side, tasks: int) -> float:
    """Return tasks a second: submitted one by one, each with its own future, all results read."""
    noop, submit, read = side.function(bench.noop), side.submit, side.read
    began_at = time.perf_counter()
    handles = [submit(noop) for _ in range(tasks)]
    for handle in handles:
        read(handle)
    return tasks / (time.perf_counter() - began_at)


def round_trips(side: Side, trips: int) -> list[float]:
    """Return the seconds of each of so many round trips, one after the other, the shortest first."""
    noop, submit, read = side.function(bench.noop), side.submit, side.read
    times = []
    for _ in range(_WARM_TRIPS + trips):
        began_at = time.perf_counter()
        read(submit(noop))
        times.append(time.perf_counter() - began_at)
    return sorted(times[_WARM_TRIPS:])


def map_rate(side: Side, items: int) -> float:
    """Return items a second that a cheap function is mapped over, without a chunk size given."""
    count = max(1, items // side.one_in)
    began_at = time.perf_counter()
    total = sum(side.map(side.function(bench.increment), range(count)))
    took = time.perf_counter() - began_at
    _check(total == count * (count + 1) // 2, side, "map", total)
    return count / took


def bandwidth(side: Side, value: Any, size: int, count: int, in_flight: int) -> float:
    """Return MB a second of a value of ``size`` bytes there and back, counted once."""
    echo, submit, read = side.function(bench.echo), side.submit, side.read
    waiting: deque[Any] = deque()
    began_at = time.perf_counter()
    for _ in range(count):
        if len(waiting) == in_flight:
            _check_size(side, read(waiting.popleft()), size)
        waiting.append(submit(echo, value))
    while waiting:
        _check_size(side, read(waiting.popleft()), size)
    return count * size / MEGABYTE / (time.perf_counter() - began_at)


def warm_payloads(side: Side, small: int) -> None:
    """Have so many payloads of 1 MB echoed by workers that have all been seen at work."""
    warm(side)
    bandwidth(side, _megabytes(1), MEGABYTE, small, IN_FLIGHT)


def payloads(side: Side, small: int, large: int, arrays: int) -> dict[str, float | None]:
    """Return MB a second of so many echoes of 1 MB, of 32 MB, and of an array of 8 MB (None without numpy)."""
    array = make_array()
    rates: dict[str, float | None] = {"bytes_1_mb": bandwidth(side, _megabytes(1), MEGABYTE, small, IN_FLIGHT)}
    rates["bytes_32_mb"] = bandwidth(side, _megabytes(32), 32 * MEGABYTE, large, 1)
    rates["array_8_mb"] = None
    if array is not None and takes_arrays(side, array):
        rates["array_8_mb"] = bandwidth(side, array, 8 * MEGABYTE, arrays, 1)
    return rates


def _megabytes(count: int) -> bytes:
    return bytes(range(250)) * (count * MEGABYTE // 250)


def make_array() -> Any | None:
    """Return 8 MB of numbers; None where there is no numpy."""
    if importlib.util.find_spec("numpy") is None:
        return None
    import numpy

    return numpy.arange(MEGABYTE, dtype=numpy.float64)


def takes_arrays(side: Side, array: Any) -> bool:
    """Whether arrays travel there and back: not where a node has no numpy."""
    try:
        return type(side.read(side.submit(side.function(bench.echo), array[:10]))) is type(array)
    except Exception:  # whatever it raises, it is no array that comes back
        return False


def naps(count: int, mean_s: float, seed: int) -> list[float]:
    """Return how long each of so many sleeps is, in seconds, exponentially distributed."""
    chance = random.Random(seed)
    return [chance.expovariate(1.0 / mean_s) for _ in range(count)]


def ideal_makespan(durations: Sequence[float], workers: int) -> float:
    """Return how long a list schedule takes: each run, in order, begins at the first worker that is free."""
    free_at = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free_at, free_at[0] + duration)
    return max(free_at)


def makespan(side: Side, durations: Sequence[float]) -> float:
    """Return how long a side takes for all these sleeps, in seconds."""
    nap, submit = side.function(bench.nap), side.submit
    began_at = time.perf_counter()
    handles = [submit(nap, duration) for duration in durations]
    for handle in handles:
        side.read(handle)
    return time.perf_counter() - began_at


def shares(side: Side, marks: int) -> dict[tuple[str, int], float]:
    """Return which part of a burst of no-ops each worker ran."""
    where = side.function(bench.where)
    handles = [side.submit(where) for _ in range(marks)]
    counts = Counter(tuple(side.read(handle)) for handle in handles)
    return {worker: count / marks for worker, count in sorted(counts.items())}


def ping_times(side: Side, pings: int) -> list[float]:
    """Return the seconds until all nodes have answered, of each of so many pings, the shortest first."""
    assert side.mesh is not None
    times = []
    for _ in range(1 + pings):  # the first one connects
        began_at = time.perf_counter()
        replies = side.mesh.control.ping(timeout=PING_S)
        times.append(time.perf_counter() - began_at)
        if replies.missing:
            raise MeshqError(f"ping: no reply from {', '.join(sorted(replies.missing))}")
    return sorted(times[1:])


def median(times: Sequence[float]) -> float:
    """Return the middle one."""
    return statistics.median(times)


def percentile(times: Sequence[float], percent: float) -> float:
    """Return what so many percent of ``times``, which are sorted, do not exceed."""
    return times[min(len(times) - 1, int(len(times) * percent / 100))]


def _check_size(side: Side, value: Any, size: int) -> None:
    came = value.nbytes if hasattr(value, "nbytes") else len(value)
    _check(came == size, side, "echo", f"{came} bytes")


def _check(right: bool, side: Side, what: str, came: object) -> None:
    if not right:
        raise MeshqError(f"{what} through {side.name} gave a wrong result: {came}")
