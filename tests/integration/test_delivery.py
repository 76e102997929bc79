"""Delivery at most once, on real nodes and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import flaky
import pytest
import work
from mesh_harness import NodeProcess, Stage, wait_until

from meshq import AsyncResult, ConfigError, Mesh, TaskLost, WorkerLost

once = flaky.note.options(delivery="at-most-once")


def starts(path: Path) -> list[str]:
    """Return where a task has started, each time."""
    return path.read_text().split() if path.exists() else []


def start(stage: Stage) -> NodeProcess:
    """Start a node with one slot."""
    return stage.start("flaky", "work", slots=1)


def is_lost(future: Any) -> None:
    """Wait for a task's end, which must be that it may have run."""
    with pytest.raises(TaskLost, match="must not run twice") as caught:
        future.result(20)
    assert caught.value.maybe_executed
    assert future.state == "LOST"


def test_a_node_is_killed_under_it(stage: Stage, tmp_path: Path) -> None:
    """It is lost, though another node could run it, and so is what was queued behind it; other tasks go on."""
    first = start(stage)
    mesh = stage.client()
    paths = [tmp_path / str(number) for number in range(4)]
    futures: list[Any] = [mesh.submit(once, str(paths[0]), 60.0)]
    futures.append(mesh.submit(once, str(paths[1]), 0.0))
    other = mesh.submit(flaky.note, str(paths[2]), 0.0)
    wait_until(lambda: starts(paths[0]) and futures[1].state == "QUEUED")
    assert futures[0].state == "STARTED"
    start(stage)
    mesh.wait_for_nodes(2)
    first.kill()
    for future in futures:
        is_lost(future)
    assert other.result(20) == 1
    assert mesh.submit(once, str(paths[3]), 0.0).result(20) == 1
    assert [len(starts(path)) for path in paths] == [1, 0, 1, 1]


def test_a_worker_is_killed_under_it(stage: Stage, tmp_path: Path) -> None:
    """It is lost; what waited behind it never started, and runs on the next worker."""
    node = start(stage)
    mesh = stage.client()
    paths = [tmp_path / "first", tmp_path / "second"]
    first: Any = mesh.submit(once, str(paths[0]), 60.0)
    second = mesh.submit(once, str(paths[1]), 0.0)
    wait_until(lambda: starts(paths[0]))
    for pid in node.workers():
        os.kill(pid, signal.SIGKILL)
    is_lost(first)
    assert second.result(20) == 1
    assert [len(starts(path)) for path in paths] == [1, 1]


def test_a_detached_task(stage: Stage, tmp_path: Path) -> None:
    """Its worker dies under it at the node that owns it: it is lost for whoever asks."""
    node = start(stage)
    mesh = stage.client()
    path = tmp_path / "starts"
    result = mesh.delay(once, str(path), 60.0)
    wait_until(lambda: starts(path))
    for pid in node.workers():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(TaskLost):
        result.get(timeout=20)
    assert result.state == "LOST"
    other: Mesh = stage.client()
    wait_until(lambda: AsyncResult(result.id, other).state == "LOST")
    assert len(starts(path)) == 1


def test_what_a_draining_node_hands_back_runs_elsewhere(stage: Stage, tmp_path: Path) -> None:
    """It never started there, and the node says so."""
    first = start(stage)
    mesh = stage.client()
    paths = [tmp_path / "first", tmp_path / "second"]
    running = mesh.submit(once, str(paths[0]), 1.0)
    waiting = mesh.submit(once, str(paths[1]), 0.0)
    wait_until(lambda: starts(paths[0]))
    start(stage)
    first.send(signal.SIGTERM)
    assert (waiting.result(20), running.result(20)) == (1, 1)
    assert (starts(paths[0]), starts(paths[1])) == (["a"], ["b"])


def test_a_failure_is_tried_again_only_where_that_is_said(stage: Stage, tmp_path: Path) -> None:
    """A number of retries says so: an attempt that has failed has ended."""
    start(stage)
    mesh = stage.client()
    careful = flaky.connect.options(delivery="at-most-once")
    with pytest.raises(ConnectionError):
        mesh.submit(careful, str(tmp_path / "first"), 1).result(20)
    assert len(starts(tmp_path / "first")) == 1
    assert mesh.submit(careful.options(max_retries=2), str(tmp_path / "second"), 1).result(20) == "a"


