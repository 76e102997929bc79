"""``@control_command``: functions that a node carries out when it is told to, beside its own control commands.

They are found as task functions are: in the modules that a node was given. They run in a process of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar, overload

from meshq.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

BUILT_IN = frozenset(
    {
        "active", "conf", "dead", "drain", "forget", "ping", "pool_resize", "purge", "query_task", "rate_limit",
        "registered", "report", "reserved", "result", "result_piece", "revoke", "revoked", "scheduled", "shutdown",
        "stats", "time_limit",
    }
)  # fmt: skip
"""The names of the commands that every node has."""

_tables: dict[str, dict[str, Callable[..., Any]]] = {}
"""Module → its control commands by name, as in the registry of task functions."""


@overload
def control_command(function: F, /) -> F: ...
@overload
def control_command(*, name: str | None = None) -> Callable[[F], F]: ...
def control_command(function: F | None = None, /, *, name: str | None = None) -> Any:
    """Make a control command of a function: ``@control_command`` or ``@control_command(name="reload")``.

    The function itself stays as it is. Nodes that have its module carry it out, each in one process of its own,
    one command at a time, with the arguments of ``broadcast`` as keyword arguments; what it returns, plain data,
    is the reply. Raises ``ConfigError`` where the name is not an identifier or is taken, or where the function
    cannot be called by keyword.
    """
    if function is not None:
        return _register(function, name)
    return lambda decorated: _register(decorated, name)


def _register(function: F, name: str | None) -> F:
    if not callable(function) or isinstance(function, type | staticmethod | classmethod):
        raise ConfigError(f"@control_command: {function!r} is not a function")
    chosen = name if name is not None else getattr(function, "__name__", "")
    if not isinstance(chosen, str) or not chosen.isidentifier():
        raise ConfigError(
            f"@control_command: {chosen!r} is not a name for a control command; "
            "give it one of letters, digits and _ with @control_command(name=…)"
        )
    if chosen in BUILT_IN:
        raise ConfigError(f"@control_command: every node has a command {chosen!r}; give this one another name")
    if getattr(getattr(function, "__code__", None), "co_posonlyargcount", 0):
        raise ConfigError(f"@control_command: {chosen} has positional-only parameters, but is called by keyword")
    _enter(function, chosen)
    return function


def _enter(function: Callable[..., Any], name: str) -> None:
    """Enter a function in its module's table; the same one defined again replaces itself."""
    table = _tables.setdefault(function.__module__, {})
    known = table.get(name)
    qualname = getattr(function, "__qualname__", "")
    if known is not None and getattr(known, "__qualname__", "") != qualname:
        raise ConfigError(
            f"two control commands of module {function.__module__} are named {name!r}; "
            "give one another name with @control_command(name=…)"
        )
    table[name] = function


def commands_of(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the names and functions of a module's commands: its own, its submodules', and those it imported."""
    below = module.__name__ + "."
    imported = {id(value) for value in vars(module).values()}
    for home, table in list(_tables.items()):
        for name, function in table.items():
            if home == module.__name__ or home.startswith(below) or id(function) in imported:
                yield name, function
