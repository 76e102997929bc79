"""The functions that the lab's nodes offer."""

from __future__ import annotations

import socket
import time

from meshq import task


@task
def where(number: int, seconds: float) -> tuple[int, str, float]:
    """Take some time; return the number, the host that ran it, and the monotonic instant of its start.

    The hosts of the lab share one kernel, hence one monotonic clock.
    """
    started_at = time.monotonic()
    time.sleep(seconds)
    return number, socket.gethostname(), started_at
