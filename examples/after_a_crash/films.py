"""A task that takes a while."""

import os
import time

from meshq import task


@task
def encode(film: str) -> str:
    """Pretend to encode a film."""
    time.sleep(0.4)
    return f"{film}, encoded by process {os.getpid()} at {time.monotonic():.3f}"