def test_calls_with_one_key_are_one_task(stage: Stage, tmp_path: Path) -> None:
    """In one process for certain; in another as long as the node that is asked keeps the result."""
    start(stage)
    mesh, other = stage.client(), stage.client()
    path = tmp_path / "starts"
    keyed = flaky.note.options(idempotency_key="invoice 7")
    first = mesh.submit(keyed, str(path), 0.2)
    assert mesh.submit(keyed, str(path), 0.2) is first
    assert first.result(20) == 1
    assert mesh.submit(keyed, str(path), 0.2) is first
    assert other.submit(keyed, str(path), 0.2).result(20) == 1
    assert other.submit(flaky.note.options(idempotency_key="invoice 8"), str(path), 0.0).result(20) == 2
    with pytest.raises(ConfigError, match="for one call"):
        mesh.map(keyed, [str(path)], [0.0])
    with pytest.raises(ConfigError, match="for one call"):
        mesh.dmap(keyed, [[str(path), 0.0]])


def test_what_was_given_up_is_listed(stage: Stage, tmp_path: Path) -> None:
    """Tasks that kill each worker, with their stories, whether this process owned them or the node did."""
    node = start(stage)
    mesh = stage.client()
    own = mesh.submit(work.die, str(tmp_path / "own"))
    detached = mesh.delay(work.die, str(tmp_path / "detached"))
    with pytest.raises(WorkerLost):
        own.result(20)
    with pytest.raises(WorkerLost):
        detached.get(20)
    assert mesh.submit(work.die_twice, str(tmp_path / "others")).result(20)
    inspect = mesh.control.inspect(timeout=2)
    wait_until(lambda: len(inspect.dead()[node.name]) == 2)
    letters = {letter["id"]: letter for letter in inspect.dead()[node.name]}
    assert set(letters) == {own.task_id, detached.id}
    for letter in letters.values():
        assert letter["name"] == "work.die"
        assert letter["story"].count("exit code 3") == 3
        assert 0 <= letter["seconds_ago"] < 60
    command = [sys.executable, "-m", "meshq", "ctl", "inspect", "dead"]
    shown = subprocess.run(command, env=stage.env, capture_output=True, text=True, check=True).stdout
    assert own.task_id in shown
    assert "exit code 3" in shown


def test_a_call_by_name_goes_as_the_function_declares(stage: Stage, tmp_path: Path) -> None:
    """At most once, attached and detached: the caller has never seen the function; or as the call says."""
    first = start(stage)
    mesh = stage.client()
    paths = [tmp_path / str(number) for number in range(4)]
    with pytest.raises(ConnectionError):
        mesh.submit("flaky.careful", str(paths[0]), -1.0).result(20)
    assert len(starts(paths[0])) == 1
    running: Any = mesh.submit("flaky.careful", str(paths[1]), 60.0)
    detached: Any = mesh.delay("flaky.careful", str(paths[2]), 60.0)
    told = mesh.submit(flaky.careful.options(delivery="at-least-once"), str(paths[3]), 0.0)
    wait_until(lambda: starts(paths[1]) and told.state == detached.state == "QUEUED")
    start(stage)
    mesh.wait_for_nodes(2)
    first.kill()
    is_lost(running)
    with pytest.raises(TaskLost):
        detached.get(timeout=20)
    assert told.result(20) == 1
    assert [len(starts(path)) for path in paths] == [1, 1, 0, 1]


def test_a_call_by_name_is_tried_again_as_the_function_declares(stage: Stage, tmp_path: Path) -> None:
    """As often, and for what, its node says."""
    start(stage)
    mesh = stage.client()
    with pytest.raises(KeyError):
        mesh.submit("flaky.never", str(tmp_path / "never")).result(20)
    assert len(starts(tmp_path / "never")) == 2
    assert mesh.submit("flaky.connect", str(tmp_path / "connect"), 2).result(20) == "a"
