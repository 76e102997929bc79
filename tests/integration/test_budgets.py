"""Budgets: what nodes and clients hold in bytes has an end, and one client's excess is not the others' trouble."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait
from typing import Any

import pytest
import work
from load_harness import Silent, SlowLine, flood, rate
from mesh_harness import Stage, wait_until

from meshq import Future, Mesh, QueueFull

MB = 1_000_000


def test_a_flood_stays_within_the_budgets(stage: Stage) -> None:
    """30,000 tasks of 10 KB through 32 MB here and 64 MB there: neither grows by much more, and none is lost."""
    node = stage.start(slots=2, hold="64MB")
    flooded = flood(stage, node, 30_000, 10_000, 32 * MB, timeout=60)
    assert (flooded.ended, flooded.wrong) == (30_000, 0)
    assert 30 * MB < flooded.outbox_peak <= 32 * MB
    assert flooded.client_grew <= (32 + 64) * MB
    assert flooded.node_grew <= (64 + 64) * MB


def test_a_node_that_is_full_has_the_rest_wait(stage: Stage) -> None:
    """Arguments that are many times what the node holds all get there; two clients share what there is."""
    stage.start(slots=1, hold="2MB")
    clients = [stage.client(), stage.client()]
    futures = [mesh.submit(work.size_of, bytes(400_000)) for mesh in clients for _ in range(15)]
    assert [future.result(20) for future in futures] == [400_000] * 30
    assert clients[0].submit(work.size_of, bytes(10 * MB)).result(20) == 10 * MB


def test_what_does_not_fit_here_goes_elsewhere(stage: Stage) -> None:
    """A node whose budget is used up by long tasks gets no more; the other one is free."""
    stage.start(slots=2, hold="1MiB")
    stage.start(slots=2, hold="100MB")
    mesh = stage.client()
    held = [mesh.submit(work.nap, 3.0, bytes(350_000)) for _ in range(2)]
    quick: list[Future[int]] = [mesh.submit(work.size_of, bytes(350_000)) for _ in range(10)]
    assert [future.result(20) for future in quick] == [350_000] * 10
    for future in held:
        future.revoke(terminate=True)
    wait(held, 10)


def test_a_client_that_does_not_read_costs_others_nothing(stage: Stage) -> None:
    """Its results wait within the budget, no more of its tasks start, and it gets all when it reads again."""
    node = stage.start(slots=2, hold="8MB")
    mesh = stage.client()
    rate(mesh, 0.3)
    before = rate(mesh, 0.5)
    silent = Silent(stage, 40, 1_048_576)
    with_it = max(rate(mesh, 0.5) for _ in range(2))
    stats: dict[str, Any] = mesh.control.inspect(timeout=5).stats()[node.name]
    assert stats["counts"]["queued"] > 0, "it should have been passed over"
    assert 1_000_000 < stats["held_bytes"]["results"] < 8_000_000 == stats["held_bytes"]["limit"]
    assert with_it > 0.4 * before
    assert silent.read() == (40, 0)


def test_a_node_behind_a_slow_line_is_not_taken_for_dead(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """PINGs wait behind a large payload for longer than a node may be silent; it says by itself that it lives."""
    node = stage.start(slots=1)
    monkeypatch.setenv("MESHQ_MDNS", "0")  # which would find a way around
    line = SlowLine(node.address, 4 * MB)
    try:
        mesh = stage.client(peers=[line.address])
        future = mesh.submit(work.size_of, bytes(14 * MB))
        states: set[str] = set()

        def look() -> bool:
            states.update({each.state for each in mesh.nodes()} or {"none"})
            return future.done()

        wait_until(look, 30.0)
        assert (future.result(), states) == (14 * MB, {"alive"})
        mesh.close()
    finally:
        line.close()


def test_submit_waits_for_room_in_the_outbox(stage: Stage) -> None:
    """With no node there yet; as soon as tasks end it goes on. ``map`` waits too."""
    mesh = stage.client(outbox_bytes="1MB")
    futures = [mesh.submit(work.size_of, bytes(300_000)) for _ in range(3)]
    more: list[Future[int]] = []
    thread = threading.Thread(target=lambda: more.append(mesh.submit(work.size_of, bytes(300_000))))
    thread.start()
    time.sleep(0.2)
    assert more == []
    stage.start(slots=1)
    thread.join(20)
    assert [future.result(20) for future in (*futures, *more)] == [300_000] * 4
    assert list(mesh.map(work.size_of, [bytes(300_000)] * 10)) == [300_000] * 10
    wait_until(lambda: mesh._books.bytes == 0)


@pytest.mark.parametrize("ordered", [True, False])
def test_map_takes_as_many_at_a_time_as_there_is_room_for(stage: Stage, ordered: bool) -> None:
    """Also where submissions do not wait; what has no room beside others' tasks raises ``QueueFull``."""
    stage.start(slots=2)
    mesh: Mesh = stage.client(outbox_bytes=1_000_000, block=False)
    items = [bytes(300_000)] * 10
    assert list(mesh.map(work.size_of, items, ordered=ordered)) == [300_000] * 10
    assert list(mesh.map(work.size_of, items, ordered=ordered, chunksize=2)) == [300_000] * 10
    assert list(mesh.map(work.size_of, [bytes(5 * MB)], ordered=ordered)) == [5 * MB]
    slow = mesh.submit(work.nap, 30.0, bytes(900_000))
    with pytest.raises(QueueFull):
        mesh.map(work.size_of, items)
    slow.revoke(terminate=True)
