"""Functions on the default mesh: what ``Mesh`` does, for programs that have no mesh of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from meshq.client.default import default_mesh
from meshq.client.result import AsyncResult

T = TypeVar("T")


def dmap(func: Callable[..., T] | str, args: Iterable[Sequence[Any]], timeout: float | None = None) -> list[T]:
    """Distribute the calls ``func(*arg)``, and return their values in order. See ``Mesh.dmap``."""
    return default_mesh().dmap(func, args, timeout)


def dmap_async(
    func: Callable[..., T] | str, args: Iterable[Sequence[Any]], timeout: float | None = None
) -> AsyncResult[list[T]]:
    """Distribute the calls ``func(*arg)``, and return the ``AsyncResult`` of all. See ``Mesh.dmap_async``."""
    return default_mesh().dmap_async(func, args, timeout)


def execute_remote(func: Callable[..., T] | str, /, *args: Any, **kwargs: Any) -> AsyncResult[T]:
    """Run an importable function or object on a node. See ``Mesh.execute_remote``."""
    return default_mesh().execute_remote(func, *args, **kwargs)


def is_done(task_id: str | uuid.UUID) -> bool:
    """Return whether the task is DONE, whichever process has submitted it. See ``Mesh.is_done``."""
    return default_mesh().is_done(task_id)


def discard_all(connect_timeout: float = 4.0) -> int:
    """Discard all waiting tasks; return how many there were. See ``Mesh.discard_all``."""
    return default_mesh().discard_all(connect_timeout)


def ping(timeout: float = 5.0) -> str:
    """Return "pong" if a node answers within ``timeout`` seconds, else raise ``NoNodes``. See ``Mesh.ping``."""
    return default_mesh().ping(timeout)
