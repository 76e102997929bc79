"""Time limits, the number of slots, and control commands of users, at real nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import limited
import pytest
import steered
import work
from mesh_harness import Stage, wait_until

from meshq import Mesh, SoftTimeLimitExceeded, TimeLimitExceeded

LONG_S = 60.0


@pytest.fixture(scope="module")
def shared(make_stage: Callable[..., Stage]) -> Stage:
    """A mesh of one node with two slots, for all tests of this module that leave it as it was."""
    made = make_stage()
    made.start("limited", "work", "operating", slots=2)
    return made


@pytest.fixture
def mesh(shared: Stage) -> Iterator[Mesh]:
    """A client of it."""
    with shared.lent() as made:
        yield made


@pytest.fixture
def pids(tmp_path: Path) -> str:
    """Where a task leaves the numbers of its processes."""
    return str(tmp_path / "pids")


# ---------------------------------------------------------------------- soft


@pytest.mark.parametrize("function", [limited.sleeps, limited.burns, limited.awaits, limited.waits_for_another])
def test_a_task_is_told_of_its_soft_limit_and_may_clean_up(mesh: Mesh, function: Any) -> None:
    """Whether it sleeps, computes, awaits, or waits for another task; its value is its result."""
    began_at = time.monotonic()
    assert mesh.submit(function, LONG_S).result(timeout=20) == "told"
    assert time.monotonic() - began_at < 10
    assert mesh.submit(function, 0.0).result(timeout=20) != "told"


def test_a_task_that_does_not_catch_it_fails_with_it(mesh: Mesh, shared: Stage) -> None:
    """The caller gets the same type, and the worker stays."""
    workers = shared.nodes[0].workers()
    with pytest.raises(SoftTimeLimitExceeded):
        mesh.submit(limited.never_minds, LONG_S).result(timeout=20)
    assert shared.nodes[0].workers() == workers


def test_a_map_in_chunks_has_its_limit_for_each_chunk(mesh: Mesh) -> None:
    """The call that it comes to fails; those after it in the chunk are made."""
    results = list(mesh.map(limited.sleeps, [0.0, LONG_S, 0.0], chunksize=3, timeout=20))
    assert results == ["slept", "told", "slept"]


# ---------------------------------------------------------------------- hard


def test_a_task_past_its_hard_limit_is_ended_with_its_worker(mesh: Mesh, shared: Stage, pids: str) -> None:
    """Once, with words for it; what runs beside it goes on, and the worker is replaced."""
    node = shared.nodes[0]
    count = len(node.workers())
    beside = mesh.submit(work.pid, 1.5)
    future = mesh.submit(limited.will_not_go, pids)
    with pytest.raises(TimeLimitExceeded) as caught:
        future.result(timeout=20)
    assert "limited.will_not_go ran past its time limit of 0.6 s, and its worker was killed" in str(caught.value)
    (killed,) = map(int, Path(pids).read_text().split())
    wait_until(
        lambda: len(node.workers()) == count and killed not in node.workers(), what="the worker is replaced"
    )
    assert beside.result(timeout=20) in node.workers()
    assert mesh.submit(work.add, 1, 2).result(timeout=20) == 3


def test_a_detached_task_past_its_hard_limit_says_so_too(mesh: Mesh, pids: str) -> None:
    """The node that owns it does not try it again."""
    result = mesh.submit_detached("limited.will_not_go", (pids,), {}, limited.will_not_go.settings)
    with pytest.raises(TimeLimitExceeded, match=r"time limit of 0\.6 s"):
        result.get(timeout=20)
    assert len(Path(pids).read_text().split()) == 1
    assert result.state == "FAILURE"


def test_a_call_may_have_limits_of_its_own(mesh: Mesh, pids: str) -> None:
    """A shorter one, a longer one, or none; where the function has none, too."""
    with pytest.raises(TimeLimitExceeded, match=r"limit of 0\.3 s"):
        mesh.submit(limited.will_not_go.options(time_limit=0.3), pids).result(timeout=20)
    assert mesh.submit(limited.sleeps.options(soft_time_limit=5.0), 0.6).result(timeout=20) == "slept"
    assert mesh.submit(limited.sleeps.options(soft_time_limit=None), 0.6).result(timeout=20) == "slept"
    with pytest.raises(TimeLimitExceeded, match=r"work\.nap ran past its time limit of 0\.2 s"):
        mesh.submit(work.nap.options(time_limit=0.2), LONG_S).result(timeout=20)


def test_a_function_that_is_called_by_name_has_its_declared_limits(mesh: Mesh) -> None:
    """The node knows them; the caller need not."""
    assert mesh.submit("limited.sleeps", LONG_S).result(timeout=20) == "told"


def test_a_limit_set_by_command_acts_on_what_is_queued(stage: Stage) -> None:
    """What runs already is left alone."""
    stage.start(slots=1)
    mesh = stage.client()
    first = mesh.submit(work.nap, 1.0, "first")
    wait_until(lambda: first.running(), what="it runs")
    second = mesh.submit(work.nap, LONG_S, "second")
    (reply,) = mesh.control.time_limit("work.nap", hard=0.3, reply=True)
    assert "ok" in next(iter(reply.values()))
    assert first.result(timeout=20) == "first"
    with pytest.raises(TimeLimitExceeded):
        second.result(timeout=20)


# ---------------------------------------------------------------------- results that nobody wants


def test_an_ignored_result_is_none(mesh: Mesh) -> None:
    """Failures are told all the same."""
    assert mesh.submit(limited.keeps_to_itself, 7).result(timeout=20) is None
    assert mesh.submit(work.add.options(ignore_result=True), 1, 2).result(timeout=20) is None
    assert mesh.submit(limited.keeps_to_itself.options(ignore_result=False), 7).result(timeout=20) == 7
    assert list(mesh.map(limited.keeps_to_itself, range(4), chunksize=2)) == [None] * 4
    with pytest.raises(ValueError, match="negative"):
        mesh.submit(limited.keeps_to_itself, -1).result(timeout=20)


# ---------------------------------------------------------------------- the number of slots


def test_a_node_gets_more_slots_and_fewer_while_it_works(stage: Stage) -> None:
    """All clients see how many there are; what runs in a slot that is given up ends in peace."""
    node = stage.start(slots=1)
    mesh, other = stage.client(), stage.client()
    naps = [mesh.submit(work.pid, 0.8) for _ in range(3)]
    began_at = time.monotonic()
    assert mesh.control.pool_resize(3, reply=True)[0] == {node.name: {"ok": "3 slots", "slots": 3}}
    for client in (mesh, other):
        wait_until(lambda client=client: client.nodes()[0].slots == 3, what="the clients hear of it")
    assert len({nap.result(timeout=20) for nap in naps}) == 3, "three at a time"
    assert time.monotonic() - began_at < 2.3
    busy = [mesh.submit(work.pid, 0.8) for _ in range(3)]
    wait_until(lambda: all(future.running() for future in busy), what="all run")
    mesh.control.pool_resize(1)
    wait_until(lambda: mesh.nodes()[0].slots == 1, what="the client hears of it")
    assert len({future.result(timeout=20) for future in busy}) == 3
    wait_until(lambda: len(node.workers()) == 1, what="the surplus workers end")
    assert sorted(mesh.map(work.add, range(50), range(50))) == [2 * n for n in range(50)]
    assert mesh.control.ping()[0][node.name]["slots"] == 1


def test_detached_tasks_use_new_slots_too(stage: Stage) -> None:
    """The node's own owner knows of them."""
    stage.start(slots=1)
    mesh = stage.client()
    assert mesh.control.pool_resize(4, reply=True)
    plain = work.pid.settings
    results = [mesh.submit_detached("work.pid", (0.5,), {}, plain) for _ in range(8)]
    assert len({result.get(timeout=20) for result in results}) == 4


