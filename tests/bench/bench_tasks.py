"""The functions that are timed: the same ones on each side."""

from __future__ import annotations

import os

from meshq import task


def plain_noop() -> None:
    """Do nothing, for the executor."""


def plain_pid() -> int:
    """Say which process runs this."""
    return os.getpid()


noop = task(name="bench_tasks.noop")(plain_noop)
pid = task(name="bench_tasks.pid")(plain_pid)
