"""The submitter port: how a task function reaches a mesh without knowing one.

The client fills it with ``set_submitter_factory``; what the factory returns takes the calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from meshq.errors import ConfigError
from meshq.tasks.options import TaskOptions

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Call(NamedTuple):
    """One call of a task function, ready to be submitted."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: TaskOptions


class Submitter(Protocol):
    """Takes calls: the default mesh."""

    def submit(self, call: Call) -> Any:
        """Return a ``Future``; the task belongs to this process."""

    def delay(self, call: Call) -> Any:
        """Return an ``AsyncResult``; the task is detached, and outlives this process."""


SubmitterFactory = Callable[[], Submitter]


class FutureLike(Future[R]):
    """What ``submit`` returns: a ``concurrent.futures.Future`` that knows its task."""

    task_id: str
    if TYPE_CHECKING:  # the client has the code

        def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any: ...


class AsyncResultLike(Protocol[R_co]):
    """What ``delay`` and ``apply_async`` return; ``meshq.AsyncResult`` is one."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def result(self) -> R_co | BaseException | None: ...
    @property
    def traceback(self) -> str | None: ...
    def get(self, timeout: float | None = None, propagate: bool = True) -> R_co: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def failed(self) -> bool: ...
    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any: ...
    def forget(self) -> None: ...


_factory: SubmitterFactory | str | None = None


def set_submitter_factory(factory: SubmitterFactory | str | None) -> SubmitterFactory | str | None:
    """Say who takes calls; return what was set before.

    A text ``"package.module:name"`` is imported at the first call, so that it costs nothing until then. The
    factory is asked at each call: it keeps what it opens, and decides when that is no longer fit for use.
    """
    global _factory
    previous, _factory = _factory, factory
    return previous


def submitter() -> Submitter:
    """Return who takes calls now; raises ``ConfigError`` if nobody does."""
    global _factory
    if isinstance(_factory, str):
        _factory = _imported(_factory)
    if _factory is None:
        raise ConfigError("no mesh takes calls here: use Mesh().submit(function, …)")
    return _factory()


def _imported(path: str) -> SubmitterFactory:
    module, _, name = path.partition(":")
    __import__(module)
    factory: SubmitterFactory = getattr(sys.modules[module], name)
    return factory
