"""The names of functions: ``module.qualname``, the only thing about a function that travels."""

from __future__ import annotations

import os.path
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from meshq.errors import ConfigError, EncodingError

MAX_NAME = 200
_NAME = re.compile(rf"[A-Za-z0-9_.]{{1,{MAX_NAME}}}", re.ASCII)
_MAIN = ("__main__", "__mp_main__")  # the second is what multiprocessing calls the first in its children
SHIPPED = "meshq.shipped"
"""The name of the task function that takes others as pickles; no other one may have it."""
_NOT_PICKLED = "meshq sends the names of functions, and does not pickle their code"
_WAYS_OUT = (
    "Define it with def at the top level of a module that the nodes load; or start nodes that take pickles "
    "(--allow-pickle) on a mesh with a key (meshq key new), and submit it undecorated"
)


class NamelessFunction(EncodingError):
    """The function has no name by which a node could find it."""


def is_name(name: object) -> bool:
    """Say whether ``name`` may stand for a function on the wire."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_function_name(name: object) -> str:
    """Return ``name`` if it may stand for a function on the wire, else raise ``ConfigError``."""
    if isinstance(name, str) and is_name(name):
        return name
    raise ConfigError(
        f"{name!r} cannot name a task: use 1 to {MAX_NAME} of the characters A-Z a-z 0-9 _ . "
        "as in photos.thumbnail; @task(name=…) can give one"
    )


def normalise_name(name: str) -> str:
    """Return ``module:name``, as people may type it, with dots only. Raises ``ConfigError``."""
    return check_function_name(name.replace(":", ".", 1) if isinstance(name, str) else name)


def name_of_function(function: Callable[..., Any]) -> str:
    """Return the name under which nodes know a function.

    Raises ``EncodingError`` (also a ``TypeError``) for what is no function, and ``NamelessFunction``, which is
    one, for what has no name that a node could find: lambdas, nested functions, partials, bound methods, other
    callable objects, and what was typed at a prompt.
    """
    module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    owner = getattr(function, "__self__", None)
    if not callable(function):
        raise EncodingError(f"{function!r} is not a function, so it cannot be a task")
    if owner is not None and not isinstance(owner, ModuleType):
        raise _nameless(function, "a bound method")
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise _nameless(function, f"a {type(function).__name__} object without a name of its own")
    if "<lambda>" in qualname:
        raise _nameless(function, "a lambda")
    if "<locals>" in qualname:
        raise _nameless(function, "defined inside another function")
    return check_function_name(f"{_public_module(module_name(module, function), qualname, function)}.{qualname}")


def module_name(module: str, function: object) -> str:
    """Return the name by which other processes can import ``module``, which may be the script run here."""
    if module not in _MAIN:
        return module
    main = sys.modules.get(module)
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name)
    if not file or file.startswith("<"):
        raise _nameless(function, "typed at a prompt or given with -c")
    return os.path.splitext(os.path.basename(str(file)))[0]


def _public_module(module: str, qualname: str, function: object) -> str:
    """Return the module of the standard library that shows what its C twin has made: operator for _operator."""
    public = module[1:]
    if not module.startswith("_") or public not in sys.stdlib_module_names:
        return module
    try:
        __import__(public)
    except ImportError:  # not every platform has every module
        return module
    found: object = sys.modules[public]
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return public if found is function else module


def _nameless(function: object, what: str) -> NamelessFunction:
    return NamelessFunction(f"{function!r} cannot be sent, as it is {what}: {_NOT_PICKLED}. {_WAYS_OUT}")
