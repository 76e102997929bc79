"""Tasks that fail and are tried again, on real nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flaky
import pytest
from mesh_harness import Stage, wait_until

from meshq import AsyncResult, Mesh, RemoteError, Retry, TaskRevoked


@pytest.fixture(scope="module")
def shaky(make_stage: Callable[..., Stage]) -> Stage:
    """A mesh of one node that offers the tasks of ``flaky``."""
    made = make_stage()
    made.start("flaky", "work", slots=2)
    return made


@pytest.fixture
def mesh(shaky: Stage) -> Iterator[Mesh]:
    """A client of it."""
    made = shaky.client()
    yield made
    made.close(cancel=True)


def starts(path: Path) -> list[str]:
    """Return where a task has started, each time."""
    return path.read_text().split()


def test_a_task_that_works_the_third_time(mesh: Mesh, tmp_path: Path) -> None:
    """Its caller gets the value, and never hears of the two failures."""
    path = tmp_path / "starts"
    assert mesh.submit(flaky.connect, str(path), 2).result(20) == "a"
    assert starts(path) == ["a"] * 3


def test_a_task_that_fails_too_often(mesh: Mesh, tmp_path: Path) -> None:
    """Ends with its last failure, after the retries that it may have; a call may have its own number of them."""
    path = tmp_path / "starts"
    with pytest.raises(ConnectionError, match="no line"):
        mesh.submit(flaky.connect, str(path), 9).result(20)
    assert len(starts(path)) == 4
    with pytest.raises(ConnectionError):
        mesh.submit(flaky.connect.options(max_retries=0), str(path), 9).result(20)
    assert len(starts(path)) == 5
    with pytest.raises(ConnectionError):
        mesh.submit(flaky.connect.options(retry_for=ValueError), str(path), 9).result(20)
    assert len(starts(path)) == 6


def test_a_task_asks_itself(mesh: Mesh, tmp_path: Path) -> None:
    """It names the pause, in which it is in the state RETRY."""
    path = tmp_path / "starts"
    begun = time.monotonic()
    future = mesh.submit(flaky.later, str(path), 0.6)
    wait_until(lambda: future.state == "RETRY")
    assert not future.done()
    assert future.result(20) == 2
    assert time.monotonic() - begun >= 0.6


def test_what_a_retry_was_raised_from(mesh: Mesh, tmp_path: Path) -> None:
    """Is what the task fails with in the end; a plain Retry stands for itself."""
    path = tmp_path / "starts"
    with pytest.raises(KeyError, match="reason"):
        mesh.submit(flaky.never, str(path)).result(20)
    assert len(starts(path)) == 2
    with pytest.raises(Retry, match="not yet") as caught:
        mesh.submit(flaky.later.options(max_retries=0), str(tmp_path / "others"), 0.5).result(20)
    assert caught.value.delay == 0.5


def test_a_detached_task_is_tried_again_by_its_node(mesh: Mesh, shaky: Stage, tmp_path: Path) -> None:
    """Whoever asks sees RETRY meanwhile, and ``inspect`` why it waits."""
    result = mesh.delay(flaky.later, str(tmp_path / "starts"), 3.0)
    wait_until(lambda: result.state == "RETRY")
    other = shaky.client()
    assert AsyncResult(result.id, other).state == "RETRY"
    [rows] = other.control.inspect(timeout=2).scheduled().values()
    assert [(row["id"], row["reason"]) for row in rows] == [(result.id, "retry")]
    assert 0 < rows[0]["eta_s"] <= 3
    assert result.get(timeout=20) == 2


def test_a_revoke_ends_a_task_that_waits_for_its_next_try(mesh: Mesh, tmp_path: Path) -> None:
    """As if it waited for a node."""
    future = mesh.submit(flaky.later, str(tmp_path / "starts"), 60.0)
    wait_until(lambda: future.state == "RETRY")
    future.revoke()
    with pytest.raises(TaskRevoked):
        future.result(10)


def test_items_of_a_chunk_fail_on_their_own(mesh: Mesh, tmp_path: Path) -> None:
    """Without a chunk each is a task, and is tried again."""
    path = str(tmp_path / "starts")
    [first, *_] = mesh.map(flaky.connect, [path] * 2, [1, 1], chunksize=2, return_exceptions=True)
    assert isinstance(first, ConnectionError | RemoteError)
    assert list(mesh.map(flaky.connect, [str(tmp_path / "others")], [2])) == ["a"]


def test_retries_go_on_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """The node that a task has failed on dies during the pause: the next try is another node's."""
    first = stage.start("flaky")
    mesh = stage.client()
    path = tmp_path / "starts"
    future: Any = mesh.submit(flaky.later, str(path), 1.0)
    wait_until(lambda: future.state == "RETRY")
    stage.start("flaky")
    mesh.wait_for_nodes(2)
    first.kill()
    assert future.result(20) == 2
    assert starts(path) == ["a", "b"]


def test_a_task_knows_itself(mesh: Mesh, shaky: Stage, tmp_path: Path) -> None:
    """Which attempt it is, how often it has failed, where it runs, and how long it still may."""
    future = mesh.submit(flaky.me, str(tmp_path / "starts"))
    *said, remaining = future.result(20)
    assert said == [future.task_id, "flaky.me", 2, 1, shaky.nodes[0].name]
    assert 25 < remaining <= 30
