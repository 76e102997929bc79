"""Load the modules that a node offers, and list their functions. Runs in each worker, so it must be quick."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from meshq.errors import ConfigError
from meshq.tasks.commands import commands_of
from meshq.tasks.function import TaskFunction, is_async_function
from meshq.tasks.names import SHIPPED, is_name
from meshq.tasks.registry import registered_below
from meshq.tasks.shipping import refuse_name, shipped
from meshq.tasks.source import source_hash

TRACEBACK_LINES = 12


class Function(NamedTuple):
    """A function as a node offers it. ``call`` takes the caller's arguments and nothing else."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    """Whether it returns a coroutine; ``meshq.shipped``, which has this too, may return one."""
    source_hash: str
    """8 hexadecimal digits, or "" where there is no source."""
    options: dict[str, Any]
    """What differs from the default options, in types that msgpack has."""


def load_functions(
    modules: Sequence[str], allow: Sequence[str] = (), pickles: bool = False
) -> dict[str, Function]:
    """Import ``modules`` and return their task functions, and the callables that ``allow`` matches, by name.

    A module offers the task functions that it and its submodules made, and those that it imported. An
    ``allow`` is ``MODULE`` or ``MODULE:GLOB``. Without a glob, or with one that has wildcards, it stands for
    public functions of the module's own (``__all__`` where there is one), not for what it imported
    from elsewhere; a plain name stands for whatever bears it, classes included. Each is offered as
    ``operator.add``, and found by what it calls itself, ``_operator.add``, too: an *alias*, whose ``Function`` has
    the other name. With ``pickles`` there is ``meshq.shipped`` too. Raises ``ConfigError``.
    """
    functions: dict[str, Function] = {}
    for name in modules:
        for task_function in _tasks_of(_import(name)):
            _add(functions, task_function.name, task_function)
    claimed: dict[str, str] = {}
    for pattern in allow:
        for name, found in _allowed(pattern):
            _add(functions, name, found)
            claimed.setdefault(_claimed_name(found) or name, name)
    for alias, name in claimed.items():
        if alias not in functions:
            refuse_name(alias)
            functions[alias] = functions[name]
    if pickles:
        functions[SHIPPED] = Function(SHIPPED, shipped.function, True, "", {})
    return functions


def load_commands(modules: Sequence[str]) -> dict[str, Function]:
    """Import ``modules`` and return their control commands by name. Raises ``ConfigError``."""
    commands: dict[str, Function] = {}
    for module in modules:
        for name, function in commands_of(_import(module)):
            made = Function(name, function, is_async_function(function), "", {})
            if commands.setdefault(name, made).call is not function:
                raise ConfigError(
                    f"two control commands are named {name!r}: {commands[name].call!r} and {function!r}; "
                    "give one another name with @control_command(name=…)"
                )
    return commands


def _import(name: str) -> ModuleType:
    try:
        __import__(name)
        return sys.modules[name]
    except (Exception, SystemExit) as error:
        raise ConfigError(f"module {name!r} cannot be loaded: {_why(name, error)}") from error


def _why(name: str, error: BaseException) -> str:
    if name.endswith(".py"):
        return f"give the module's name, {name[:-3].replace('/', '.').lstrip('.')!r}, not its file"
    missing = isinstance(error, ModuleNotFoundError) and error.name
    if missing and (name == missing or name.startswith(f"{missing}.")):
        return "there is none of that name; is its file in the current directory, or is it installed here?"
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return "it raised an error:\n" + "\n".join(lines[-TRACEBACK_LINES:])


def _tasks_of(module: ModuleType) -> Iterator[TaskFunction[..., Any]]:
    yield from registered_below(module.__name__)
    for value in vars(module).values():
        if isinstance(value, TaskFunction) and value.name != SHIPPED:  # which a module may import to submit it
            yield value


def _allowed(pattern: str) -> list[tuple[str, Any]]:
    """Return the names and callables that a pattern allows; none is an error, as it was surely meant to."""
    module_name, _, glob = pattern.partition(":")
    module = _import(module_name)
    found = [
        (f"{module_name}.{name}", value)
        for name, value in vars(module).items()
        if callable(value)
        and fnmatchcase(name, glob or "*")
        and (name == glob or _is_public(module, name, value, glob))
    ]
    if not found:
        raise ConfigError(f"allow {pattern!r} matches no function of module {module_name!r}")
    return found


def _is_public(module: ModuleType, name: str, value: Any, glob: str) -> bool:
    """Say whether a pattern with wildcards means this name: no class, nothing imported from elsewhere."""
    if isinstance(value, type) or (name.startswith("_") and not glob.startswith("_")):
        return False
    if hasattr(module, "__all__"):
        return name in module.__all__ or name.startswith("_")
    # Its own are also a package's parts, and what comes from the C twin of a module (_operator).
    home, own = str(getattr(value, "__module__", "")), module.__name__
    return home in (own, f"_{own}") or home.startswith(f"{own}.")


def _claimed_name(found: Any) -> str:
    """Return what a callable calls itself, or "" if that could not be looked up (objects, lambdas, nested)."""
    name = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    return name if is_name(name) and name[0] != "." != name[-1] else ""


def _add(functions: dict[str, Function], name: str, found: Any) -> None:
    """Enter a function; the same one may come twice, but a name stands for one function."""
    refuse_name(found.name if isinstance(found, TaskFunction) else name)
    made = _describe(name, found)
    known = functions.setdefault(name, made)
    if known is not made and _innermost(known.call) is not _innermost(made.call):
        raise ConfigError(
            f"two functions are named {name!r}: {known.call!r} and {made.call!r}; rename one of them"
        )


def _describe(name: str, found: Any) -> Function:
    if not isinstance(found, TaskFunction):
        return Function(name, found, is_async_function(found), source_hash(found), {})
    call = partial(found.function, found) if found.settings.bind else found.function
    return Function(name, call, found.is_async, source_hash(found.function), found.settings.to_wire())


def _innermost(call: Any) -> Any:
    return call.func if isinstance(call, partial) else call
