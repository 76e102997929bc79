"""Nodes that die, freeze, come and go in the middle of work."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import Future, wait
from threading import Lock
from typing import Any

import work
from mesh_harness import Stage, labels, wait_until

from meshq import Mesh


class Deliveries:
    """Counts what is delivered to callbacks."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._lock = Lock()

    def watch(self, number: int, future: Future[Any]) -> Future[Any]:
        """Count the deliveries of a future."""
        future.add_done_callback(lambda _: self._count(number))
        return future

    def _count(self, number: int) -> None:
        with self._lock:
            self._counts[number] += 1

    def total(self) -> int:
        """Return how many there were."""
        return sum(self._counts.values())

    def most(self) -> int:
        """Return how often the one that came most often did."""
        return max(self._counts.values())


def submit_naps(mesh: Mesh, count: int, seconds: float, deliveries: Deliveries) -> list[Future[Any]]:
    """Submit tasks that sleep and return their number, and count what comes."""
    return [deliveries.watch(n, mesh.submit(work.nap, seconds, n)) for n in range(count)]


def quiet(mesh: Mesh, nodes: int) -> bool:
    """Whether all nodes answer and none holds anything: nothing queued, running, or to be acknowledged."""
    replies = mesh.control.ping(timeout=2).by_node().values()
    return len(replies) == nodes and not any(r["queued"] + r["running"] + r["finished"] for r in replies)


def test_a_node_is_killed_half_way(stage: Stage) -> None:
    """5,000 tasks of 5 ms on two nodes, one SIGKILLed half-way: 5,000 results, each delivered once."""
    first, _ = stage.start(slots=4, ready=False), stage.start(slots=4)
    first.until_ready()
    mesh = stage.client()
    deliveries = Deliveries()
    futures = submit_naps(mesh, 5000, 0.005, deliveries)
    wait_until(lambda: deliveries.total() >= 2500)
    first.kill()
    assert [future.result(timeout=60) for future in futures] == list(range(5000))
    wait_until(lambda: quiet(mesh, 1))
    assert (deliveries.total(), deliveries.most()) == (5000, 1)


def test_a_node_is_frozen_for_six_seconds(stage: Stage) -> None:
    """Declared dead and its tasks re-sent; when it wakes, nothing comes twice, and it gets work again."""
    frozen, _ = stage.start(slots=4, ready=False), stage.start(slots=4)
    frozen.until_ready()
    mesh = stage.client()
    deliveries = Deliveries()
    futures = submit_naps(mesh, 2000, 0.005, deliveries)
    wait_until(lambda: deliveries.total() >= 500)
    frozen.freeze()
    frozen_at = time.monotonic()
    done, pending = wait(futures, timeout=30)
    assert not pending
    assert time.monotonic() - frozen_at < 15
    wait_until(lambda: len(mesh.nodes()) == 1, what="the frozen node is declared dead")
    time.sleep(max(0.0, frozen_at + 6 - time.monotonic()))  # the freeze is what is tested
    frozen.thaw()
    wait_until(lambda: quiet(mesh, 2), what="both nodes hold nothing")
    assert sorted(future.result() for future in done) == list(range(2000))
    assert (deliveries.total(), deliveries.most()) == (2000, 1)
    assert set(labels(list(mesh.map(work.where, [0.01] * 100)))) == {"a", "b"}


def test_a_short_freeze_is_forgiven(stage: Stage) -> None:
    """A node that was silent for two seconds keeps its tasks: each runs once."""
    node = stage.start(slots=2)
    mesh = stage.client()
    path = stage.directory / "runs"
    futures = [mesh.submit(work.note, str(path), 0.05) for _ in range(100)]
    wait_until(path.exists)
    node.freeze()
    wait_until(lambda: mesh.nodes()[0].state == "suspect", 3.0, "the node is suspect")
    node.thaw()
    for future in futures:
        future.result(timeout=20)
    assert len(path.read_text().split()) == 100


def test_a_killed_node_leaves_no_worker(stage: Stage) -> None:
    """One second after ``kill -9`` of a node none of its processes is there, though all were at work."""
    node = stage.start(slots=3)
    mesh = stage.client()
    futures = [mesh.submit(work.nap, 60.0) for _ in range(3)]
    wait_until(lambda: all(future.running() for future in futures))
    assert len(node.workers()) == 3
    assert len(stage.processes()) >= 4
    node.kill()
    wait_until(lambda: not stage.processes(), 1.0, "no process of the node is left")