def test_a_node_that_drains_cannot_be_resized(stage: Stage) -> None:
    """It says why not; nor can any node have no slots."""
    node = stage.start("steered", slots=1)
    mesh = stage.client()
    busy = mesh.submit(steered.hold, str(stage.directory / "gate"))
    wait_until(lambda: busy.running(), what="it runs")
    (refused,) = mesh.control.broadcast("pool_resize", {"n": 0}, reply=True)
    assert "1 to 1024" in refused[node.name]["error"]
    mesh.control.drain(reply=True)
    (refused,) = mesh.control.pool_resize(2, reply=True)
    assert "draining" in refused[node.name]["error"]
    (stage.directory / "gate").touch()
    assert busy.result(timeout=20) is None


# ---------------------------------------------------------------------- control commands of users


def test_a_user_command_runs_in_a_process_of_its_own(mesh: Mesh, shared: Stage) -> None:
    """Neither in the node nor in a worker; always the same one, with the arguments of the broadcast."""
    node = shared.nodes[0]
    replies = mesh.control.broadcast("tell", {"level": 3, "names": ["a"]}, reply=True, timeout=20)
    value = replies[0][node.name]["ok"]
    assert value == {"pid": value["pid"], "level": 3, "names": ["a"]}
    assert value["pid"] not in {node.pid, os.getpid(), *mesh.map(work.pid, [0.1, 0.1])}
    again = mesh.control.broadcast("tell", {}, reply=True, timeout=20)
    assert again[0][node.name] == {"ok": {"pid": value["pid"]}}


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("fails", {}, "LookupError: nothing there"),
        ("tell_me", {}, "there is no control command 'tell_me'"),
        ("hang", {"now": 1}, "TypeError"),
        ("strange", {}, "plain data"),
    ],
)
def test_what_goes_wrong_with_a_user_command_is_its_reply(
    mesh: Mesh, name: str, arguments: dict[str, Any], text: str
) -> None:
    """An unknown one lists those that there are."""
    (reply,) = mesh.control.broadcast(name, arguments, reply=True, timeout=20)
    error = next(iter(reply.values()))["error"]
    assert text in error
    assert name != "tell_me" or ("ping" in error and "strange" in error)


def test_a_user_command_that_hangs_is_killed_in_time_to_say_so(mesh: Mesh, shared: Stage) -> None:
    """The node answers, and the next command finds a new process."""
    (reply,) = mesh.control.broadcast("hang", reply=True, timeout=2.0)
    assert "was killed" in reply[shared.nodes[0].name]["error"]
    (reply,) = mesh.control.broadcast("tell", reply=True, timeout=20)
    assert "ok" in reply[shared.nodes[0].name]


def test_a_command_with_a_name_that_is_taken_keeps_the_node_from_starting(stage: Stage, tmp_path: Path) -> None:
    """The error is that of the module, with the name."""
    (tmp_path / "taken.py").write_text("from meshq import control_command\n@control_command\ndef ping(): ...\n")
    stage.env["PYTHONPATH"] += f":{tmp_path}"
    node = stage.start("taken", ready=False)
    assert node.wait() == 2
    assert "every node has a command 'ping'" in node.text()
