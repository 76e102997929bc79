"""The futures of tasks: ``concurrent.futures`` as ever, with cancel and revoke on top."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import work
from mesh_harness import Stage, wait_until

from meshq import Future, Mesh, MeshClosed, MeshqError, TaskRevoked


@pytest.fixture
def narrow(make_narrow: Stage) -> Iterator[Mesh]:
    """A client of a mesh with a single slot."""
    mesh = make_narrow.client()
    yield mesh
    mesh.close(cancel=True)


@pytest.fixture(scope="module")
def make_narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh with a single slot."""
    stage = Stage(tmp_path_factory.mktemp("narrow"))
    stage.start(slots=1)
    yield stage
    stage.close()


def test_it_is_a_future_of_the_standard_library(mesh: Mesh) -> None:
    """``wait`` and ``as_completed`` take it, and its life goes as theirs does."""
    futures = [mesh.submit(work.nap, 0.05, n) for n in range(6)]
    assert all(isinstance(future, concurrent.futures.Future) for future in futures)
    done, pending = concurrent.futures.wait(futures, timeout=10)
    assert not pending
    assert all(future.done() and not future.running() and not future.cancelled() for future in done)
    again: list[concurrent.futures.Future[int]] = [mesh.submit(work.nap, 0.01, n) for n in range(6)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(again, timeout=10)) == list(range(6))


def test_wait_returns_at_the_first_exception(mesh: Mesh) -> None:
    """``wait(…, FIRST_EXCEPTION)`` sees a task fail while another runs."""
    slow, bad = mesh.submit(work.nap, 1.0), mesh.submit(work.fail, "at once")
    done, pending = concurrent.futures.wait([slow, bad], 10, concurrent.futures.FIRST_EXCEPTION)
    assert (done, pending) == ({bad}, {slow})
    assert isinstance(bad.exception(), ValueError)


def test_callbacks_are_called_once(mesh: Mesh) -> None:
    """A callback is called when the task ends, or at once where it has; an error in one harms nobody."""
    seen: list[object] = []
    future = mesh.submit(work.nap, 0.2, "value")
    future.add_done_callback(lambda done: seen.append(done.result()))
    assert future.result(timeout=10) == "value"
    wait_until(lambda: seen)
    future.add_done_callback(lambda done: seen.append(done))
    assert seen == ["value", future]


def test_a_callback_may_submit_but_not_wait(mesh: Mesh) -> None:
    """In a callback, ``submit`` works; waiting for an unfinished future there is an error, not a deadlock."""
    outcome: list[object] = []
    over = threading.Event()

    def end(done: concurrent.futures.Future[int]) -> None:
        outcome.append(done.result())
        over.set()

    def chain(done: concurrent.futures.Future[int]) -> None:
        following = mesh.submit(work.add, done.result(), 1)
        try:
            following.result()
        except MeshqError as error:
            outcome.append(str(error))
        following.add_done_callback(end)

    mesh.submit(work.nap, 0.1, 40).add_done_callback(chain)
    assert over.wait(10)
    assert "callback" in str(outcome[0])
    assert outcome[1] == 41


def test_result_times_out_and_can_be_asked_again(mesh: Mesh) -> None:
    """``result(timeout)`` raises ``TimeoutError``; the task goes on."""
    future = mesh.submit(work.nap, 0.5, "late")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    assert time.monotonic() - begin < 0.4
    assert future.result(timeout=10) == "late"


def test_asyncio_can_await_it(mesh: Mesh) -> None:
    """``asyncio.wrap_future`` makes it awaitable; many are awaited together."""

    async def main() -> list[int]:
        futures = [mesh.submit(work.add, n, 1) for n in range(20)]
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    assert asyncio.run(main()) == list(range(1, 21))


def test_a_task_that_no_node_has_is_cancelled_at_once(stage: Stage) -> None:
    """Before any node is there, ``cancel`` is True and the future is cancelled."""
    future = stage.client().submit(work.add, 1, 1)
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(timeout=1)


def test_a_queued_task_is_cancelled_and_never_runs(narrow: Mesh, tmp_path: Path) -> None:
    """``cancel`` of what waits at the node is True, and the function is not called."""
    running = narrow.submit(work.nap, 1.0)
    wait_until(running.running)
    queued = [narrow.submit(work.note, str(tmp_path / "ran")) for _ in range(20)]
    assert [future.cancel() for future in queued] == [True] * 20
    assert all(future.cancelled() for future in queued)
    assert running.result(timeout=10) is None
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert not (tmp_path / "ran").exists()


def test_a_running_task_is_not_cancelled(narrow: Mesh) -> None:
    """``cancel`` of what runs is False, and the result comes."""
    future = narrow.submit(work.nap, 0.6, "value")
    wait_until(future.running)
    assert future.cancel() is False
    assert future.result(timeout=10) == "value"
    assert future.cancel() is False


def test_cancel_is_true_to_its_word_for_tasks_just_starting(narrow: Mesh, tmp_path: Path) -> None:
    """Whatever the moment, a task ran if and only if ``cancel`` said False."""
    for number in range(40):
        path = tmp_path / str(number)
        future = narrow.submit(work.note, str(path))
        time.sleep(0.0002 * (number % 10))
        if future.cancel():
            assert future.cancelled()
        else:
            assert isinstance(future.result(timeout=10), int)
        narrow.submit(work.nothing).result(timeout=10)
        assert path.exists() != future.cancelled()


