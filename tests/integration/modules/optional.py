"""Tasks for the options of a call: bound ones, and one that leaves a mark."""

from __future__ import annotations

import os
import time
from typing import Any

from meshq import task


@task(bind=True, tags=())
def bound(self: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Tell what is known of oneself, and the caller's arguments."""
    return type(self).__name__, self.name, self.settings.bind, args, kwargs


@task(bind=True)
async def bound_later(self: Any, number: int) -> tuple[str, int]:
    """Do the same in a coroutine."""
    return self.name, number


@task(bind=True)
def countdown(self: Any, number: int) -> list[int]:
    """Call oneself, here, until there is nothing left."""
    return [number, *(self(number - 1) if number else [])]


@task(priority=9, expires=30.0)
def urgent(path: str, mark: str) -> None:
    """Leave a mark, before others."""
    mark_down(path, mark)


@task
def mark(path: str, mark: str, seconds: float = 0.0) -> str:
    """Leave a mark with the instant, and tell which node this is."""
    mark_down(path, mark)
    time.sleep(seconds)
    return os.environ["NODE_LABEL"]


def mark_down(path: str, mark: str) -> None:
    """Add a line to a file; the clock is the same for all processes of a host."""
    with open(path, "a") as file:
        file.write(f"{mark} {time.monotonic()} {os.environ['NODE_LABEL']}\n")
