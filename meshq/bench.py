"""The functions that ``meshq bench`` times: ``meshq node meshq.bench`` offers them.

Each is there twice: plain, for whatever else is timed beside the mesh, and as a task (``task_of``), which the
nodes run by the plain one's name. So the same code runs on each side.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from meshq.tasks import TaskFunction, current_task, task

T = TypeVar("T")


def noop() -> None:
    """Do nothing."""


def increment(number: int) -> int:
    """Return the next number: about the least that a function can do with an argument."""
    return number + 1


def echo(value: T) -> T:
    """Return what was given."""
    return value


def where() -> tuple[str, int]:
    """Return which worker runs this: NAME@HOST of its node, "" where it is no node's, and its pid."""
    this = current_task()
    return "" if this is None else this.node, os.getpid()


def nap(seconds: float) -> tuple[str, int]:
    """Sleep for so many seconds; return what ``where`` does."""
    time.sleep(seconds)
    return where()


_TASKS = {
    function: task(name=f"{__name__}.{function.__name__}")(function)
    for function in (noop, increment, echo, where, nap)
}
NAMES = frozenset(function.name for function in _TASKS.values())
"""The names of the tasks, as nodes list them."""


def task_of(function: Callable[..., Any]) -> TaskFunction[..., Any]:
    """Return one of these functions as a task."""
    return _TASKS[function]
