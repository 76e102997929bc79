"""``shipped``: the task function that calls what comes to it as a pickle, for functions that have no name.

Nodes offer it where pickles are allowed, and only there. No other function may have its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.errors import ConfigError
from meshq.tasks.function import TaskFunction
from meshq.tasks.names import SHIPPED
from meshq.tasks.options import PLAIN


def _task(function: Callable[..., Any]) -> TaskFunction[..., Any]:
    """Do what ``@task`` does, which refuses this name."""
    return TaskFunction(function, SHIPPED, PLAIN.changed({"serializer": "pickle"}))


@_task
def shipped(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return ``function(*args, **kwargs)``: what functions without a name are submitted as."""
    if not callable(function):
        raise TypeError(f"{SHIPPED} calls its first argument, and {function!r} cannot be called")
    return function(*args, **kwargs)


def refuse_name(name: str) -> None:
    """Raise ``ConfigError`` for a function of the user's that would be known as this one."""
    if name == SHIPPED:
        raise ConfigError(
            f"no function can be named {SHIPPED!r}: nodes offer one of that name themselves, where they are "
            "started with --allow-pickle"
        )