def test_revoke_withdraws_a_queued_task(narrow: Mesh, tmp_path: Path) -> None:
    """A revoked task that waits is dropped, and its future raises ``TaskRevoked``."""
    running = narrow.submit(work.nap, 0.8)
    wait_until(running.running)
    queued = narrow.submit(work.note, str(tmp_path / "ran"))
    queued.revoke()
    with pytest.raises(TaskRevoked):
        queued.result(timeout=5)
    assert running.result(timeout=10) is None
    assert not (tmp_path / "ran").exists()


def test_revoke_with_terminate_ends_a_running_task(narrow: Mesh) -> None:
    """The task's process is ended by the signal, the future raises ``TaskRevoked``, and the slot goes on."""
    future = narrow.submit(work.nap, 30.0)
    wait_until(future.running)
    begin = time.monotonic()
    (outcomes,) = (reply["ok"] for reply in future.revoke(terminate=True).by_node().values())
    assert outcomes == {future.task_id: "terminated"}
    with pytest.raises(TaskRevoked):
        future.result(timeout=5)
    assert time.monotonic() - begin < 5
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2


def test_revoke_without_terminate_lets_a_running_task_end(narrow: Mesh) -> None:
    """What runs is told to be running, and its result comes."""
    future = narrow.submit(work.nap, 0.6, "value")
    wait_until(future.running)
    (outcomes,) = (reply["ok"] for reply in future.revoke().by_node().values())
    assert outcomes == {future.task_id: "running"}
    assert future.result(timeout=10) == "value"


def test_a_task_that_another_program_revokes_ends_at_once(
    make_narrow: Stage, narrow: Mesh, tmp_path: Path
) -> None:
    """Whether it waits at the node or still here; the nodes tell its owner."""
    running = narrow.submit(work.nap, 1.5, "value")
    wait_until(running.running)
    waiting = [narrow.submit(work.note, str(tmp_path / "ran")) for _ in range(2000)]
    other = make_narrow.client()
    begin = time.monotonic()
    other.control.revoke([future.task_id for future in waiting], reply=True)
    for future in waiting:
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)
    assert time.monotonic() - begin < 1.4
    assert not running.done()
    assert running.result(timeout=10) == "value"
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert not (tmp_path / "ran").exists()
    other.close(cancel=True)


def test_a_task_that_waits_for_its_time_is_pending(narrow: Mesh) -> None:
    """It is at a node, but not in its queue."""
    future = narrow.submit(work.add.options(countdown=1.0), 1, 1)
    wait_until(lambda: future.accepted)
    assert future.state == "PENDING"
    assert narrow.submit(work.add, 2, 2).result(timeout=10) == 4
    assert future.state == "PENDING"
    assert future.result(timeout=10) == 2


def test_task_ids_may_be_given(mesh: Mesh) -> None:
    """A task may be given its id, once: a second one of the id is refused while the first is unfinished."""
    uid = "0" * 31 + "1"
    future: Future[object] = mesh.submit(work.nap.options(task_id=uid), 0.4, "mine")
    assert future.task_id.replace("-", "") == uid
    with pytest.raises(ValueError, match="in use"):
        mesh.submit(work.nap.options(task_id=uid), 0.0)
    assert future.result(timeout=10) == "mine"


def test_a_callback_must_not_wait_for_the_mesh(mesh: Mesh) -> None:
    """It runs in the thread that would have to answer, so each such call is refused at once, and says why."""
    refused: list[str] = []
    called = threading.Event()

    def callback(_: object) -> None:
        for call in (mesh.close, mesh.wait_for_nodes, mesh.control.ping, mesh.submit(work.add, 1, 1).result):
            try:
                call()
            except MeshqError as error:
                refused.append(str(error))
        called.set()

    mesh.submit(work.add, 1, 1).add_done_callback(callback)
    assert called.wait(10.0)
    assert len(refused) == 4
    assert all("callback" in text for text in refused)
    assert mesh.submit(work.add, 2, 2).result(10) == 4


def test_closing_leaves_no_future_without_an_end(shared: Stage) -> None:
    """What other threads submit meanwhile, and detached tasks that go on at their node, end as closed here."""
    mesh = shared.client(nodes=1)
    result = mesh.delay(work.nap, 2.0)
    wait_until(lambda: result.status in ("QUEUED", "STARTED"))
    futures: list[Future[int]] = []

    def submit() -> None:
        try:
            while True:
                futures.append(mesh.submit(work.add, 1, 1))
        except MeshClosed:
            pass

    thread = threading.Thread(target=submit)
    thread.start()
    wait_until(lambda: len(futures) > 100)
    mesh.close(cancel=True)
    thread.join(10.0)
    assert not thread.is_alive()
    with pytest.raises(MeshClosed):
        result.get(timeout=5)
    _, open_ones = concurrent.futures.wait(futures, timeout=5)
    assert not open_ones
