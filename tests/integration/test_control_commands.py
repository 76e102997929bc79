"""The commands that change what real nodes do, each with its keywords and its errors."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
import steered
import work
from mesh_harness import NodeProcess, Process, Stage, wait_until

from meshq import ConfigError, Mesh, SoftTimeLimitExceeded, TaskRevoked, TimeLimitExceeded
from meshq.control.replies import Replies


@pytest.fixture
def mesh(pair: Stage) -> Iterator[Mesh]:
    """A client of both."""
    made = pair.client()
    yield made
    made.close(cancel=True)


def names(pair: Stage) -> set[str]:
    """Return NAME@HOST of both nodes."""
    return {node.name for node in pair.nodes}


def said(replies: Replies | None) -> set[str]:
    """Return the different things that nodes say, errors as such."""
    assert replies is not None
    assert replies.missing == {}
    return {str(value.get("ok", f"error: {value.get('error')}")) for value in replies.by_node().values()}


# ------------------------------------------------------------------ limits


def test_a_rate_limit_acts_on_what_is_queued_already(stage: Stage) -> None:
    """Tasks that wait for a slot run at the new rate, and at full speed again once it is lifted."""
    node = stage.start("work", "steered")
    mesh, path, end = stage.client(), stage.directory / "stamps", stage.directory / "end"
    blocker = mesh.submit(steered.hold, str(end))
    wait_until(blocker.running)
    futures = [mesh.submit(steered.stamp, str(path)) for _ in range(40)]
    wait_until(lambda: mesh.control.ping().by_node()[node.name]["queued"])
    assert said(mesh.control.rate_limit(steered.stamp, "5/s", reply=True)) == {
        "rate limit of steered.stamp is 5/s here"
    }
    end.touch()
    blocker.result(timeout=10)
    wait(futures[:5], timeout=10)
    times = sorted(steered.stamps(path))
    assert times[4] - times[0] > 4 * 0.2 * 0.8
    rows = mesh.control.inspect().scheduled()[node.name]
    assert {row["reason"] for row in rows} == {"rate limit"}
    assert said(mesh.control.rate_limit("steered.stamp", 0, reply=True)) == {
        "rate limit of steered.stamp is lifted here"
    }
    lifted_at = time.monotonic()
    wait(futures, timeout=10)
    assert all(future.done() for future in futures)
    assert time.monotonic() - lifted_at < 4


def test_a_rate_limit_holds_from_the_first_task_on(mesh: Mesh, pair: Stage, tmp_path: Path) -> None:
    """At each node for itself; numbers and texts mean the same."""
    assert said(mesh.control.rate_limit("steered:stamp", 10, reply=True)) == {
        "rate limit of steered.stamp is 10/s here"
    }
    try:
        begin = time.monotonic()
        for future in [mesh.submit(steered.stamp, str(tmp_path / "stamps")) for _ in range(20)]:
            future.result(timeout=20)
        assert time.monotonic() - begin > 0.7  # two nodes, 10 a second each, the first of each at once
    finally:
        mesh.control.rate_limit("steered.stamp", 0, reply=True)


@pytest.mark.parametrize(
    ("limits", "error"), [({"hard": 0.5}, TimeLimitExceeded), ({"soft": 0.5, "hard": 30}, SoftTimeLimitExceeded)]
)
def test_a_time_limit_acts_on_what_is_queued_already(
    stage: Stage, limits: dict[str, float], error: type[Exception]
) -> None:
    """Tasks that wait for a slot are ended by it; the one that runs is not."""
    stage.start("work", "steered")
    mesh, end = stage.client(), stage.directory / "end"
    blocker = mesh.submit(steered.hold, str(end))
    wait_until(blocker.running)
    victims = [mesh.submit(work.nap, 30.0), mesh.submit(work.nap, 0.0)]
    (text,) = said(mesh.control.time_limit(work.nap, reply=True, **limits))
    assert text.startswith("time limits of work.nap are")
    end.touch()
    begin = time.monotonic()
    with pytest.raises(error):
        victims[0].result(timeout=15)
    assert 0.4 < time.monotonic() - begin < 10
    assert victims[1].result(timeout=15) is None
    assert said(mesh.control.time_limit("work.nap", reply=True)) == {"time limits of work.nap are lifted here"}
    assert mesh.submit(work.nap, 0.8, "slept").result(timeout=15) == "slept"


def test_a_task_can_clean_up_when_its_soft_limit_is_over(mesh: Mesh, pair: Stage) -> None:
    """It is raised inside the task, which may go on."""
    mesh.control.time_limit("steered.patient", soft=0.3, reply=True)
    try:
        assert mesh.submit(steered.patient, 20.0).result(timeout=15) == "told"
    finally:
        mesh.control.time_limit("steered.patient", reply=True)


# ------------------------------------------------------------------ drain, shutdown, slots


def two(stage: Stage) -> tuple[NodeProcess, NodeProcess]:
    """Start two nodes."""
    first, second = stage.start("work", "steered", ready=False), stage.start("work", "steered")
    return first.until_ready(), second


def test_a_drained_node_finishes_and_stays(stage: Stage) -> None:
    """What runs ends there, what waits runs elsewhere, as does all that is new; a shutdown then ends it."""
    first, second = two(stage)
    mesh, end = stage.client(), stage.directory / "end"
    running = [mesh.submit(steered.hold, str(end)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    waiting = [mesh.submit(work.where) for _ in range(6)]
    assert said(mesh.control.drain(destination=[first.name], reply=True)) == {"draining"}
    wait_until(lambda: mesh.control.ping().by_node()[first.name]["draining"])
    assert not mesh.control.ping().by_node()[second.name]["draining"]
    end.touch()
    assert {future.result(timeout=10) for future in waiting} == {second.label}
    assert [future.result(timeout=10) for future in running] == [None, None]
    wait_until(lambda: mesh.control.ping().by_node()[first.name]["running"] == 0)
    assert {mesh.submit(work.where).result(timeout=10) for _ in range(10)} == {second.label}
    assert first.is_running()
    with Mesh(stage.mesh) as cold:
        assert first.name in cold.control.ping(timeout=5).by_node()  # it can still be found
        assert cold.submit(work.where).result(timeout=10) == second.label
    assert said(mesh.control.shutdown(destination=[first.name], reply=True)) == {"shutting down"}
    assert first.wait(5) == 0


def test_a_drained_node_ends_on_sigterm(stage: Stage) -> None:
    """As it has nothing left to finish."""
    node = stage.start("work")
    mesh = stage.client()
    mesh.control.drain(reply=True)
    wait_until(lambda: mesh.control.ping().by_node()[node.name]["draining"])
    node.send(signal.SIGTERM)
    assert node.wait(5) == 0


def test_a_shutdown_lets_what_runs_finish(stage: Stage) -> None:
    """The reply comes at once, the end with that of the task; the others go on elsewhere."""
    first, second = two(stage)
    mesh, end = stage.client(), stage.directory / "end"
    running = [mesh.submit(steered.hold, str(end)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    replies = mesh.control.shutdown(destination=[first.name.partition("@")[0]], reply=True)
    assert said(replies) == {"shutting down"}
    waiting = [mesh.submit(work.where) for _ in range(4)]
    assert first.is_running()
    end.touch()
    assert first.wait(10) == 0
    assert [future.result(timeout=10) for future in running] == [None, None]
    assert {future.result(timeout=10) for future in waiting} == {second.label}
    wait_until(lambda: len(mesh.nodes()) == 1)
    begin = time.monotonic()
    assert len(mesh.control.ping(timeout=10)) == 1
    assert time.monotonic() - begin < 3


def test_without_reply_the_effect_comes_all_the_same(stage: Stage) -> None:
    """The call returns None, once the command is on its way."""
    node = stage.start("work")
    assert stage.client().control.shutdown() is None
    assert node.wait(5) == 0


def test_slots_are_added_and_taken_away(stage: Stage) -> None:
    """New ones run what waits, at once; surplus ones end after their run."""
    node = stage.start("work", "steered", slots=1)
    mesh, end = stage.client(), stage.directory / "end"
    futures = [mesh.submit(steered.hold, str(end)) for _ in range(3)]
    wait_until(lambda: futures[0].running())
    assert said(mesh.control.pool_resize(3, reply=True)) == {"3 slots"}
    wait_until(lambda: all(future.running() for future in futures))
    assert len(node.workers()) == 3
    assert mesh.control.ping().by_node()[node.name]["slots"] == 3
    assert said(mesh.control.pool_resize(1, reply=True)) == {"1 slot"}
    end.touch()
    assert [future.result(timeout=10) for future in futures] == [None] * 3
    wait_until(lambda: len(node.workers()) == 1)
    assert mesh.control.ping().by_node()[node.name]["slots"] == 1
    assert mesh.submit(work.add, 1, 2).result(timeout=10) == 3


# ------------------------------------------------------------------ terminate


def test_terminate_ends_what_runs_and_drops_what_waits(mesh: Mesh, pair: Stage) -> None:
    """It is ``revoke`` with ``terminate``, by whichever signal."""
    running = [mesh.submit(work.nap, 60.0) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    waiting = mesh.submit(work.nap, 60.0)
    wait_until(lambda: sum(value["queued"] for value in mesh.control.ping().by_node().values()))
    tasks = [future.task_id for future in (*running, waiting)]
    replies = mesh.control.terminate(tasks, signal="KILL", reply=True, timeout=5)
    assert replies is not None
    outcomes = {task: {value["ok"][task] for value in replies.by_node().values()} for task in tasks}
    assert all("terminated" in outcomes[future.task_id] for future in running)
    assert "dropped" in outcomes[waiting.task_id]
    for future in (*running, waiting):
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)


# ------------------------------------------------------------------ purge


CLIENT = """
import sys, time
from meshq import Mesh, TaskRevoked
import steered
from pathlib import Path

