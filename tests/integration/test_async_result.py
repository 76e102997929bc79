"""``AsyncResult`` by the id alone: in another process, and after the submitter has ended."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import steered
import work
from mesh_harness import Stage, wait_until

from meshq import AsyncResult, Mesh, NoNodes, ResultGone, TaskRevoked

SUBMIT = """
import work
from meshq import Mesh
with Mesh() as mesh:
    results = [mesh.delay(work.add, 2, 2), mesh.delay(work.fail, "broken")]
    results.append(mesh.delay(work.many_bytes, 256 * 1024))
    for result in results:
        result.get(timeout=10, propagate=False)
    attached = mesh.submit(work.add, 40, 2)
    attached.result(timeout=10)
print(*[result.id for result in results], attached.task_id)
"""

ASK = """
import json
from meshq import AsyncResult, ResultGone, is_done
done, failed, large, attached = [AsyncResult(id) for id in {ids!r}]
said = {{"states": [each.status for each in (done, failed, large, attached)]}}
said["is_done"] = [is_done(each.id) for each in (done, failed, large, attached)]
said["values"] = [done.result, attached.get(timeout=5)]
said["error"] = [type(failed.result).__name__, str(failed.result), failed.traceback]
try:
    large.get(timeout=5)
except ResultGone as error:
    said["gone"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture
def elsewhere(shared: Stage) -> Iterator[Mesh]:
    """Another client of the shared mesh, which has submitted nothing."""
    made = shared.client()
    yield made
    made.close(cancel=True)


@pytest.fixture(scope="module")
def shared(make_stage: Callable[..., Stage]) -> Stage:
    """A mesh of one node with two slots, for all tests of this module that leave it as it was."""
    made = make_stage()
    made.start("work", "steered", slots=2)
    return made


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that lets go of what has the slots, as the end of the test does."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def busy(mesh: Mesh, gate: Path) -> Mesh:
    """A client of a mesh both of whose slots are taken until the gate is there."""
    futures = [mesh.submit(steered.hold, str(gate)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in futures))
    return mesh


def test_another_process_finds_the_results_after_the_submitter_has_ended(shared: Stage) -> None:
    """Values, an exception with its traceback, and of what is too large to be kept the state."""
    submitter = shared.script(SUBMIT)
    assert submitter.wait() == 0, submitter.text()
    asker = shared.script(ASK.format(ids=submitter.text().split()))
    assert asker.wait() == 0, asker.text()
    said = json.loads(asker.text())
    assert said["states"] == ["DONE", "FAILURE", "DONE", "DONE"]
    assert said["is_done"] == [True, False, True, True]
    assert said["values"] == [4, 42]
    kind, text, traceback = said["error"]
    assert (kind, text) == ("ValueError", "('broken', 7)")
    assert "raise ValueError(text, 7) from error" in traceback
    assert "64 KiB" in said["gone"]


def test_it_follows_a_task_of_another_client(busy: Mesh, elsewhere: Mesh, gate: Path) -> None:
    """Its states, while it is unfinished; then its value."""
    sent = busy.delay(work.nap, 0.8, "value")
    result = elsewhere.result(sent.id)
    wait_until(lambda: result.status == "QUEUED", 3.0, "the task is seen to wait")
    assert (result.result, result.ready(), result.failed(), result.traceback) == (None, False, False, None)
    with pytest.raises(TimeoutError, match=r"is (QUEUED|STARTED) after"):
        result.get(timeout=0.1)
    gate.touch()
    wait_until(lambda: result.status == "STARTED", 5.0, "the task is seen to run")
    assert result.get(timeout=10) == "value"
    assert (result.status, result.result, result.successful()) == ("DONE", "value", True)


def test_a_task_that_is_submitted_a_moment_later_is_waited_for(mesh: Mesh, elsewhere: Mesh) -> None:
    """Its id may be known before the task is."""
    uid = uuid.uuid4()
    result = elsewhere.result(uid)
    assert result.status == "UNKNOWN"
    mesh.delay(work.nap.options(task_id=uid), 0.2, "late")
    assert result.get(timeout=10) == "late"


def test_an_unknown_task(elsewhere: Mesh) -> None:
    """UNKNOWN, neither ready nor failed; ``get`` gives up after a second and says why it may be."""
    result = elsewhere.result(uuid.uuid4())
    assert (result.status, result.ready(), result.failed(), result.result) == ("UNKNOWN", False, False, None)
    begin = time.monotonic()
    with pytest.raises(ResultGone, match=r"no node that answers knows task .*an hour ago"):
        result.get(timeout=30)
    assert 0.9 < time.monotonic() - begin < 3


def test_it_can_be_revoked_from_elsewhere(busy: Mesh, elsewhere: Mesh, gate: Path, tmp_path: Path) -> None:
    """Its owner is told, and it is REVOKED for all."""
    sent = busy.delay(work.note, str(tmp_path / "ran"))
    wait_until(lambda: sent.status == "QUEUED")
    result = elsewhere.result(sent.id)
    result.revoke()
    with pytest.raises(TaskRevoked):
        sent.get(timeout=5)
    with pytest.raises(TaskRevoked, match=sent.id):
        result.get(timeout=5)
    assert (result.status, result.failed()) == ("REVOKED", True)
    gate.touch()
    busy.submit(work.nothing).result(timeout=10)
    assert not (tmp_path / "ran").exists()


def test_what_is_forgotten_is_unknown_to_all(mesh: Mesh, elsewhere: Mesh) -> None:
    """Nodes let go of it; who has seen the end keeps what was seen."""
    sent = mesh.delay(work.add, 20, 22)
    assert sent.get(timeout=10) == 42
    seen, unseen = elsewhere.result(sent.id), elsewhere.result(sent.id)
    assert seen.get(timeout=10) == 42
    sent.forget()
    assert (sent.status, unseen.status, seen.status) == ("UNKNOWN", "UNKNOWN", "DONE")


def test_results_are_values(shared: Stage, mesh: Mesh) -> None:
    """Equal by id, members of sets, and pickled by id for another process."""
    sent = mesh.delay(work.add, 1, 2)
    assert sent.get(timeout=10) == 3
    same: AsyncResult[Any] = mesh.result(uuid.UUID(sent.id))
    assert same == sent
    assert len({same, sent, mesh.result(uuid.uuid4())}) == 2
    script = shared.script(f"import pickle\nprint(pickle.loads({pickle.dumps(sent)!r}).get(timeout=5))\n")
    assert script.wait() == 0, script.text()
    assert script.text() == "3\n"


def test_without_a_node_it_says_why(stage: Stage) -> None:
    """After two seconds, in which one may be found."""
    result = stage.client().result(uuid.uuid4())

    def explained(call: Callable[[], object]) -> float:
        begin = time.monotonic()
        with pytest.raises(NoNodes, match=rf"{stage.mesh}.*meshq node"):
            call()
        return time.monotonic() - begin

    with ThreadPoolExecutor() as pool:  # each waits for two seconds: all at the same time
        calls = (lambda: result.status, lambda: result.get(timeout=10), result.ready)
        assert all(1.5 < took < 4 for took in pool.map(explained, calls))


def test_a_node_that_could_not_be_asked_is_named(stage: Stage) -> None:
    """Where no other knows the task, it may be there."""
    first, second = stage.start(ready=False), stage.start()
    first.until_ready()
    mesh = stage.client()
    mesh.control.ping()
    second.freeze()
    result = mesh.result(uuid.uuid4())
    assert result.status == "UNKNOWN"
    with pytest.raises(ResultGone, match=rf"Not asked: {second.name} \("):
        result.get(timeout=5)
    second.thaw()
