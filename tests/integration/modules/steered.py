"""Tasks that are steered by control commands: what they do can be told apart by when they did it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from meshq import SoftTimeLimitExceeded, task


@task
def stamp(path: str) -> float:
    """Add the time to a file; it is the same for all processes of a host."""
    now = time.monotonic()
    with open(path, "a") as file:
        file.write(f"{now}\n")
    return now


@task
def burn(seconds: float) -> None:
    """Keep a CPU busy."""
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        pass


@task
def patient(seconds: float) -> str:
    """Sleep in short steps; tell whether the soft limit came."""
    end_at = time.monotonic() + seconds
    try:
        while time.monotonic() < end_at:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "told"
    return "slept"


@task(rate_limit="10/s", time_limit=30, soft_time_limit=20)
def limited() -> None:
    """Do nothing, within limits."""


@task
def hold(path: str, value: Any = None) -> Any:
    """Run until a file is there; return the value."""
    while not Path(path).exists():
        time.sleep(0.01)
    return value


def stamps(path: Path) -> list[float]:
    """Return the times in a file."""
    return [float(line) for line in path.read_text().split()] if path.exists() else []
