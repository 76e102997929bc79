"""A task that leaves a mark each time that it runs."""

from __future__ import annotations

import os
import time

from meshq import task


@task
def mark(path: str, text: str, seconds: float = 0.0) -> str:
    """Add a line to a file as it begins, take so many seconds, and give the text back."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)
    time.sleep(seconds)
    return text


@task(delivery="at-most-once")
def mark_once(path: str, text: str, seconds: float = 0.0) -> str:
    """Do the same, and never a second time."""
    return mark(path, text, seconds)
