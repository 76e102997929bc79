"""Tasks that leave a mark with the instant of their start, for tests in which nodes come and go."""

from __future__ import annotations

import time

from meshq import task


@task
def stamp(path: str, mark: str, seconds: float = 0.0) -> str:
    """Write down the mark and the monotonic instant, then sleep."""
    with open(path, "a") as file:
        file.write(f"{mark} {time.monotonic()}\n")
    time.sleep(seconds)
    return mark
