"""``inspect`` of real nodes: what each method shows, and in which shape."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import steered
import work
from mesh_harness import Stage, wait_until

import meshq
from meshq import Mesh


@pytest.fixture
def mesh(pair: Stage) -> Iterator[Mesh]:
    """A client of both."""
    made = pair.client()
    yield made
    made.close(cancel=True)


@pytest.fixture
def busy(mesh: Mesh, tmp_path: Path) -> Iterator[list[str]]:
    """Both slots running a task until the end of the test; return the tasks' ids."""
    end = tmp_path / "end"
    futures = [mesh.submit(steered.hold, str(end)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in futures))
    yield [future.task_id for future in futures]
    end.touch()
    for future in futures:
        future.result(timeout=10)


def names(pair: Stage) -> set[str]:
    """Return NAME@HOST of both nodes."""
    return {node.name for node in pair.nodes}


def rows_of(inspected: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of all nodes."""
    return [row for rows in inspected.values() for row in rows]


def test_active_shows_what_runs(mesh: Mesh, pair: Stage, busy: list[str], tmp_path: Path) -> None:
    """One row for each running task, on the node that runs it."""
    begin = time.monotonic()
    active = mesh.control.inspect(timeout=10).active()
    assert time.monotonic() - begin < 3
    assert set(active) == names(pair)
    assert active.missing == {}
    assert sorted(row["id"] for row in rows_of(active)) == sorted(busy)
    for node in pair.nodes:
        (row,) = active[node.name]
        assert row["name"] == "steered.hold"
        assert (row["args"], row["kwargs"]) == ([repr(str(tmp_path / "end"))[:120]], {})
        assert (row["attempt"], row["priority"], row["slot"]) == (1, 5, 0)
        assert 0 <= row["started_s"] < 30
        assert row["pid"] in node.workers()
        assert row["client"].startswith(f"pid {os.getpid()} on ")


def test_reserved_shows_what_waits_for_a_slot(mesh: Mesh, pair: Stage, busy: list[str]) -> None:
    """With its arguments as text, cut where they are long; waiting takes no time and no process."""
    future = mesh.submit(work.show, 1, "x" * 500, key={"a": (1, 2)})
    rows = wait_until(lambda: rows_of(mesh.control.inspect().reserved()))
    (row,) = rows
    assert (row["id"], row["name"], row["kwargs"]) == (future.task_id, "work.show", {"key": "{'a': (1, 2)}"})
    assert row["args"][0] == "1"
    assert len(row["args"][1]) == 120
    assert not {"pid", "slot", "started_s", "eta_s"} & set(row)
    assert future.cancel()
    assert rows_of(mesh.control.inspect().reserved()) == []


def test_scheduled_shows_what_waits_for_its_time(mesh: Mesh, pair: Stage) -> None:
    """With the seconds that are left, and why it waits."""
    future = mesh.submit(work.add.options(countdown=60), 1, 2)
    (row,) = wait_until(lambda: rows_of(mesh.control.inspect().scheduled()))
    assert (row["id"], row["name"], row["args"], row["reason"]) == (
        future.task_id,
        "work.add",
        ["1", "2"],
        "countdown",
    )
    assert 50 < row["eta_s"] <= 60
    found = mesh.control.inspect().query_task(future.task_id)
    assert [said[future.task_id][0] for said in found.values() if said] == ["scheduled"]
    assert future.cancel()
    assert rows_of(mesh.control.inspect().scheduled()) == []


def test_idle_nodes_have_empty_lists(mesh: Mesh, pair: Stage) -> None:
    """Every node is in the dict, whatever it holds."""
    inspect = mesh.control.inspect()
    assert inspect.active() == inspect.reserved() == inspect.scheduled() == {name: [] for name in names(pair)}


def test_long_lists_end_with_how_many_more_there_are(stage: Stage) -> None:
    """A node that holds thousands of tasks still answers at once."""
    stage.start("work", "steered")
    mesh = stage.client()
    end = stage.directory / "end"
    mesh.submit(work.nap, 0.001).result(timeout=10)
    blocker = mesh.submit(steered.hold, str(end))
    wait_until(blocker.running)
    for number in range(1500):
        mesh.delay(work.echo, number)
    mesh.wait_accepted(10)
    (rows,) = mesh.control.inspect(timeout=5).reserved().values()
    assert len(rows) == 1001
    assert rows[-1] == {"more": 500}
    mesh.control.purge()
    end.touch()
    blocker.result(timeout=10)


def test_a_task_is_found_by_its_id(mesh: Mesh, pair: Stage, busy: list[str]) -> None:
    """Running, waiting and finished ones; an id that nobody knows is in no node's answer."""
    waiting = mesh.submit(work.add, 1, 2)
    stranger = str(uuid.uuid4())
    wait_until(lambda: rows_of(mesh.control.inspect().reserved()))
    found = mesh.control.inspect().query_task(busy[0], [waiting.task_id, stranger])
    assert set(found) == names(pair)
    merged = {task: said for answers in found.values() for task, said in answers.items()}
    assert set(merged) == {busy[0], waiting.task_id}
    assert merged[busy[0]][0] == "active"
    assert merged[busy[0]][1]["name"] == "steered.hold"
    assert merged[waiting.task_id][0] == "reserved"
    assert waiting.cancel()


def test_a_finished_task_is_found_as_long_as_its_state_is_kept(mesh: Mesh, pair: Stage) -> None:
    """On the node that ran it, with how it ended."""
    done, failed = mesh.submit(work.add, 1, 2), mesh.submit(work.fail, "no")
    assert done.result(timeout=10) == 3
    assert failed.exception(timeout=10) is not None
    found = mesh.control.inspect().query_task(done.task_id, failed.task_id)
    merged = {task: said for answers in found.values() for task, said in answers.items()}
    assert merged[done.task_id][0] == merged[failed.task_id][0] == "finished"
    assert merged[done.task_id][1]["state"] == "DONE"
    assert merged[failed.task_id][1]["state"] == "FAILURE"


def test_registered_lists_functions_with_the_limits_in_force(mesh: Mesh, pair: Stage) -> None:
    """Those that they declare, until a command sets others."""
    registered = mesh.control.inspect().registered()
    assert set(registered) == names(pair)
    for functions in registered.values():
        assert functions == sorted(functions)
        assert "work.add" in functions
        assert "steered.limited [rate_limit=10/s time_limit=30.0 soft_time_limit=20.0]" in functions
    mesh.control.rate_limit("steered.limited", "100/m", destination=["east"], reply=True)
    mesh.control.time_limit("steered.limited", hard=5, destination=["east"], reply=True)
    registered = mesh.control.inspect().registered()
    east, west = (registered[node.name] for node in pair.nodes)
    assert "steered.limited [rate_limit=100/m time_limit=5.0]" in east
    assert "steered.limited [rate_limit=10/s time_limit=30.0 soft_time_limit=20.0]" in west
    assert mesh.control.inspect().stats()[pair.nodes[0].name]["rate_limits"] == {"steered.limited": "100/m"}


def totals_of(stats: dict[str, Any]) -> list[int]:
    """Return the runs and failures of two functions, on all nodes together."""
    totals = [said["totals"] for said in stats.values()]
    functions, counts = ("work.fail", "work.echo"), ("runs", "failed")
    return [sum(total.get(f, {}).get(count, 0) for total in totals) for f in functions for count in counts]


def test_stats_are_the_figures_of_a_node(mesh: Mesh, pair: Stage) -> None:
    """Version, process, sizes, workers, and how many runs of each function there were."""
    before = totals_of(mesh.control.inspect().stats())
    for _ in range(4):
        mesh.submit(work.fail, "no").exception(timeout=10)
        mesh.submit(work.echo, 1).result(timeout=10)
    stats = mesh.control.inspect().stats()
    for node in pair.nodes:
        said = stats[node.name]
        assert (said["version"], said["pid"], said["slots"]) == (meshq.__version__, node.pid, 1)
        assert said["host"] == node.name.partition("@")[2]
        assert 0 < said["uptime_s"] < 600
        assert said["rss_bytes"] > 5e6
        assert said["cpu_s"] > 0
        (worker,) = said["workers"]
        assert worker["pid"] in node.workers()
        assert worker["rss_bytes"] > 5e6
        assert said["counts"]["queued"] == 0
        assert said["clients"] >= 1
        assert said["peers"] == [name for name in names(pair) if name != node.name]
    after = totals_of(stats)
    assert [now - then for now, then in zip(after, before, strict=True)] == [4, 4, 4, 0]


def test_revoked_lists_the_ids_that_nodes_refuse(mesh: Mesh, pair: Stage) -> None:
    """The latest first."""
    first, last = str(uuid.uuid4()), str(uuid.uuid4())
    for task in (first, last):
        mesh.control.revoke(task, reply=True)
    for ids in mesh.control.inspect().revoked().values():
        assert ids[:2] == [last, first]


def test_conf_has_all_settings_and_no_secret(mesh: Mesh, pair: Stage) -> None:
    """With where each comes from that is not at its default."""
    conf = mesh.control.inspect().conf()[pair.nodes[0].name]
    assert (conf["mesh"], conf["name"], conf["slots"], conf["key"]) == (pair.mesh, "east", 1, None)
    assert conf["modules"] == ["work", "steered"]
    assert "mesh" in conf["origins"]


def test_a_report_is_a_text(mesh: Mesh, pair: Stage) -> None:
    """In lines, to be pasted into an issue."""
    report = mesh.control.inspect().report()
    for node in pair.nodes:
        assert f"node {node.name} of mesh {pair.mesh} at {node.address}" in report[node.name]["ok"]


def test_inspect_takes_the_keywords_of_all_commands(mesh: Mesh, pair: Stage, stage: Stage) -> None:
    """Whom to ask, through which mesh, and when it is enough."""
    east = pair.nodes[0].name
    assert set(mesh.control.inspect(["east"]).ping()) == {east}
    assert set(mesh.control.inspect([east]).active()) == {east}
    assert set(mesh.control.inspect(pattern="e*").stats()) == {east}
    assert len(mesh.control.inspect(limit=1).conf()) == 1
    assert set(stage.client().control.inspect(connection=mesh).revoked()) == names(pair)
    seen: list[dict[str, Any]] = []
    assert mesh.control.inspect(callback=seen.append).ping()[east]["ok"] == "pong"
    assert sorted(name for reply in seen for name in reply) == sorted(names(pair))


def test_nobody_asked_is_an_empty_answer_with_who_is_missing(mesh: Mesh) -> None:
    """Never None."""
    active = mesh.control.inspect(["nope"], timeout=0.5).active()
    assert active == {}
    assert active.missing == {"nope": "no node of that name was found"}


def test_a_frozen_node_is_missing_and_the_others_are_there(mesh: Mesh, pair: Stage) -> None:
    """At the timeout, with the reason."""
    west = pair.nodes[1]
    west.freeze()
    try:
        begin = time.monotonic()
        stats = mesh.control.inspect(timeout=1.0).stats()
        assert 0.9 < time.monotonic() - begin < 2.5
        assert set(stats) == {pair.nodes[0].name}
        assert set(stats.missing) == {west.name}
    finally:
        west.thaw()