mesh = Mesh()
mesh.wait_for_nodes(2, timeout=20)
while not Path(sys.argv[0] + ".go").exists():
    time.sleep(0.01)
futures = [mesh.submit(steered.stamp, {path!r}) for _ in range({count})]
print("submitted", flush=True)
ends = [type(future.exception(timeout=60)).__name__ for future in futures]
print("ends", sorted(set(ends)), len(ends), flush=True)
mesh.close(cancel=True)
"""


def start_clients(stage: Stage, path: Path, count: int) -> list[Process]:
    """Start three clients, each with so many tasks that wait for a slot."""
    clients = [stage.script(CLIENT.format(path=str(path), count=count)) for _ in range(3)]
    for number in range(3):
        (stage.directory / f"script{number}.py.go").touch()
    for client in clients:
        client.until_logged("submitted")
    return clients


def held_of(mesh: Mesh, process: Process) -> int:
    """Return how many tasks of a client wait at nodes."""
    rows = [row for rows in mesh.control.inspect().reserved().values() for row in rows]
    return sum(row["client"].startswith(f"pid {process.pid} on ") for row in rows)


def steady(look: Callable[[], int]) -> int:
    """Return a number once it is the same five times in a row."""
    seen: list[int] = []

    def settled() -> bool:
        seen.append(look())
        return len(seen) >= 5 and len(set(seen[-5:])) == 1

    wait_until(settled)
    return seen[-1]


def test_a_purge_counts_each_task_of_each_client_once(stage: Stage) -> None:
    """Three clients with work at two nodes and at home, one of them frozen: all futures settle as revoked."""
    two(stage)
    mesh, end, path = stage.client(), stage.directory / "end", stage.directory / "stamps"
    blockers = [mesh.submit(steered.hold, str(end)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in blockers))
    count = 200
    *well, frozen = start_clients(stage, path, count)
    own = [mesh.submit(steered.stamp, str(path)) for _ in range(50)]
    wait_until(lambda: all(held_of(mesh, client) for client in (*well, frozen)))
    frozen.send(signal.SIGSTOP)
    at_nodes = steady(lambda: held_of(mesh, frozen))  # what it had said by then has arrived
    assert 0 < at_nodes <= count
    purged = mesh.control.purge(timeout=4.0)
    assert purged == 2 * count + at_nodes + len(own)
    (label,) = purged.missing
    assert label.startswith(f"pid {frozen.pid} on ")
    assert purged.missing[label] == "no reply in time"
    assert len(purged.replies) == 2
    for future in own:
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)
    frozen.send(signal.SIGCONT)
    for client in (*well, frozen):
        client.until_logged(rf"ends \['TaskRevoked'\] {count}")
    end.touch()
    assert [future.result(timeout=10) for future in blockers] == [None, None]
    assert steered.stamps(path) == []
    assert mesh.control.purge() == 0


def test_a_purge_discards_what_is_parked_and_detached(stage: Stage) -> None:
    """Tasks that wait for their time, and those that a node owns, are waiting tasks."""
    stage.start("work", "steered")
    mesh, end = stage.client(), stage.directory / "end"
    blocker = mesh.submit(steered.hold, str(end))
    wait_until(blocker.running)
    parked = [mesh.submit(work.add.options(countdown=60), 1, 2) for _ in range(3)]
    detached = [mesh.delay(work.add, 1, 2) for _ in range(5)]
    mesh.wait_accepted(10)
    wait_until(lambda: sum(map(len, mesh.control.inspect().scheduled().values())) == 3)
    assert mesh.control.purge() == 8
    for future in parked:
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)
    for result in detached:
        with pytest.raises(TaskRevoked):
            result.get(timeout=5)
    assert sum(map(len, mesh.control.inspect().scheduled().values())) == 0
    end.touch()
    blocker.result(timeout=10)
    assert mesh.submit(work.add, 1, 2).result(timeout=10) == 3


def test_a_purge_while_a_node_is_frozen_names_it(stage: Stage) -> None:
    """It returns at its timeout at the latest; what the frozen node holds is revoked when it comes back."""
    first, second = two(stage)
    mesh, end = stage.client(), stage.directory / "end"
    blockers = [mesh.submit(steered.hold, str(end)) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in blockers))
    waiting = [mesh.submit(work.add, 1, 2) for _ in range(50)]
    wait_until(lambda: all(value["queued"] for value in mesh.control.ping().by_node().values()))
    second.freeze()
    try:
        begin = time.monotonic()
        purged = mesh.control.purge()
        assert time.monotonic() - begin < 6
    finally:
        second.thaw()
    assert set(purged.missing) == {second.name}
    assert set(purged.replies.by_node()) == {first.name}
    assert 0 < purged <= 50
    for future in waiting:
        with pytest.raises(TaskRevoked):
            future.result(timeout=10)
    end.touch()
    assert [future.result(timeout=20) for future in blockers] == [None, None]


def test_a_purge_of_idle_nodes_discards_nothing(mesh: Mesh, pair: Stage) -> None:
    """It returns as soon as all have answered, with 0."""
    begin = time.monotonic()
    purged = mesh.control.discard_all(timeout=20)
    assert time.monotonic() - begin < 5
    assert purged == 0
    assert set(purged.replies.by_node()) == names(pair)


# ------------------------------------------------------------------ keywords and errors


COMMANDS: dict[str, Callable[..., Any]] = {
    "rate_limit": lambda control, **asked: control.rate_limit("steered.burn", "5/s", **asked),
    "time_limit": lambda control, **asked: control.time_limit("steered.burn", soft=50, hard=60, **asked),
    "pool_resize": lambda control, **asked: control.pool_resize(1, **asked),
    "revoke": lambda control, **asked: control.revoke(str(uuid.uuid4()), **asked),
    "terminate": lambda control, **asked: control.terminate(str(uuid.uuid4()), **asked),
    "broadcast": lambda control, **asked: control.broadcast("ping", **asked),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_all_commands_take_the_same_keywords(mesh: Mesh, pair: Stage, stage: Stage, name: str) -> None:
    """destination, pattern, reply, timeout, limit, callback and connection."""
    give, control, east = COMMANDS[name], mesh.control, pair.nodes[0].name
    assert give(control) is None
    assert set(give(control, reply=True).by_node()) == names(pair)
    host = east.partition("@")[2]
    for destination in (["east"], [east], ["east", "nope"]):
        assert set(give(control, reply=True, destination=destination).by_node()) == {east}
    assert set(give(control, reply=True, destination=[host]).by_node()) == names(pair)
    assert set(give(control, reply=True, pattern="e*").by_node()) == {east}
    assert len(give(control, reply=True, limit=1)) == 1
    assert give(control, reply=True, destination=["nope"], timeout=0.3).missing == {
        "nope": "no node of that name was found"
    }
    seen: list[Any] = []
    assert give(control, reply=True, callback=seen.append) == seen
    assert len(seen) == 2
    with pytest.raises(LookupError, match="mine"):
        give(control, reply=True, callback=_fail)
    assert set(give(stage.client().control, reply=True, connection=mesh).by_node()) == names(pair)
    for wrong in ({"destination": "east"}, {"timeout": 0}, {"limit": 0}, {"callback": 7}):
        with pytest.raises(ConfigError):
            give(control, reply=True, **wrong)


def _fail(reply: dict[str, Any]) -> None:
    raise LookupError("mine")


@pytest.fixture(autouse=True, scope="module")
def _unlimited(pair: Stage) -> Iterator[None]:
    yield
    with Mesh(pair.mesh) as mesh:
        mesh.control.rate_limit("steered.burn", 0)
        mesh.control.time_limit("steered.burn")


@pytest.mark.parametrize(
    ("command", "arguments", "parts"),
    [
        ("nosuch", {}, ["nosuch", "ping", "rate_limit"]),
        ("rate_limit", {"task_name": "work.nosuch", "rate": 1}, ["work.nosuch", "work.add"]),
        ("rate_limit", {"task_name": "work.add", "rate": "5/x"}, ["5/x", "N/s"]),
        ("rate_limit", {"task_name": "work.add", "rate": -5}, ["-5", "0 or more"]),
        ("rate_limit", {"task_name": "work.add"}, ["needs the argument rate"]),
        ("rate_limit", {"task": "work.add", "rate": 1}, ["'task'", "task_name"]),
        ("time_limit", {"task_name": "work.add", "soft": 3, "hard": 2}, ["soft (3 s)", "hard (2 s)"]),
        ("time_limit", {"task_name": "work.nosuch", "hard": 2}, ["work.nosuch", "work.add"]),
        ("revoke", {"tasks": ["0" * 32], "terminate": True, "signal": "NOSUCH"}, ["NOSUCH", "TERM"]),
        ("revoke", {"tasks": ["what"]}, ["what", "hexadecimal"]),
        ("pool_resize", {"n": 0}, ["1 to 1024"]),
        ("drain", {"stay": True}, ["'stay'", "takes no arguments"]),
        ("purge", {"x": 1}, ["'x'", "takes no arguments"]),
    ],
)
def test_a_node_answers_what_is_wrong(
    mesh: Mesh, pair: Stage, command: str, arguments: dict[str, Any], parts: list[str]
) -> None:
    """Each node says so, and what would be right; it goes on as before."""
    replies = mesh.control.broadcast(command, arguments, reply=True, timeout=5)
    assert replies is not None
    assert set(replies.by_node()) == names(pair)
    for value in replies.by_node().values():
        assert not [part for part in parts if part not in value["error"]], value["error"]


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda control: control.rate_limit("work.add", "5/x"), "5/x"),
        (lambda control: control.rate_limit("work.add", -1), "-1"),
        (lambda control: control.time_limit("work.add", soft=3, hard=2), "soft"),
        (lambda control: control.terminate("0" * 32, signal="NOSUCH"), "NOSUCH"),
        (lambda control: control.pool_resize(0), "1 to 1024"),
        (lambda control: control.purge(destination="east"), r"\['east'\]"),
        (lambda control: control.shutdown(destination="east"), r"\['east'\]"),
        (lambda control: control.inspect(destination="east"), r"\['east'\]"),
    ],
)
def test_what_is_wrong_is_found_before_it_is_sent(mesh: Mesh, give: Callable[[Any], Any], text: str) -> None:
    """As a ``ValueError``; nodes are left in peace."""
    with pytest.raises(ValueError, match=text):
        give(mesh.control)


def test_an_unknown_function_is_an_error_of_each_node(mesh: Mesh, pair: Stage) -> None:
    """The caller need not know all functions; the nodes do."""
    replies = mesh.control.rate_limit("work.nosuch", "1/s", reply=True)
    assert replies is not None
    assert set(replies.by_node()) == names(pair)
    assert all("work.nosuch" in value["error"] for value in replies.by_node().values())


def test_nodes_that_are_busy_answer_all_the_same(mesh: Mesh, pair: Stage) -> None:
    """Whatever their workers do, their own loop is free."""
    burners = [mesh.submit(steered.burn, 1.5) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in burners))
    for give in (mesh.control.ping, mesh.control.inspect().active, mesh.control.inspect().stats):
        assert len(give()) == 2
    assert len(mesh.control.pool_resize(1, reply=True) or ()) == 2
    assert all(future.running() for future in burners)
    for future in burners:
        future.result(timeout=20)


def test_a_frozen_node_is_missing_and_carries_the_command_out_later(mesh: Mesh, pair: Stage) -> None:
    """The reply list has the others at the timeout; nobody takes its silence for success."""
    west = pair.nodes[1]
    assert len(mesh.control.ping()) == 2  # from then on, what is published is on its way to both
    west.freeze()
    try:
        begin = time.monotonic()
        replies = mesh.control.rate_limit("steered.burn", "7/s", reply=True, timeout=1.0)
        assert 0.9 < time.monotonic() - begin < 2.5
        assert replies is not None
        assert set(replies.by_node()) == {pair.nodes[0].name}
        assert replies.missing == {west.name: "no reply in time"}
    finally:
        west.thaw()
    wait_until(lambda: "steered.burn [rate_limit=7/s" in str(mesh.control.inspect().registered().get(west.name)))


def test_without_any_node_nothing_fails(stage: Stage) -> None:
    """Replies are empty, never None; a purge discards what waits for a first node."""
    mesh = stage.client(0)
    futures = [mesh.submit("work.add", 1, 2) for _ in range(3)]
    control = mesh.control
    assert control.ping(timeout=0.2) == []
    assert control.rate_limit("work.add", 1, reply=True, timeout=0.2) == []
    assert control.shutdown(timeout=0.2) is None
    assert control.inspect(timeout=0.2).active() == {}
    assert control.purge(timeout=0.5) == 3
    for future in futures:
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)
