"""The settings of a node or a client: one frozen object, each field with its default and its reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from meshq.config.values import (
    Reader,
    bytes_from,
    one_of,
    read_allow,
    read_bytes,
    read_flag,
    read_host,
    read_module,
    read_name,
    read_path,
    read_peer,
    read_seconds,
    several,
    whole_number,
)

MAX_SLOTS = 1024
"""A slip of the finger must not start a hundred thousand processes."""

MAX_PORT = 65534
"""The node also binds the port above the one that it is given."""

MIN_HOLD_BYTES = 1 << 20
"""With less than this a node could hardly take a task."""
_MOST_HOLD_BYTES = 1 << 30
_CGROUP_LIMIT = "/sys/fs/cgroup/memory.max"

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        count = os.cpu_count() or 1
    return min(count, MAX_SLOTS)


def default_hold_bytes() -> int:
    """Return what a node holds of attached work: 1 GiB, or a quarter of the memory where that is less."""
    return min(_MOST_HOLD_BYTES, _memory_bytes() // 4)


def _memory_bytes() -> int:
    """Return how much memory this machine has, or the container that this process is in."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 4 * _MOST_HOLD_BYTES
    try:
        with open(_CGROUP_LIMIT) as file:
            return min(memory, int(file.read()))
    except (OSError, ValueError):  # no such file, or "max" in it: no limit
        return memory


def _by(read: Reader, flag: str = "") -> dict[str, Any]:
    """Say how a setting is read; ``flag`` is given where it is not the setting's name with dashes."""
    return {"read": read, "flag": flag}


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings, checked. Durations are in seconds, sizes in bytes, paths absolute."""

    mesh: str = field(default="default", metadata=_by(read_name))
    key: Path | None = field(default=None, metadata=_by(read_path))
    insecure: bool = field(default=False, metadata=_by(read_flag))
    peers: tuple[str, ...] = field(default=(), metadata=_by(several(read_peer), "--peer"))
    mdns: bool = field(default=True, metadata=_by(read_flag))
    bind: str | None = field(default=None, metadata=_by(read_host))
    port: int | None = field(default=None, metadata=_by(whole_number(1, MAX_PORT)))
    name: str = field(default="node", metadata=_by(read_name))
    slots: int = field(default_factory=cpu_count, metadata=_by(whole_number(1, MAX_SLOTS)))
    modules: tuple[str, ...] = field(default=(), metadata=_by(several(read_module), "MODULE"))
    allow: tuple[str, ...] = field(default=(), metadata=_by(several(read_allow)))
    allow_pickle: bool = field(default=False, metadata=_by(read_flag))
    tags: tuple[str, ...] = field(default=(), metadata=_by(several(read_name), "--tag"))
    hold_bytes: int = field(default_factory=default_hold_bytes, metadata=_by(bytes_from(MIN_HOLD_BYTES), "--hold"))
    state: Path | None = field(default=None, metadata=_by(read_path))
    grace: float | None = field(default=None, metadata=_by(read_seconds))
    """How long a drain leaves what runs alone; None: as long as it takes."""
    max_tasks_per_child: int | None = field(default=None, metadata=_by(whole_number(1, 2**31)))
    log_level: str = field(default="info", metadata=_by(one_of(*LOG_LEVELS)))
    log_format: str = field(default="text", metadata=_by(one_of("text", "json")))
    no_nodes_timeout: float = field(default=30.0, metadata=_by(read_seconds))
    outbox_bytes: int = field(default=1 << 30, metadata=_by(read_bytes))
    origins: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Setting → where it came from, for those that are not at their default."""


class Spec(NamedTuple):
    """How one setting is written and read."""

    name: str
    flag: str
    variable: str
    read: Reader


def _spec(name: str, metadata: Mapping[str, Any]) -> Spec:
    flag = metadata["flag"] or "--" + name.replace("_", "-")
    return Spec(name, flag, "MESHQ_" + name.upper(), metadata["read"])


SPECS: dict[str, Spec] = {f.name: _spec(f.name, f.metadata) for f in fields(Settings) if "read" in f.metadata}
"""Every setting, by name."""
