"""Detached tasks: ``delay`` in a short script, and ``AsyncResult``."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import work
from mesh_harness import Process, Stage, wait_until

from meshq import AsyncResult, Mesh, ResultGone, TaskRevoked

THREE_LINES = """
from work import write
write.delay({path!r}, "written")
"""

DEFAULT_MESH = """
import json
import work
from meshq import AsyncResult
sent = work.add.delay(2, 2)
again = AsyncResult(sent.id)
bad = work.fail.apply_async(("broken",))
values = [sent.get(timeout=10), again.get(timeout=10), again.status, repr(again) == f"<AsyncResult: {sent.id}>"]
error = bad.get(timeout=10, propagate=False)
print(json.dumps([*values, str(error), work.add.submit(1, 2).result(timeout=10)]))
"""


@pytest.fixture(scope="module", autouse=True)
def lonely(make_stage: Callable[..., Stage]) -> Process:
    """A script whose detached tasks find no node; started first, as it takes its ten seconds."""
    return make_stage().script("from work import add\nadd.delay(1, 1)\nadd.delay(2, 2)\n")


@pytest.fixture
def busy(shared: Stage, mesh: Mesh) -> Mesh:
    """A client of a mesh both of whose slots run something for a second."""
    futures = [mesh.submit(work.nap, 1.0) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in futures))
    return mesh


def test_a_script_may_end_after_delay(shared: Stage, tmp_path: Path) -> None:
    """A script of three lines has its task run, and does not wait for it to end."""
    path = tmp_path / "file"
    begin = time.monotonic()
    script = shared.script(THREE_LINES.format(path=str(path)))
    assert script.wait() == 0, script.text()
    assert time.monotonic() - begin < 5
    assert script.text() == ""
    wait_until(path.exists)
    assert path.read_text() == "written"


def test_a_script_may_end_before_its_tasks_start(shared: Stage, busy: Mesh, tmp_path: Path) -> None:
    """What a node has accepted is run though all slots were busy and the script is gone."""
    begin = time.monotonic()
    code = f"from work import write\nfor n in range(300): write.delay({str(tmp_path)!r} + f'/{{n}}', 'x')\n"
    script = shared.script(code)
    assert script.wait() == 0, script.text()
    took = time.monotonic() - begin
    wait_until(lambda: len([p for p in tmp_path.iterdir() if p.suffix == ""]) >= 300)
    assert took < 5


def test_delay_and_apply_async_use_the_default_mesh(shared: Stage) -> None:
    """Task functions find the mesh that the settings name; ``AsyncResult(id)`` answers in the same process."""
    script = shared.script(DEFAULT_MESH)
    assert script.wait() == 0, script.text()
    assert json.loads(script.text()) == [4, 4, "DONE", True, "('broken', 7)", 3]


def test_an_async_result_tells_of_a_task_that_is_done(mesh: Mesh) -> None:
    """Its id, state and value; asked by the id too."""
    sent = mesh.delay(work.add, 2, 2)
    assert sent.get(timeout=10) == 4
    for result in (sent, AsyncResult[int](sent.id, mesh), AsyncResult[int](uuid.UUID(sent.id).hex, mesh)):
        assert result.id == sent.id
        assert result.status == result.state == "DONE"
        assert result.result == result.get() == 4
        assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
        assert result.traceback is None
        assert repr(result) == f"<AsyncResult: {sent.id}>"


def test_an_async_result_tells_of_a_task_that_failed(mesh: Mesh) -> None:
    """``result`` is the exception, ``get`` raises it unless asked not to, ``traceback`` is the remote one."""
    sent = mesh.delay(work.fail, "broken")
    with pytest.raises(ValueError, match="broken"):
        sent.get(timeout=10)
    assert sent.status == "FAILURE"
    assert isinstance(sent.result, ValueError)
    assert isinstance(sent.get(propagate=False), ValueError)
    assert (sent.ready(), sent.successful(), sent.failed()) == (True, False, True)
    assert "raise ValueError(text, 7) from error" in str(sent.traceback)


def test_an_async_result_follows_a_task_through_its_states(busy: Mesh) -> None:
    """QUEUED while the slots are busy, STARTED while it runs, DONE at the end; unready until then."""
    sent = busy.delay(work.nap, 0.8, "value")
    wait_until(lambda: sent.status == "QUEUED", 2.0, "the task is queued")
    assert sent.result is None
    assert not sent.ready()
    with pytest.raises(TimeoutError):
        sent.get(timeout=0.01)
    wait_until(lambda: sent.status == "STARTED", 5.0, "the task is seen to run")
    wait_until(lambda: sent.status == "DONE", 5.0, "the task is done")
    assert sent.result == "value"


def test_a_detached_task_can_be_revoked(busy: Mesh, tmp_path: Path) -> None:
    """One that waits at a node is dropped; its state is REVOKED, and it never runs."""
    sent = busy.delay(work.note, str(tmp_path / "ran"))
    wait_until(lambda: sent.status == "QUEUED")
    sent.revoke()
    with pytest.raises(TaskRevoked):
        sent.get(timeout=5)
    assert sent.status == "REVOKED"
    assert sent.failed()
    busy.submit(work.nothing).result(timeout=10)
    assert not (tmp_path / "ran").exists()


def test_a_running_detached_task_can_be_terminated(mesh: Mesh) -> None:
    """``revoke(terminate=True)`` ends it where it runs."""
    sent = mesh.delay(work.nap, 30.0)
    wait_until(lambda: any(reply["running"] for reply in mesh.control.ping().by_node().values()))
    sent.revoke(terminate=True)
    with pytest.raises(TaskRevoked):
        sent.get(timeout=5)
    assert sent.status == "REVOKED"


def test_a_forgotten_result_is_gone(mesh: Mesh) -> None:
    """After ``forget`` the task is UNKNOWN here, like one that was never submitted."""
    sent = mesh.delay(work.add, 1, 1)
    assert sent.get(timeout=10) == 2
    sent.forget()
    for result in (sent, AsyncResult[int](sent.id, mesh), AsyncResult[int](str(uuid.uuid4()), mesh)):
        assert result.status == "UNKNOWN"
        assert not result.ready()
        with pytest.raises(ResultGone):
            result.get(timeout=1)


def test_a_script_whose_tasks_no_node_accepts_says_how_many(lonely: Process) -> None:
    """It waits for ten seconds at its end, and then says so in one line, with the reason."""
    lonely.wait(15)
    assert time.monotonic() - lonely.started_at > 9.5
    (line,) = lonely.text().splitlines()
    assert "2 detached tasks were accepted by no node" in line
    assert "no node of the mesh" in line


def test_a_result_is_found_by_id_when_nobody_has_kept_it(mesh: Mesh) -> None:
    """This process answers for the tasks that it has submitted, until it is told to forget them."""
    task_id = mesh.delay(work.add, 2, 3).id
    wait_until(lambda: AsyncResult(task_id, mesh).ready())
    assert AsyncResult(task_id, mesh).get(timeout=5) == 5
    AsyncResult(task_id, mesh).forget()
    assert AsyncResult(task_id, mesh).status == "UNKNOWN"
