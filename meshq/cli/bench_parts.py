"""The parts of ``meshq bench``, by name: what each measures, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from meshq.cli import bench_measures as measures
from meshq.cli.bench_clients import alone, several
from meshq.cli.bench_measures import IN_FLIGHT, Scale
from meshq.cli.bench_sides import Side


class Figure(NamedTuple):
    """One line of the table. ``key`` is its name in JSON."""

    key: str
    label: str
    unit: str
    less_is_better: bool = False


Measured = dict[str, Any]
"""The figures by their key, None where there is none; and what else there is to tell."""


class Part(NamedTuple):
    """One part. ``compared`` says whether other sides can do it too; ``once`` whether one round is enough."""

    measure: Callable[[Side, Scale, int], Measured]
    figures: Callable[[Scale], tuple[Figure, ...]]
    compared: bool = True
    once: bool = False


def _throughput(side: Side, scale: Scale, number: int) -> Measured:
    return {"tasks_per_s": measures.throughput(side, scale.tasks)}


def _latency(side: Side, scale: Scale, number: int) -> Measured:
    times = measures.round_trips(side, scale.trips)
    return {"p50_us": measures.median(times) * 1e6, "p99_us": measures.percentile(times, 99) * 1e6}


def _map(side: Side, scale: Scale, number: int) -> Measured:
    return {"items_per_s": measures.map_rate(side, scale.items)}


def _payload(side: Side, scale: Scale, number: int) -> Measured:
    return alone(side, "payload", small=scale.small, large=scale.large, arrays=scale.arrays)


def _balance(side: Side, scale: Scale, number: int) -> Measured:
    durations = measures.naps(scale.naps, scale.nap_s, number)
    ideal = measures.ideal_makespan(durations, side.workers)
    took = measures.makespan(side, durations)
    parts = measures.shares(side, scale.marks)
    least = min(parts.values()) * side.workers if len(parts) >= side.workers else 0.0
    named = {f"{node or 'here'} pid {pid}": share for (node, pid), share in parts.items()}
    return {"makespan": took / ideal, "least_share": least, "shares": named}


def _ping(side: Side, scale: Scale, number: int) -> Measured:
    times = measures.ping_times(side, scale.pings)
    return {"ping_p50_ms": measures.median(times) * 1e3}


def _clients(side: Side, scale: Scale, number: int) -> Measured:
    assert side.flags is not None
    one = several(side.flags, 1, scale.tasks)
    many = several(side.flags, scale.clients, max(500, scale.tasks // scale.clients))
    return {
        "one_per_s": one.total,
        "all_per_s": many.total,
        "all_to_one": many.total / one.total,
        "slowest_to_mean": min(many.rates) * len(many.rates) / sum(many.rates),
    }


def _backlog(side: Side, scale: Scale, number: int) -> Measured:
    found: Measured = {}
    for count in scale.backlogs:
        drained = alone(side, "backlog", slots=side.workers, count=count)
        found[f"drain_{count}"] = drained["tasks_per_s"]
        found[f"bytes_{count}"] = drained["bytes_per_task"]
        found[f"queued_{count}"] = drained["queued"]
    return found


def _these(*figures: Figure) -> Callable[[Scale], tuple[Figure, ...]]:
    return lambda scale: figures


def _backlog_figures(scale: Scale) -> tuple[Figure, ...]:
    rates = [Figure(f"drain_{n}", f"backlog of {n:,} no-ops, drained at", "tasks/s") for n in scale.backlogs]
    room = [
        Figure(f"bytes_{n}", f"client's memory for each of {n:,} queued", "bytes", True)
        for n in scale.backlogs
        if n >= FEWEST_FOR_MEMORY
    ]
    return (*rates, *room)


FEWEST_FOR_MEMORY = 10_000
"""With fewer tasks, what a process takes from the system says nothing of them."""

PARTS: Mapping[str, Part] = {
    "throughput": Part(_throughput, _these(Figure("tasks_per_s", "no-ops submitted one by one", "tasks/s"))),
    "latency": Part(
        _latency,
        _these(
            Figure("p50_us", "one round trip, median", "µs", True),
            Figure("p99_us", "one round trip, 99 %", "µs", True),
        ),
    ),
    "map": Part(_map, _these(Figure("items_per_s", "map of x + 1", "items/s"))),
    "payload": Part(
        _payload,
        _these(
            Figure("bytes_1_mb", f"echo of 1 MB, {IN_FLIGHT} at a time", "MB/s"),
            Figure("bytes_32_mb", "echo of 32 MB", "MB/s"),
            Figure("array_8_mb", "echo of a numpy array of 8 MB", "MB/s"),
        ),
    ),
    "balance": Part(
        _balance,
        _these(
            Figure("makespan", "exponential sleeps, to an ideal schedule", "×", True),
            Figure("least_share", "no-ops of the least busy worker, to an even share", "×"),
        ),
    ),
    "ping": Part(_ping, _these(Figure("ping_p50_ms", "ping of all nodes, median", "ms", True)), compared=False),
    "clients": Part(
        _clients,
        lambda scale: (
            Figure("one_per_s", "no-ops of one client process", "tasks/s"),
            Figure("all_per_s", f"no-ops of {scale.clients} client processes, in all", "tasks/s"),
            Figure("all_to_one", f"the rate of {scale.clients} clients, to that of one", "×"),
            Figure("slowest_to_mean", "the rate of the slowest of them, to their mean", "×"),
        ),
        compared=False,
    ),
    "backlog": Part(_backlog, _backlog_figures, compared=False, once=True),
}
