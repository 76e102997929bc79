"""``mesh.attach``: futures of tasks whose process has crashed, or lives elsewhere."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import work
from mesh_harness import Process, Stage, wait_until
from reattaching import kill_one

from meshq import (
    ConfigError,
    Future,
    Mesh,
    MeshClosed,
    ResultGone,
    TaskExpired,
    TaskLost,
    TaskRevoked,
    WorkerLost,
)

CRASH = """
import os, signal, time
import work
from meshq import Mesh
mesh = Mesh()
mesh.wait_for_nodes(1, 20)
futures = [{calls}]
def is_there(future):
    return future.done() or str(future.state) in {states!r}
while not all(map(is_there, futures)):
    time.sleep(0.005)
print(*[future.task_id for future in futures], "end", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A client that submits, and vanishes when all of it is in one of these states."""


@pytest.fixture
def elsewhere(shared: Stage) -> Iterator[Mesh]:
    """Another client of the shared mesh, which has submitted nothing."""
    made = shared.client()
    yield made
    made.close(cancel=True)


def start(stage: Stage, *calls: str, states: str = "QUEUED STARTED DONE EXPIRED") -> Process:
    """Start a process that submits these calls, and vanishes without a word when nodes have them."""
    return stage.script(CRASH.format(calls=", ".join(calls), states=states.split()))


def begin(stage: Stage, *calls: str, states: str = "QUEUED STARTED DONE EXPIRED") -> list[str]:
    """Do so, and return the ids of the tasks."""
    return ids_of(start(stage, *calls, states=states))


def ids_of(script: Process) -> list[str]:
    """Return the ids that a script has printed."""
    return script.until_logged(r"(?m)^(.*) end$").group(1).split()


def test_what_a_crashed_process_has_submitted_is_run_to_its_end_and_found(
    shared: Stage, elsewhere: Mesh, tmp_path: Path
) -> None:
    """What ran, what was queued, and a result of megabytes; each has run once."""
    path = tmp_path / "runs"
    calls = [f"mesh.submit(work.note, {str(path)!r}, 0.3)" for _ in range(5)]
    calls += ["mesh.submit(work.many_bytes, 3 * 1024 * 1024, 1.0)", "mesh.submit(work.fail, 'broken')"]
    ids = begin(shared, *calls)
    *notes, large, bad = [elsewhere.attach(task_id) for task_id in ids]
    assert [future.task_id for future in (*notes, large, bad)] == ids
    assert all(isinstance(future, Future | concurrent.futures.Future) for future in notes)
    done = [future.result() for future in concurrent.futures.as_completed(notes, timeout=20)]
    assert sorted(done) == sorted(int(line) for line in path.read_text().split())
    assert large.result(timeout=10) == work.many_bytes(3 * 1024 * 1024)
    with pytest.raises(ValueError, match="broken"):
        bad.result(timeout=10)
    assert (str(large.state), str(bad.state)) == ("DONE", "FAILURE")


def test_what_ended_before_its_process_was_gone_is_there_at_once(shared: Stage, elsewhere: Mesh) -> None:
    """Acknowledged or not; a second time as well."""
    script = shared.script(
        "import work\nfrom meshq import Mesh\nwith Mesh() as mesh:\n"
        "    futures = [mesh.submit(work.add, n, n) for n in range(500)]\n"
        "print(*[future.task_id for future in futures], 'end', flush=True)\n"
    )
    assert script.wait() == 0
    ids = ids_of(script)
    for _ in range(2):
        began_at = time.monotonic()
        futures = [elsewhere.attach(task_id) for task_id in ids]
        assert [future.result(timeout=10) for future in futures] == [2 * n for n in range(500)]
        assert time.monotonic() - began_at < 2.0


def test_a_task_of_a_living_process_is_followed(mesh: Mesh, elsewhere: Mesh) -> None:
    """Its state, its value; awaited in asyncio too, and callbacks are called."""
    sent = mesh.submit(work.nap, 0.6, "value")
    wait_until(sent.running)
    future = elsewhere.attach(sent.task_id)
    assert elsewhere.attach(sent.task_id) is future
    called: list[object] = []
    future.add_done_callback(lambda done: called.append(done.result()))
    wait_until(future.running)

    async def wait_for_it() -> object:
        return await asyncio.wrap_future(future)

    assert asyncio.run(wait_for_it()) == "value"
    assert (sent.result(timeout=5), called) == ("value", ["value"])
    assert mesh.attach(mesh.delay(work.add, 1, 1).id).result(timeout=5) == 2


def test_a_task_of_its_own(mesh: Mesh) -> None:
    """It is the future that there is."""
    future = mesh.submit(work.nap, 0.2)
    assert mesh.attach(future.task_id) is future
    with pytest.raises(ConfigError, match="task id"):
        mesh.attach("nonsense")


def test_a_result_that_is_not_kept(shared: Stage, mesh: Mesh, elsewhere: Mesh) -> None:
    """That of a task whose owner has it, and that is large."""
    sent = mesh.submit(work.many_bytes, 256 * 1024)
    sent.result(timeout=10)
    wait_until(lambda: is_gone(elsewhere, sent.task_id), 5.0, "the result is acknowledged")
    future = elsewhere.attach(sent.task_id)
    with pytest.raises(ResultGone, match="64 KiB"):
        future.result(timeout=10)
    assert str(future.state) == "DONE"


def is_gone(mesh: Mesh, task_id: str) -> bool:
    """Tell whether the nodes no longer have the value of a task."""
    try:
        return mesh.result(task_id).result is None
    except ResultGone:
        return True


def test_other_ends(shared: Stage, elsewhere: Mesh, tmp_path: Path) -> None:
    """Revoked, expired, killed its worker, asked for another try that nobody makes: each says so."""
    pairs = (
        ["mesh.submit(work.nap, 60)"] * 2,
        ["mesh.submit(work.nothing)", "mesh.submit(work.nothing.options(expires=0.3))"],
        [
            f"mesh.submit(work.die, {str(tmp_path / 'died')!r})",
            "mesh.submit(work.fail.options(retry_for=(ValueError,)), 'flaky')",
        ],
    )
    naps = [elsewhere.attach(task_id) for task_id in begin(shared, *pairs[0])]
    scripts = [start(shared, *pair) for pair in pairs[1:]]
    ids = [task_id for script in scripts for task_id in ids_of(script)]
    revoked, expired, dead, flaky = [elsewhere.attach(task_id) for task_id in ids]
    wait_until(lambda: str(revoked.state) == "QUEUED")
    revoked.revoke()
    with pytest.raises(TaskRevoked):
        revoked.result(timeout=10)
    with pytest.raises(TaskExpired):
        expired.result(timeout=10)
    for nap in naps:
        nap.revoke(terminate=True)
        with pytest.raises(TaskRevoked):
            nap.result(timeout=10)
    with pytest.raises(WorkerLost, match=r"exit code 3.*nobody tries it again"):
        dead.result(timeout=10)
    with pytest.raises(ValueError, match="flaky") as raised:
        flaky.result(timeout=10)
    assert "asked for another try" in raised.value.__notes__[0]
    assert (tmp_path / "died").read_text() == "died\n"
    assert [str(future.state) for future in (revoked, expired, dead, flaky)] == [
        "REVOKED", "EXPIRED", "LOST", "FAILURE",
    ]  # fmt: skip


def test_a_task_that_no_node_knows(shared: Stage, mesh: Mesh, elsewhere: Mesh) -> None:
    """One that never was ends within two seconds; one that its owner is to try again is waited for."""
    uid, began_at, ended_at = uuid.uuid4(), time.monotonic(), []
    unknown = elsewhere.attach(uid)
    unknown.add_done_callback(lambda _: ended_at.append(time.monotonic()))
    options = {"retry_for": (ValueError,), "max_retries": 1, "retry_backoff": 2, "retry_jitter": False}
    naps = [mesh.submit(work.nap, 0.7) for _ in range(2)]
    wait_until(lambda: all(nap.running() for nap in naps))
    sent = mesh.submit(work.fail.options(**options), "flaky")
    future = elsewhere.attach(sent.task_id)
    wait_until(lambda: str(future.state) == "QUEUED", 5.0, "it waits for a slot")
    with pytest.raises(ValueError, match="flaky"):
        future.result(timeout=15)
    assert sent.done()
    with pytest.raises(ResultGone, match=rf"{uid}.*Asked: {shared.nodes[0].name}"):
        unknown.result(timeout=10)
    assert 1.0 < ended_at[0] - began_at < 2.5


def test_cancel_is_true_to_the_standard(shared: Stage, elsewhere: Mesh) -> None:
    """True only for what had not started; what runs goes on."""
    ids = begin(shared, *["mesh.submit(work.nap, 0.7)"] * 2, "mesh.submit(work.nothing)")
    *running, queued = [elsewhere.attach(task_id) for task_id in ids]
    assert queued.cancel()
    assert queued.cancelled()
    assert queued.cancel()
    wait_until(running[0].running)
    assert not running[0].cancel()
    assert [future.result(timeout=10) for future in running] == [None, None]
    assert not running[0].cancel()


def test_leaving_the_mesh_waits_for_attached_tasks_too(shared: Stage) -> None:
    """As for its own; closed with ``cancel`` it abandons them, and the tasks run on."""
    [first, second] = begin(shared, "mesh.submit(work.nap, 0.5, 1)", "mesh.submit(work.nap, 0.5, 2)")
    with Mesh(shared.mesh) as mesh:
        future = mesh.attach(first)
    assert future.result() == 1
    mesh = Mesh(shared.mesh)
    left = mesh.attach(second)
    mesh.close(cancel=True)
    if left.exception() is not None:
        with pytest.raises(MeshClosed):
            left.result()
    with Mesh(shared.mesh) as mesh:
        assert mesh.attach(second).result(timeout=10) == 2


def test_a_task_is_lost_with_its_node(stage: Stage) -> None:
    """Its owner is gone as well: nobody sends it elsewhere, and that it may have run is said."""
    stage.start()
    [lost] = begin(stage, "mesh.submit(work.nap, 30)", states="STARTED")
    stage.start()
    mesh = stage.client()
    future = mesh.attach(lost)
    wait_until(future.running)
    stage.nodes[0].kill()
    with pytest.raises(TaskLost, match=rf"none knows it any more.*Asked: {stage.nodes[1].name}") as raised:
        future.result(timeout=20)
    assert raised.value.maybe_executed


def test_a_task_that_its_living_owner_sends_elsewhere(stage: Stage) -> None:
    """The node dies, the owner lives: the future ends with the value."""
    for _ in range(2):
        stage.start(ready=False)
    for node in stage.nodes:
        node.until_ready()
    owner, mesh = stage.client(), stage.client()
    futures = [owner.submit(work.where, 0.8) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in futures))
    attached = [mesh.attach(future.task_id) for future in futures]
    wait_until(lambda: all(future.running() for future in attached))
    stage.nodes[0].kill()
    assert [future.result(timeout=20) for future in attached] == ["b", "b"]


def test_clients_that_are_killed_at_any_moment(stage: Stage) -> None:
    """Another process attaches to all that they have submitted: each task is found, and has run once."""
    stage.start("tallied", slots=2)
    rng = random.Random(1)
    left = [task for _ in range(4) for task in kill_one(stage, rng)]
    assert [task for task in left if not task.is_recovered] == []
    assert sum(task.accepted for task in left) > 50
    finished = [task for task in left if task.finished]
    assert len(finished) > 10
    assert max(task.seconds for task in finished) <= 2.0


def test_a_node_that_drains_stays_for_those_who_wait_for_its_tasks(stage: Stage) -> None:
    """Though the owner has its result first, and would let the node go."""
    node = stage.start(slots=1)
    owner, other = stage.client(), stage.client()
    task = owner.submit(work.nap, 1.0, "value")
    wait_until(task.running)
    followed = other.attach(task.task_id)
    wait_until(lambda: str(followed.state) == "STARTED")
    stage.start(slots=1)
    node.send(signal.SIGTERM)
    assert (task.result(timeout=10), followed.result(timeout=10)) == ("value", "value")
    assert node.wait() == 0
