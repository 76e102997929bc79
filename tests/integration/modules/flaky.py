"""Tasks that fail at first."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from meshq import Retry, current_task, task


def starts(path: str) -> int:
    """Note a start, and return how many there have been."""
    with Path(path).open("a") as file:
        file.write(os.environ.get("NODE_LABEL", "?") + "\n")
    return Path(path).read_text().count("\n")


@task(retry_for=(ConnectionError,), retry_backoff=0.05)
def connect(path: str, failures: int) -> str:
    """Fail so many times, then tell where it ran."""
    if starts(path) <= failures:
        raise ConnectionError("no line")
    return os.environ.get("NODE_LABEL", "?")


@task
def later(path: str, delay: float) -> int:
    """Ask for one more try, then tell how often it has started."""
    count = starts(path)
    if count == 1:
        raise Retry("not yet", delay=delay)
    return count


@task(max_retries=1, retry_backoff=0)
def never(path: str) -> None:
    """Ask for another try each time, for a reason."""
    starts(path)
    try:
        raise KeyError("reason")
    except KeyError as error:
        raise Retry("again") from error


@task
def note(path: str, seconds: float) -> int:
    """Note a start, sleep, and tell how many starts there have been."""
    count = starts(path)
    time.sleep(seconds)
    return count


@task(delivery="at-most-once", retry_for=(ConnectionError,), retry_backoff=0)
def careful(path: str, seconds: float) -> int:
    """Note a start, which must be the only one; sleep, or fail where the time is below 0."""
    count = starts(path)
    if seconds < 0:
        raise ConnectionError("no line")
    time.sleep(seconds)
    return count


@task(retry_for=(ConnectionError,), retry_backoff=0, time_limit=30)
def me(path: str) -> list[Any]:
    """Fail once, then tell what it knows of itself."""
    own = current_task()
    if starts(path) == 1 or own is None:
        raise ConnectionError
    return [own.id, own.name, own.attempt, own.retries, own.node, own.remaining]
