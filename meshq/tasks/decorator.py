"""``@task``: the decorator and its types."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from meshq.errors import ConfigError
from meshq.tasks.function import AsyncTaskFunction, TaskFunction, function_name, is_async_function
from meshq.tasks.options import TaskOptions, options_of_function
from meshq.tasks.registry import register
from meshq.tasks.shipping import refuse_name

if TYPE_CHECKING:
    from typing import Unpack

    from meshq.tasks.options import FunctionOptionTypes

P = ParamSpec("P")
R = TypeVar("R")


class _Decorator(Protocol):
    """``@task(…)``."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


class _BindDecorator(Protocol):
    """``@task(bind=True, …)``: the first parameter is not the caller's to give."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> TaskFunction[P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    *, bind: Literal[True], name: str | None = None, **options: Unpack[FunctionOptionTypes]
) -> _BindDecorator: ...
@overload
def task(
    *, bind: Literal[False] = False, name: str | None = None, **options: Unpack[FunctionOptionTypes]
) -> _Decorator: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task function: ``@task`` or ``@task(time_limit=60, …)``.

    Options are checked here (``ConfigError``), and so is that nodes can find the function by its name
    (``EncodingError``). An explicit ``name=`` is for functions that nodes register themselves: nested ones
    and lambdas in a module that they load, or a function at the prompt that stands for one there.
    """
    settings = options_of_function(options)
    return _make(function, settings) if function is not None else lambda decorated: _make(decorated, settings)


def _make(function: Callable[..., Any], settings: TaskOptions) -> TaskFunction[..., Any]:
    _refuse_method(function)
    name = settings.name or function_name(function)
    refuse_name(name)
    kind = AsyncTaskFunction if is_async_function(function) else TaskFunction
    made: TaskFunction[..., Any] = kind(function, name, settings)
    register(made)
    return made


def _refuse_method(function: object) -> None:
    """Raise ``ConfigError`` for a class and its methods: there is no instance on the other side."""
    qualname = getattr(function, "__qualname__", "")
    what = ""
    if isinstance(function, TaskFunction):
        what = "is a task already"
    elif isinstance(function, type | staticmethod | classmethod):
        what = "is a class, or belongs to one"
    elif not callable(function) or not isinstance(qualname, str) or not qualname:
        what = "is not a function with a name of its own"
    elif "." in qualname.rpartition("<locals>.")[2]:
        what = "belongs to a class"
    if what:
        raise ConfigError(
            f"@task: {qualname or function!r} {what}; decorate a function at the top level of a module"
        )
