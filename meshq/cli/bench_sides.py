"""Who is timed by ``meshq bench``: the mesh, and the pools of the standard library, by the same few verbs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from meshq import bench
from meshq.workers.child import die_with

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh

MESHQ, EXECUTOR, POOL = "meshq", "ProcessPoolExecutor", "multiprocessing.Pool"

Function = Callable[..., Any]


class Side(NamedTuple):
    """One of those that are timed. ``function`` makes one of ``meshq.bench`` what ``submit`` and ``map`` take."""

    name: str
    workers: int
    function: Callable[[Function], Function]
    submit: Callable[..., Any]
    """Called with a function and its arguments; returns what ``read`` takes."""
    read: Callable[[Any], Any]
    map: Callable[[Function, Iterable[Any]], Iterable[Any]]
    one_in: int = 1
    """It is given one in so many of the items of a ``map``: with all it would take minutes."""
    mesh: Mesh | None = None
    flags: dict[str, Any] | None = None
    """What a ``Mesh`` takes to join the same mesh from another process."""


def mesh_side(mesh: Mesh, workers: int, flags: dict[str, Any]) -> Side:
    """Return a mesh with so many slots as a side."""
    from meshq.client.future import Future as TaskFuture

    return Side(MESHQ, workers, bench.task_of, mesh.submit, TaskFuture.result, mesh.map, mesh=mesh, flags=flags)


@contextlib.contextmanager
def pools(workers: int) -> Iterator[list[Side]]:
    """Start both pools with so many processes each, as a user would by default, and end them with the block.

    To be entered before there are threads here, which a fork would not copy.
    """
    with contextlib.ExitStack() as stack, warnings.catch_warnings():
        # The second of the two is forked beside the threads of the first, whose locks it never touches.
        warnings.simplefilter("ignore", DeprecationWarning)
        pool = stack.enter_context(pool_side(workers))
        yield [stack.enter_context(executor_side(workers)), pool]


@contextlib.contextmanager
def executor_side(workers: int) -> Iterator[Side]:
    """Start a ``ProcessPoolExecutor``, and end it with the block."""
    executor = ProcessPoolExecutor(workers, initializer=_begin, initargs=(_parent(),))
    try:
        # Its map sends each item on its own.
        side = Side(EXECUTOR, workers, _plain, executor.submit, Future.result, executor.map, one_in=20)
        yield _started(side)
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def pool_side(workers: int) -> Iterator[Side]:
    """Start a ``multiprocessing.Pool``, and end it with the block."""
    pool = multiprocessing.Pool(workers, _begin, (_parent(),))

    def submit(function: Function, *args: Any) -> Any:
        return pool.apply_async(function, args)

    try:
        yield _started(Side(POOL, workers, _plain, submit, lambda handle: handle.get(), pool.map))
    finally:
        pool.terminate()
        pool.join()


POOLS: Mapping[str, Callable[[int], contextlib.AbstractContextManager[Side]]] = {
    EXECUTOR: executor_side,
    POOL: pool_side,
}
"""What starts each of the pools, by name."""


def _started(side: Side) -> Side:
    side.read(side.submit(bench.noop))
    return side


def _plain(function: Function) -> Function:
    return function


def _parent() -> int:
    """Return the pid of who starts a pool's processes; 0 where that is a server, which ends by itself."""
    return 0 if multiprocessing.get_start_method() == "forkserver" else os.getpid()


def _begin(parent: int) -> None:
    """Begin a pool's process: Ctrl-C is for who started it, which ends it by SIGTERM, or dies itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if parent:
        die_with(parent)
