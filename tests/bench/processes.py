"""What the system knows of a process: its CPU time and its memory. Linux."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def thread_seconds(pid: int) -> dict[int, float]:
    """Return the CPU time of each thread of a process, to the nanosecond."""
    found: dict[int, float] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            found[int(path.parent.name)] = int(path.read_text().split()[0]) / 1e9
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, all its threads together."""
    return sum(thread_seconds(pid).values())


def memory_bytes(pid: int) -> int:
    """Return the memory of a process; what it shares with others counts by its share (PSS)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    return int(kilobytes) * 1024
