"""Programs that use a mesh: threads, several at once, forks, and how they end."""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest
import work
from mesh_harness import Process, Stage, wait_until

from meshq import Future, Mesh, MeshClosed

FLOOD = """
import work
from meshq import Mesh
with Mesh() as mesh:
    futures = [mesh.submit(work.nap, 0.001) for _ in range(100_000)]
    print("submitted", flush=True)
print("finished", flush=True)
"""

WAITING = """
import itertools, time
import work
from meshq import Mesh
with Mesh() as mesh:
    futures = [mesh.submit(work.nap, 1.5) for _ in range(100)]
    print("waiting", flush=True)
    match {place!r}:
        case "submit":
            time.sleep(60)
        case "result":
            futures[-1].result()
        case "map":
            list(mesh.map(work.nap, itertools.repeat(1.5, 100)))
"""

FORK = """
import os
import work
from meshq import Future, Mesh, MeshClosed
mesh = Mesh()
print("before:", mesh.submit(work.add, 1, 1).result(10), flush=True)
pid = os.fork()
if pid == 0:
    try:
        mesh.submit(work.add, 1, 2)
    except MeshClosed as error:
        print("refused:", error, flush=True)
    with Mesh() as own:
        print("own:", own.submit(work.add, 40, 2).result(10), flush=True)
    print("default:", work.add.submit(40, 3).result(10), flush=True)
    mesh.close()
    os._exit(0)
print("child:", os.waitpid(pid, 0)[1], flush=True)
print("after:", mesh.submit(work.add, 1, 3).result(10), flush=True)
mesh.close()
"""


@pytest.fixture
def flood(shared: Stage) -> Iterator[Process]:
    """A program that has 100,000 tasks waiting."""
    process = shared.script(FLOOD)
    process.until_logged("submitted")
    yield process
    process.kill()


def waiting(mesh: Mesh) -> int:
    """Return how many tasks nodes have queued or running."""
    replies = mesh.control.ping(timeout=5).by_node().values()
    assert replies
    return sum(reply["queued"] + reply["running"] for reply in replies)


def test_several_threads_submit_at_once(mesh: Mesh) -> None:
    """Eight threads with one mesh get each their own results."""

    def run(base: int) -> list[int]:
        return [mesh.submit(work.add, base, n).result(timeout=30) for n in range(200)]

    def run_map(base: int) -> list[int]:
        return list(mesh.map(work.add, itertools.repeat(base), range(200)))

    bases = [1000 * n for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        results = [*threads.map(run, bases), *threads.map(run_map, bases)]
    assert results == 2 * [[base + n for n in range(200)] for base in bases]


def test_one_clients_flood_does_not_starve_another(mesh: Mesh, flood: Process) -> None:
    """While one program has 100,000 tasks waiting, the single calls of another return quickly."""
    begin = time.monotonic()
    assert mesh.submit(work.add, 2, 2).result(timeout=10) == 4
    assert time.monotonic() - begin < 1
    for n in range(50):
        assert mesh.submit(work.add, n, 1).result(timeout=10) == n + 1
    assert time.monotonic() - begin < 5
    assert "finished" not in flood.text()


def test_ctrl_c_leaves_nothing_queued(mesh: Mesh, flood: Process) -> None:
    """A program with 100,000 tasks in ``with Mesh()`` that gets SIGINT is gone, and so are its tasks."""
    wait_until(lambda: waiting(mesh))
    flood.send(signal.SIGINT)
    assert flood.wait(10) in (-signal.SIGINT, 130), flood.text()
    assert "KeyboardInterrupt" in flood.text()
    wait_until(lambda: waiting(mesh) == 0, 1.0, "nothing is left at the nodes")


@pytest.mark.parametrize("place", ["submit", "result", "map", "leaving"])
def test_ctrl_c_ends_a_program_within_a_second(shared: Stage, mesh: Mesh, place: str) -> None:
    """Wherever a program waits for tasks, SIGINT ends it, though they run on."""
    script = shared.script(WAITING.format(place=place))
    script.until_logged("waiting")
    wait_until(lambda: waiting(mesh))
    begin = time.monotonic()
    script.send(signal.SIGINT)
    assert script.wait(10) in (-signal.SIGINT, 130), script.text()
    assert time.monotonic() - begin < 1.0
    wait_until(lambda: waiting(mesh) <= 2, 1.0, "only what runs is left at the nodes")


def test_a_program_that_is_killed_does_not_hold_up_others(mesh: Mesh, flood: Process) -> None:
    """After SIGKILL of a program, others go on at once."""
    flood.kill()
    assert list(mesh.map(work.add, range(100), range(100))) == [2 * n for n in range(100)]


def test_leaving_the_with_block_waits_for_the_tasks(shared: Stage) -> None:
    """All futures are done after the block, without being asked."""
    with Mesh(shared.mesh) as mesh:
        futures = [mesh.submit(work.nap, 0.05, n) for n in range(10)]
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(10))


def test_an_exception_in_the_block_withdraws_what_is_queued(shared: Stage, mesh: Mesh, tmp_path: Path) -> None:
    """It goes on to the caller at once; what had not started never does, and its futures are cancelled."""
    path = tmp_path / "ran"
    begin = time.monotonic()
    futures: list[Future[int]] = []

    def program() -> None:
        with Mesh(shared.mesh) as own:
            futures.extend(own.submit(work.note, str(path), 0.2) for _ in range(200))
            wait_until(path.exists)
            raise LookupError

    with pytest.raises(LookupError):
        program()
    assert time.monotonic() - begin < 4
    assert all(future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result(timeout=1)
    wait_until(lambda: waiting(mesh) == 0, 3.0, "nothing is left at the node")
    assert len(path.read_text().split()) < 30


def test_a_closed_mesh_says_so(shared: Stage) -> None:
    """Using it raises ``MeshClosed``; closing it again does nothing."""
    mesh = shared.client()
    mesh.close()
    mesh.close()
    with pytest.raises(MeshClosed, match="closed"):
        mesh.submit(work.add, 1, 1)
    with pytest.raises(MeshClosed, match="closed"):
        mesh.nodes()


def test_closing_while_no_node_answers_does_not_hang(stage: Stage) -> None:
    """``close(cancel=True)`` with a frozen node, or with none, takes about as long as ever."""
    node = stage.start()
    mesh = stage.client()
    future = mesh.submit(work.nap, 30.0)
    wait_until(future.running)
    node.freeze()
    begin = time.monotonic()
    mesh.close(cancel=True)
    assert time.monotonic() - begin < 2
    assert future.cancelled()


def test_a_forked_child_needs_a_mesh_of_its_own(shared: Stage) -> None:
    """There the parent's mesh says ``MeshClosed`` and why; a new one works, and the parent's goes on."""
    script = shared.script(FORK)
    assert script.wait() == 0, script.text()
    said = dict(line.split(": ", 1) for line in script.text().splitlines())
    assert re.search(r"fork.*new Mesh in the child", said.pop("refused"))
    assert said == {"before": "2", "own": "42", "default": "43", "child": "0", "after": "4"}
