"""The future on its own: settled by one thread while others look at it in every way they can."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from client_harness import DONE, Handler, make_future

from meshq.client import future as future_module
from meshq.client.fanning import Fan
from meshq.client.future import Future, settle_all
from meshq.core.owned import TaskState
from meshq.errors import MeshClosed, MeshqError


def make(handler: Handler | None = None) -> Future[int]:
    """Return the future of a msgpack task."""
    return make_future(handler or Handler())


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_as_completed_names_each_future_once() -> None:
    """However settling and looking fall together, none is missed and none comes twice."""
    for _ in range(20):
        futures = [make() for _ in range(1_000)]
        settler = threading.Thread(target=lambda futures=futures: [future.settle(DONE) for future in futures])
        settler.start()
        seen = list(concurrent.futures.as_completed(futures, timeout=10.0))
        settler.join()
        assert len(seen) == len(set(seen)) == len(futures)


@pytest.mark.usefixtures("hasty")
def test_each_callback_is_called_once() -> None:
    """Whether it is added before or after the future is settled."""
    for _ in range(20):
        futures = [make() for _ in range(500)]
        called: list[Future[int]] = []
        settler = threading.Thread(target=lambda futures=futures: [future.settle(DONE) for future in futures])
        settler.start()
        for future in futures:
            future.add_done_callback(called.append)  # type: ignore[arg-type]
        settler.join()
        assert sorted(map(id, called)) == sorted(map(id, futures))


@pytest.mark.usefixtures("hasty")
def test_whoever_waits_is_woken() -> None:
    """A result that comes just as somebody begins to wait for it is not missed."""
    for _ in range(300):
        future = make()
        settler = threading.Thread(target=future.settle, args=(DONE,))
        settler.start()
        assert future.result(10.0) == 42
        settler.join()


def test_ends_of_each_kind() -> None:
    """A value, an exception and a withdrawal are told apart as the standard future does."""
    value, failed, cancelled = make(), make(), make()
    value.settle(DONE)
    failed.settle_failed(KeyError("x"))
    cancelled.settle_cancelled()
    assert (value.result(), value.exception(), value.cancelled()) == (42, None, False)
    assert isinstance(failed.exception(), KeyError)
    with pytest.raises(KeyError):
        failed.result()
    with pytest.raises(concurrent.futures.CancelledError):
        cancelled.result()
    assert cancelled.cancelled()
    assert cancelled.cancel()
    assert not value.cancel()
    done, _ = concurrent.futures.wait([value, failed, cancelled], timeout=0)
    assert len(done) == 3


def test_who_is_called_in_the_midst_may_look_at_a_future() -> None:
    """As what the garbage collector finds may, such as the ``map`` that nobody asks any more for its results."""
    futures = [make() for _ in range(3)]
    seen = []

    class Interrupted(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            for each in super().__iter__():
                seen.append([future.done() for future in futures[:2]])
                yield each

    settle_all(Interrupted((future, DONE) for future in futures))
    assert seen == [[False, False], [False, False], [False, False]]
    assert all(future.done() for future in futures)


def test_all_are_settled_whatever_a_callback_raises() -> None:
    """What ends a thread is raised in the end; nobody else would settle the others."""
    futures = [make() for _ in range(3)]
    for future in futures:
        future.add_done_callback(lambda _: sys.exit(3))
    with pytest.raises(SystemExit):
        settle_all([(future, DONE) for future in futures])
    assert all(future.done() for future in futures)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_a_thread_that_it_has_not_got() -> None:
    """Futures are settled by another thread of the parent just when it forks."""
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with future_module._making:
            held.set()
            over.wait(10.0)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads: it is what is tested
        pid = os.fork()
    if not pid:
        os._exit(0 if future_module._making.acquire(timeout=5.0) else 1)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_waiting_where_it_would_never_end_is_refused() -> None:
    """In a callback, and in a process forked from the mesh's own; what is there already can be read."""
    handler = Handler()
    future = make(handler)
    handler.turns_here = True
    with pytest.raises(MeshqError, match="callback"):
        future.result()
    handler.turns_here, handler.forked = False, True
    with pytest.raises(MeshClosed):
        future.result()
    future.settle(DONE)
    assert future.result() == 42


def test_it_says_what_it_is() -> None:
    """The task's id, and what has become of it; as the standard future does."""
    done, failed, cancelled, running = make(), make(), make(), make()
    assert repr(done) == f"<Future {done.task_id} pending>"
    done.settle(DONE)
    assert repr(done) == f"<Future {done.task_id} finished>"
    failed.settle_failed(KeyError("k"))
    assert repr(failed) == f"<Future {failed.task_id} finished raised KeyError>"
    cancelled.settle_cancelled()
    assert repr(cancelled) == f"<Future {cancelled.task_id} cancelled>"
    running.state = TaskState.STARTED
    assert repr(running) == f"<Future {running.task_id} running>"
    assert repr(Fan([done], Handler())).startswith("<Future ")
