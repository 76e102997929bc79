"""What a node says of itself: its figures, its settings, and the text for the report of a fault."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import zmq

from meshq import __version__
from meshq.config import Settings
from meshq.config.settings import SPECS

HIDDEN = "***"
"""Stands for what nobody else is to know."""
MAX_FUNCTIONS = 500
"""How many functions the figures are about, the busiest first."""
_MAX_NAMES = 20
_PAGE_BYTES, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """What a process takes up: resident memory, and the CPU seconds that it has used."""

    rss_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """Return what a process takes up; None where that cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return Usage(int(fields[21]) * _PAGE_BYTES, (int(fields[11]) + int(fields[12])) / _TICKS)
    except (OSError, IndexError, ValueError):  # it has ended, or there is no /proc
        return _own_usage() if pid == os.getpid() else None


def _own_usage() -> Usage:
    """Return what this process takes up, by other means: of memory, the most that it ever took."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(used.ru_maxrss * _MAXRSS_BYTES, used.ru_utime + used.ru_stime)


def workers(pids: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return a row for each worker: its slot, its process, and what that takes up."""
    return [{"slot": slot, "pid": pid, **_fields(usage(pid))} for slot, pid in sorted(pids.items())]


def process() -> dict[str, Any]:
    """Return what this process is, and what it takes up."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "pid": os.getpid(),
        **_fields(usage(os.getpid())),
    }


def _fields(used: Usage | None) -> dict[str, Any]:
    return {} if used is None else {"rss_bytes": used.rss_bytes, "cpu_s": round(used.cpu_s, 2)}


def totals(runs: Mapping[str, int], failed: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return how many runs of each function have ended here, and how many of these have failed."""
    busiest = sorted(runs, key=lambda name: -runs[name])[:MAX_FUNCTIONS]
    return {name: {"runs": runs[name], "failed": failed.get(name, 0)} for name in busiest}


def conf(settings: Settings, has_key: bool) -> dict[str, Any]:
    """Return all settings as plain values, and where those that are not at their default come from.

    Of the key, it says only whether there is one: where it lies is nobody else's business.
    """
    values = {name: _plain(getattr(settings, name)) for name in SPECS}
    values["key"] = HIDDEN if has_key else None
    return {**values, "origins": dict(settings.origins)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def report(
    name: str, address: str, stats: Mapping[str, Any], conf: Mapping[str, Any], functions: Iterable[str]
) -> str:
    """Return what somebody who looks for a fault will ask first, in lines."""
    offered = sorted(functions)
    named = ", ".join(offered[:_MAX_NAMES]) + (", …" if len(offered) > _MAX_NAMES else "")
    changed = (f"  {key} = {conf[key]!r} ({origin})" for key, origin in sorted(conf["origins"].items()))
    lines = [
        f"node {name} of mesh {conf['mesh']} at {address}",
        f"meshq {__version__}, pyzmq {zmq.__version__} (libzmq {zmq.zmq_version()}), "
        f"msgpack {'.'.join(map(str, msgpack.version))}{_zeroconf()}",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}, "
        f"{os.cpu_count()} CPUs",
        f"pid {stats['pid']}, up {stats['uptime_s']:.0f} s, {stats['slots']} slots, "
        f"{len(stats['workers'])} workers, {'with a key' if stats['secured'] else 'without a key'}"
        f"{', draining' if stats['draining'] else ''}",
        ", ".join(f"{key}: {value}" for key, value in stats["counts"].items()),
        f"{len(offered)} functions{': ' * bool(named)}{named}",
        "settings that are not at their default:",
        *(changed if conf["origins"] else ["  none"]),
    ]
    return "\n".join(lines)


def _zeroconf() -> str:
    """Return zeroconf's version, where it is in use."""
    loaded = sys.modules.get("zeroconf")
    return "" if loaded is None else f", zeroconf {loaded.__version__}"
