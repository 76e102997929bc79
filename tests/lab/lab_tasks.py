"""The functions that the lab's nodes offer."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from meshq import task


@task
def where(number: int, seconds: float) -> tuple[int, str, float]:
    """Take some time; return the number, the host that ran it, and the monotonic instant of its start.

    The hosts of the lab share one kernel, hence one monotonic clock.
    """
    started_at = time.monotonic()
    time.sleep(seconds)
    return number, socket.gethostname(), started_at


@task
def hold(until: str) -> str:
    """Wait for a file; return the host that did."""
    while not os.path.exists(until):
        time.sleep(0.01)
    return socket.gethostname()


@task
def mark(path: str) -> None:
    """Leave a trace of having run: the host, in a file, which all hosts of the lab can see."""
    Path(path).write_text(socket.gethostname())