def test_a_node_that_joins_in_the_middle_gets_tasks(stage: Stage) -> None:
    """Within two seconds of its being ready a new node runs tasks that were submitted before."""
    stage.start()
    mesh = stage.client()
    futures = [mesh.submit(work.where, 0.02) for _ in range(250)]
    futures[3].result(timeout=10)
    stage.start()
    ready_at = time.monotonic()
    wait_until(lambda: any(f.done() and f.result() == "b" for f in futures), 2.0, "the new node runs a task")
    assert time.monotonic() - ready_at < 2
    counts = labels([future.result(timeout=30) for future in futures])
    assert counts["b"] > 20


def test_work_is_shared_by_slots(stage: Stage) -> None:
    """A node with three slots gets about three times as much as one with a single slot."""
    stage.start(slots=1, ready=False)
    stage.start(slots=3)
    mesh = stage.client()
    counts = labels(list(mesh.map(work.where, [0.01] * 400)))
    assert 2.0 < counts["b"] / counts["a"] < 4.5


def test_a_long_task_has_no_short_ones_waiting_behind_it(stage: Stage) -> None:
    """While one node is busy with a long task, the short ones all go through the other."""
    stage.start(ready=False)
    stage.start()
    mesh = stage.client()
    long = mesh.submit(work.nap, 2.0)
    wait_until(long.running)
    begin = time.monotonic()
    list(mesh.map(work.nothing, range(300)))
    assert time.monotonic() - begin < 1.5
    assert long.result(timeout=10) is None


def test_a_drained_node_hands_back_what_waits(stage: Stage) -> None:
    """SIGTERM: it finishes what runs, hands the queue to the other node, and ends with 0. Each task runs once."""
    leaving, _ = stage.start(ready=False), stage.start()
    leaving.until_ready()
    mesh = stage.client()
    path = stage.directory / "runs"
    futures = [mesh.submit(work.note, str(path), 0.02) for _ in range(120)]
    wait_until(lambda: sum(future.done() for future in futures) > 20)
    leaving.send(signal.SIGTERM)
    assert leaving.wait(10) == 0
    for future in futures:
        future.result(timeout=20)
    assert len(path.read_text().split()) == 120


def test_draining_the_only_node_keeps_the_tasks_for_the_next(stage: Stage) -> None:
    """What it hands back waits at the client until another node is there."""
    leaving = stage.start()
    mesh = stage.client()
    futures = [mesh.submit(work.where, 0.05) for _ in range(40)]
    futures[2].result(timeout=10)
    leaving.send(signal.SIGTERM)
    assert leaving.wait(10) == 0
    assert not futures[-1].done()
    stage.start()
    counts = labels([future.result(timeout=20) for future in futures])
    assert set(counts) == {"a", "b"}


def test_a_drained_node_runs_the_detached_tasks_that_it_has_accepted(stage: Stage) -> None:
    """They are its own, whoever submitted them is gone, and it does not end before they have run."""
    node = stage.start()
    path = stage.directory / "runs"
    with stage.client() as mesh:
        for _ in range(20):
            mesh.delay(work.note, str(path), 0.03)
    node.send(signal.SIGTERM)
    assert node.wait(10) == 0
    assert len(path.read_text().split()) == 20


def test_a_second_signal_stops_a_node_at_once(stage: Stage) -> None:
    """The first Ctrl-C lets a long task go on, the second ends the node and its worker."""
    node = stage.start()
    mesh = stage.client()
    future = mesh.submit(work.nap, 60.0)
    wait_until(future.running)
    node.send(signal.SIGINT)
    node.until_logged("draining")
    node.send(signal.SIGINT)
    assert node.wait(3) != 0
    wait_until(lambda: not stage.processes(), 1.0, "no process of the node is left")


def test_a_node_may_be_restarted_at_the_same_port(stage: Stage) -> None:
    """A client goes on with the new node, though it came within the old one's verdict."""
    first = stage.start()
    mesh = stage.client(peers=[first.address])
    assert mesh.submit(work.where).result(timeout=10) == "a"
    port = first.address.rpartition(":")[2]
    futures = [mesh.submit(work.where, 0.02) for _ in range(50)]
    futures[2].result(timeout=10)
    first.kill()
    stage.start(port=port)
    counts = labels([future.result(timeout=20) for future in futures])
    assert counts["b"] > 5
