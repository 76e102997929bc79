"""What ``@task`` makes: a function that can also be run on the mesh."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from meshq.errors import ConfigError
from meshq.tasks.names import name_of_function
from meshq.tasks.options import TaskOptions
from meshq.tasks.port import AsyncResultLike, Call, FutureLike, submitter

if TYPE_CHECKING:
    import uuid
    from typing import Self, Unpack

    from meshq.tasks.options import ApplyOptionTypes, CallOptionTypes

P = ParamSpec("P")
R = TypeVar("R")

_CO_COROUTINE = 0x80  # inspect.CO_COROUTINE; importing inspect would slow each worker's start


class TaskFunction(Generic[P, R]):
    """A function that can be called here, as ever, or run on the mesh.

    ``function`` is what was decorated, ``name`` what nodes know it by, ``settings`` its ``TaskOptions``. With
    ``bind=True`` the function gets this object as its first argument.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[..., Any], name: str, settings: TaskOptions) -> None:
        update_wrapper(self, function, updated=())
        self.function = function
        self.name = name
        self.settings = settings
        self.call_settings = settings.for_calls()
        """What a call of it has to know of its settings: ``PLAIN`` itself where that is nothing."""
        self._original: TaskFunction[P, R] | None = None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here; no mesh is involved."""
        if self.settings.bind:
            return cast(R, self.function(self, *args, **kwargs))
        return cast(R, self.function(*args, **kwargs))

    @property
    def is_async(self) -> bool:
        """Whether the function was defined with ``async def``."""
        return is_async_function(self.function)

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> FutureLike[R]:
        """Run on the default mesh; this process owns the task. Returns a ``Future``."""
        future: FutureLike[R] = submitter().submit(self._call(args, kwargs))
        return future

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncResultLike[R]:
        """Run on the default mesh, detached: the task outlives this process. Returns an ``AsyncResult``."""
        result: AsyncResultLike[R] = submitter().delay(self._call(args, kwargs))
        return result

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | timedelta | datetime | None = None,
        task_id: str | uuid.UUID | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[ApplyOptionTypes],
    ) -> AsyncResultLike[R]:
        """Run on the default mesh, detached, with options for this call; arguments come as two collections.

        ``countdown`` and ``eta`` exclude each other; ``expires`` is seconds, a duration or an instant.
        Instants without a time zone are local time; one that is past means at once. Raises ``ConfigError``.
        """
        if eta is not None and countdown is not None:
            raise ConfigError("apply_async: give countdown or eta, not both")
        if eta is not None and not isinstance(eta, datetime):
            raise ConfigError(f"apply_async: eta must be a datetime (got {eta!r}); countdown takes seconds")
        if not isinstance(args, list | tuple):
            raise ConfigError(f"apply_async: args must be a tuple or list of arguments (got {args!r})")
        if kwargs and not (isinstance(kwargs, Mapping) and all(isinstance(name, str) for name in kwargs)):
            raise ConfigError(f"apply_async: kwargs must be a dict of arguments by name (got {kwargs!r})")
        delay_s = _duration(eta) if eta is not None else countdown
        changes = {
            "countdown": delay_s, "expires": _duration(expires), "task_id": task_id,
            "idempotency_key": idempotency_key, **options,
        }  # fmt: skip
        changed = self._with({key: value for key, value in changes.items() if value is not None})
        result: AsyncResultLike[R] = submitter().delay(changed._call(tuple(args), dict(kwargs or {})))
        return result

    def options(self, **changes: Unpack[CallOptionTypes]) -> Self:
        """Return a copy with other options, to be used like this one. Raises ``ConfigError``."""
        return self._with(changes)

    def _with(self, changes: Mapping[str, Any]) -> Self:
        for key in ("name", "bind"):
            if key in changes:
                raise ConfigError(f"task option {key} is fixed by @task and cannot change for one call")
        declared = (self._original or self).settings
        return _copy(self, self.settings.changed(changes).compared_to(declared, changes))

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call(self.name, self, args, kwargs, self.settings)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by reference, as functions are; a copy made by ``options`` adds its options."""
        if self._original is None:
            return self.__qualname__
        return _copy, (self._original, tuple(self.settings))

    def __repr__(self) -> str:
        return f"<task {self.name}>"


T = TypeVar("T", bound=TaskFunction[..., Any])


class AsyncTaskFunction(TaskFunction[P, R]):
    """A task function made of an ``async def``: a local call returns a coroutine, the mesh its result."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """Call the function here; await what it returns."""
        return cast("Coroutine[Any, Any, R]", super().__call__(*args, **kwargs))


def _copy(original: T, settings: Sequence[Any]) -> T:
    """Make the task function that ``options`` returns."""
    copy = type(original)(original.function, original.name, TaskOptions(*settings))
    copy._original = original._original or original
    return copy


def _duration(value: float | timedelta | datetime | None) -> float | None:
    """Return ``eta`` or ``expires`` in seconds from now, 0 for an instant that is past."""
    if isinstance(value, datetime):
        try:
            # Without a zone it is local time, whose offset is that of its own day, which need not be today's.
            value = max(value.astimezone() - datetime.now(UTC), timedelta())
        except (OverflowError, OSError, ValueError):
            raise ConfigError(f"apply_async: {value} is no instant that can be waited for") from None
    return value.total_seconds() if isinstance(value, timedelta) else value


def function_name(function: Callable[..., Any]) -> str:
    """Return the name under which nodes know a function, decorated or not; raises ``EncodingError``."""
    return function.name if isinstance(function, TaskFunction) else name_of_function(function)


def is_async_function(function: object) -> bool:
    """Say whether ``function`` was defined with ``async def``."""
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & _CO_COROUTINE)
