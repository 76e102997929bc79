"""A task and a plain function, for commands that take functions."""

from __future__ import annotations

from meshq import task


@task
def double(x: int) -> int:
    """Double a number."""
    return 2 * x


def plain(x: int) -> int:
    """Not a task."""
    return x
