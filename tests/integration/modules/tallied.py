"""A task of which each run is written down, with its start and its end."""

from __future__ import annotations

import os
import time

from meshq import task


@task
def tally(path: str, number: int, seconds: float) -> int:
    """Write down that it starts, sleep, write down that it ends; return the number."""
    write(path, f"start {number}")
    time.sleep(seconds)
    write(path, f"end {number}")
    return number


def write(path: str, line: str) -> None:
    """Append a line, at once and whole."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)
