"""Where each microsecond of a task goes: CPU time a task of client, node and workers, and how much of it is GC.

``python tests/bench/profile_roles.py`` runs no-ops, one by one, through a node of its own with two workers. With
``--calls N`` it lists the N functions of each role that take most of the time themselves; the profiler makes all
of it many times as slow, and small functions in Python most, so those are shares at best. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pstats
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))  # this very meshq, whether or not it or another one is installed

from processes import cpu_seconds, thread_seconds  # noqa: E402
from role_probe import COUNTS, Collections, ProfiledThreads, dump  # noqa: E402

from meshq.cli.bench import local_mesh  # noqa: E402
from meshq.cli.bench_measures import throughput, warm  # noqa: E402
from meshq.cli.bench_sides import mesh_side  # noqa: E402
from meshq.cli.local_nodes import processes_of  # noqa: E402

SLOTS = 2
CALLS_S = 10.0


class Cost(NamedTuple):
    """What a role has used up so far: seconds of CPU, of those in collections, and the number of these."""

    cpu_s: float = 0.0
    gc_s: float = 0.0
    collections: int = 0

    def since(self, before: Cost) -> Cost:
        """Return what was used up since then."""
        return Cost(*(now - then for now, then in zip(self, before, strict=True)))


class Roles:
    """The processes of one client, one node and its workers, by role."""

    def __init__(self, mesh: str, directory: Path, collections: Collections) -> None:
        self._directory = directory
        self._collections = collections
        self.pids = dict.fromkeys(processes_of(mesh), "workers")
        # The node is the parent of the others; a pid may be smaller than its parent's.
        (node,) = {_parent(pid) for pid in self.pids} & set(self.pids)
        self.pids[node] = "node"

    def costs(self) -> dict[str, Cost]:
        """Return what each role has used up."""
        mine = thread_seconds(os.getpid())
        caller = mine.pop(threading.get_native_id())
        found = {
            "client": Cost(caller + sum(mine.values()), self._collections.seconds, self._collections.count),
            "  its caller": Cost(caller),
            "  its other threads": Cost(sum(mine.values())),
            "node": Cost(),
            "workers": Cost(),
        }
        for pid, role in self.pids.items():
            cost = Cost(cpu_seconds(pid), *COUNTS.unpack((self._directory / f"{pid}.gc").read_bytes()))
            found[role] = Cost(*map(sum, zip(found[role], cost, strict=True)))
        return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextlib.contextmanager
def probed(calls: bool) -> Iterator[Path]:
    """Have each Python process that is started in this block be probed; yield the directory of what is found."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="meshq-roles-") as name:
        directory = Path(name)
        shutil.copy(HERE.with_name("role_probe.py"), directory / "sitecustomize.py")
        paths = filter(None, [name, before.get("PYTHONPATH")])
        os.environ.update(ROLE_PROBE=name, PYTHONPATH=os.pathsep.join(paths), ROLE_CALLS="1" if calls else "")
        try:
            yield directory
        finally:
            os.environ.clear()
            os.environ.update(before)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    asked = _parser().parse_args(args)
    threads = ProfiledThreads()
    if asked.calls:
        threading.setprofile(threads.begin)
    with probed(bool(asked.calls)) as directory, local_mesh(["n0"], SLOTS, secure=asked.secure) as mesh:
        side = mesh_side(mesh, SLOTS, {})
        warm(side)
        roles = Roles(mesh.name, directory, Collections())
        if asked.calls:
            threads.begin()
        rounds = []
        for _ in range(asked.rounds):
            before, began_at = roles.costs(), time.perf_counter()
            throughput(side, asked.tasks)
            took = time.perf_counter() - began_at
            rounds.append((took, {role: cost.since(before[role]) for role, cost in roles.costs().items()}))
        _show(rounds, asked.tasks)
        if asked.calls:
            sys.setprofile(None)
            _show_calls(threads, roles, directory, asked.calls)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20_000, metavar="N", help="no-ops a round [default: 20000]")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of so many [default: 5]")
    parser.add_argument("--secure", action="store_true", help="with a key")
    parser.add_argument(
        "--calls", type=int, default=0, metavar="N", help="list the N dearest functions of each role"
    )
    return parser


def _show(rounds: Sequence[tuple[float, dict[str, Cost]]], tasks: int) -> None:
    """Print the medians."""
    took = statistics.median(seconds for seconds, _ in rounds)
    print(f"{tasks:,} no-ops at {tasks / took:,.0f} a second: {took / tasks * 1e6:.1f} µs each by the clock")
    print(f"{'µs of CPU a task':<20}  {'all':>6}  {'GC':>6}  {'GC share':>8}  {'collections':>11}")
    for role in rounds[0][1]:
        cpu, gc, count = (statistics.median(costs[role][field] for _, costs in rounds) for field in range(3))
        cells = [f"{cpu / tasks * 1e6:>6.2f}"]
        if not role.startswith(" "):  # a collection may come in any thread
            cells += [f"{gc / tasks * 1e6:>6.2f}", f"{gc / cpu:>8.1%}", f"{count:>11.0f}"]
        print("  ".join([f"{role:<20}", *cells]))


def _show_calls(threads: ProfiledThreads, roles: Roles, directory: Path, count: int) -> None:
    """Print the functions that take most of the time themselves, by role."""
    (directory / "stop").touch()
    found = {f"client, thread {name}": directory / f"{name}.thread" for name in threads.profiles}
    for name, profile in threads.profiles.items():
        dump(profile, directory / f"{name}.thread")
    found |= {f"{role} {pid}": directory / f"{pid}.calls" for pid, role in roles.pids.items()}
    end_at = time.monotonic() + CALLS_S
    for title, path in found.items():
        while not path.exists() and time.monotonic() < end_at:
            time.sleep(0.05)
        print(f"\n=== {title}")
        pstats.Stats(str(path)).sort_stats("tottime").print_stats(count)


if __name__ == "__main__":
    main()
