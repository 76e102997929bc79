"""The table of task functions, by the module that made them.

Within a module a name stands for one function. Defining the same function again (``importlib.reload``, a cell
run twice) replaces it, as Python itself does; two functions that claim one name are a ``ConfigError``.
Tables are by module, as a script that is also imported makes each function twice, once in ``__main__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshq.errors import ConfigError

if TYPE_CHECKING:
    from meshq.tasks.function import TaskFunction

_tables: dict[str, dict[str, TaskFunction[..., Any]]] = {}


def register(function: TaskFunction[..., Any]) -> None:
    """Enter a task function in its module's table."""
    table = _tables.setdefault(function.__module__, {})
    known = table.get(function.name)
    if known is not None and known.__qualname__ != function.__qualname__:
        raise ConfigError(
            f"two task functions of module {function.__module__} are named {function.name!r}: "
            f"{known.__qualname__} and {function.__qualname__}; give one another name with @task(name=…)"
        )
    table[function.name] = function


def registered(module: str) -> dict[str, TaskFunction[..., Any]]:
    """Return the task functions that ``module`` itself made, by name."""
    return dict(_tables.get(module, {}))


def registered_below(module: str) -> Iterator[TaskFunction[..., Any]]:
    """Yield the task functions made by ``module`` and its submodules, as far as they have been imported."""
    for name, table in list(_tables.items()):
        if name == module or name.startswith(module + "."):
            yield from table.values()
