"""Control commands to real nodes: who is asked, who answers, who is missing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import work
from mesh_harness import NodeProcess, Stage, wait_until

from meshq import ConfigError, Mesh, TaskRevoked
from meshq.control.lanes import ControlLanes
from meshq.protocol.messages import Command


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two nodes of a slot each, named east and west."""
    stage = Stage(tmp_path_factory.mktemp("pair"))
    stage.start(name="east", ready=False)
    stage.start(name="west")
    stage.nodes[0].until_ready()
    yield stage
    stage.close()


@pytest.fixture
def mesh(pair: Stage) -> Iterator[Mesh]:
    """A client of both."""
    made = pair.client()
    yield made
    made.close(cancel=True)


@pytest.fixture
def frozen(pair: Stage) -> Iterator[NodeProcess]:
    """The node west, frozen."""
    pair.nodes[1].freeze()
    yield pair.nodes[1]
    pair.nodes[1].thaw()


def names(pair: Stage) -> set[str]:
    """Return NAME@HOST of both nodes."""
    return {node.name for node in pair.nodes}


def test_all_nodes_answer_a_ping(mesh: Mesh, pair: Stage) -> None:
    """Each with pong, its slots and its counts; the call ends with the last answer, long before its timeout."""
    begin = time.monotonic()
    replies = mesh.control.ping(timeout=10)
    assert time.monotonic() - begin < 3
    assert {name for reply in replies for name in reply} == names(pair)
    assert len(replies) == 2
    assert replies.missing == {}
    for value in replies.by_node().values():
        assert value["ok"] == "pong"
        assert (value["slots"], value["queued"], value["running"]) == (1, 0, 0)


def test_a_ping_right_after_the_start_of_a_client_finds_all_nodes(pair: Stage) -> None:
    """Nobody has to wait for nodes before giving a command."""
    with Mesh(pair.mesh) as mesh:
        assert set(mesh.control.ping(timeout=5).by_node()) == names(pair)


def test_pings_in_a_row_are_quick(mesh: Mesh) -> None:
    """Once the lanes are open, a ping takes a round trip."""
    mesh.control.ping()
    begin = time.monotonic()
    for _ in range(20):
        assert len(mesh.control.ping()) == 2
    assert time.monotonic() - begin < 3


def test_a_destination_is_a_list_of_names_hosts_or_both(mesh: Mesh, pair: Stage) -> None:
    """NAME, HOST and NAME@HOST are understood; the empty list means all."""
    east = pair.nodes[0].name
    host = east.partition("@")[2]
    assert set(mesh.control.ping(["east"]).by_node()) == {east}
    assert set(mesh.control.ping([east]).by_node()) == {east}
    assert set(mesh.control.ping([host]).by_node()) == names(pair)
    assert set(mesh.control.ping(["east", "west"]).by_node()) == names(pair)
    assert set(mesh.control.ping([]).by_node()) == names(pair)


def test_a_destination_that_nobody_has_gets_no_answer(mesh: Mesh) -> None:
    """The list of replies is empty, not None."""
    assert mesh.control.ping(["nobody"], timeout=0.5) == []


def test_a_pattern_is_a_glob(mesh: Mesh, pair: Stage) -> None:
    """It is matched against NAME@HOST and NAME."""
    assert set(mesh.control.ping(pattern="e*").by_node()) == {pair.nodes[0].name}
    assert set(mesh.control.ping(pattern="*st@*").by_node()) == names(pair)


def test_a_ping_takes_reply_as_all_commands_do(mesh: Mesh) -> None:
    """It is true unless said otherwise."""
    assert len(mesh.control.ping(reply=True)) == 2
    assert mesh.control.ping(reply=False) is None


def test_a_limit_ends_the_call_early(mesh: Mesh) -> None:
    """After so many replies it returns."""
    assert len(mesh.control.ping(limit=1)) == 1


def test_a_callback_gets_each_reply_once(mesh: Mesh) -> None:
    """On arrival, in the order of the list."""
    seen: list[dict[str, Any]] = []
    replies = mesh.control.ping(callback=seen.append)
    assert seen == replies
    assert len(seen) == 2


def test_an_error_in_a_callback_is_raised_at_the_end(mesh: Mesh) -> None:
    """The error comes to the caller, and commands go on working."""

    def fail(reply: dict[str, Any]) -> None:
        raise LookupError("in the callback")

    with pytest.raises(LookupError, match="in the callback"):
        mesh.control.ping(callback=fail)
    assert len(mesh.control.ping()) == 2


def test_an_unknown_command_gets_an_error_reply_from_each_node(mesh: Mesh) -> None:
    """It names the command and those that there are."""
    replies = mesh.control.broadcast("nosuch", reply=True)
    assert replies is not None
    assert len(replies) == 2
    for value in replies.by_node().values():
        assert "nosuch" in value["error"]
        assert "ping" in value["error"]


def test_without_reply_a_broadcast_returns_none(mesh: Mesh, tmp_path: Path) -> None:
    """It returns when the command is on its way; its effect comes nevertheless."""
    path = tmp_path / "ran"
    blockers = [mesh.submit(work.nap, 1.0) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in blockers))
    queued = mesh.submit(work.note, str(path))
    assert mesh.control.revoke(queued.task_id) is None
    with pytest.raises(TaskRevoked):
        queued.result(timeout=5)
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"destination": "east"}, r"list.*\['east'\]"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"limit": 0}, "limit"),
        ({"limit": "1"}, "limit"),
    ],
)
def test_wrong_arguments_are_refused(mesh: Mesh, arguments: dict[str, Any], text: str) -> None:
    """A bare string as the destination, a timeout or limit that makes no sense: an error says what to give."""
    with pytest.raises(ConfigError, match=text):
        mesh.control.ping(**arguments)
    with pytest.raises(ValueError):
        mesh.control.broadcast("ping", reply=True, **arguments)


def test_a_broadcast_can_go_through_another_mesh(mesh: Mesh, pair: Stage, stage: Stage) -> None:
    """``connection`` is the mesh to send through."""
    other = stage.client()
    assert set(other.control.ping(connection=mesh).by_node()) == names(pair)


def test_a_silent_node_is_named_as_missing(mesh: Mesh, pair: Stage, frozen: NodeProcess) -> None:
    """The others' replies are there at the timeout, and the reason for the one that did not answer."""
    begin = time.monotonic()
    replies = mesh.control.ping(timeout=1.0)
    assert 0.9 < time.monotonic() - begin < 2.5
    assert set(replies.by_node()) == {pair.nodes[0].name}
    assert set(replies.missing) == {frozen.name}
    assert replies.missing[frozen.name]


def test_a_silent_node_that_is_not_meant_holds_up_nothing(mesh: Mesh, frozen: NodeProcess) -> None:
    """A command to the other one returns at once."""
    begin = time.monotonic()
    assert len(mesh.control.ping(["east"], timeout=10)) == 1
    assert time.monotonic() - begin < 3


def test_a_dead_node_is_not_expected(stage: Stage) -> None:
    """Once the mesh knows that a node has died, nobody waits for it."""
    first, _ = stage.start(ready=False), stage.start()
    first.until_ready()
    mesh = stage.client()
    assert len(mesh.control.ping()) == 2
    first.kill()
    wait_until(lambda: len(mesh.nodes()) == 1)
    begin = time.monotonic()
    replies = mesh.control.ping(timeout=10)
    assert time.monotonic() - begin < 3
    assert len(replies) == 1


def test_a_node_that_was_shut_down_is_not_waited_for(stage: Stage) -> None:
    """Whether the next commands are given while it ends, or when it has: it has said so."""
    first, second = stage.start(ready=False), stage.start()
    first.until_ready()
    mesh = stage.client()
    wait_until(lambda: len(mesh.nodes()) == 2)
    mesh.control.shutdown(destination=[first.name], reply=True)
    end_at = time.monotonic() + 2.0
    while time.monotonic() < end_at:
        begin = time.monotonic()
        replies = mesh.control.ping(timeout=10)
        assert time.monotonic() - begin < 3
        assert replies.missing == {}
        assert second.name in replies.by_node()


@pytest.mark.parametrize("drained", [False, True])
def test_the_reply_of_a_node_that_ends_is_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, drained: bool
) -> None:
    """It is there though the client comes to read it only when the node has gone, as on a busy machine."""
    node = stage.start()
    mesh = stage.client()
    if drained:
        mesh.control.drain(reply=True, timeout=10)
    assert len(mesh.control.ping(timeout=10)) == 1
    publish = ControlLanes._publish

    def publish_and_dawdle(lanes: ControlLanes, command: Command) -> None:
        publish(lanes, command)
        assert node.wait(10) == 0
        time.sleep(0.3)  # the connections are tried again, and refused

    monkeypatch.setattr(ControlLanes, "_publish", publish_and_dawdle)
    replies = mesh.control.shutdown(reply=True, timeout=20)
    assert replies.by_node() == {node.name: {"ok": "shutting down"}}
    assert replies.missing == {}


def outcomes(replies: Any, task_id: str) -> list[str]:
    """Return what nodes have said of a task, in alphabetical order."""
    return sorted(value["ok"][task_id] for value in replies.by_node().values())


UNKNOWN = "unknown, will be refused"


def test_revoke_says_what_became_of_each_task(mesh: Mesh) -> None:
    """Queued, running, finished and unknown tasks, each on each node."""
    finished = mesh.submit(work.add, 1, 1)
    assert finished.result(timeout=10) == 2
    running = [mesh.submit(work.nap, 1.0) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in running))
    queued = mesh.submit(work.nap, 0.0)
    wait_until(lambda: sum(v["queued"] for v in mesh.control.ping().by_node().values()))
    stranger = str(uuid.uuid4())
    ids = [queued.task_id, running[0].task_id, stranger]
    replies = mesh.control.revoke(ids, reply=True)
    assert outcomes(replies, queued.task_id) == ["dropped", UNKNOWN]
    assert outcomes(replies, running[0].task_id) == ["running", UNKNOWN]
    assert outcomes(replies, stranger) == [UNKNOWN, UNKNOWN]
    with pytest.raises(TaskRevoked):
        queued.result(timeout=5)
    assert [future.result(timeout=10) for future in running] == [None, None]


def test_a_finished_task_is_told_to_be_finished(mesh: Mesh) -> None:
    """The node that ran it says so, although its result has been delivered."""
    finished = mesh.submit(work.add, 1, 1)
    assert finished.result(timeout=10) == 2
    assert "finished" in outcomes(mesh.control.revoke(finished.task_id, reply=True), finished.task_id)


def test_a_revoked_id_is_refused_on_arrival(mesh: Mesh, tmp_path: Path) -> None:
    """What is submitted after its id was revoked never runs, from whichever client it comes."""
    uid = str(uuid.uuid4())
    mesh.control.revoke(uid.replace("-", "").upper(), reply=True)
    future = mesh.submit(work.note.options(task_id=uid), str(tmp_path / "ran"))
    with pytest.raises(TaskRevoked):
        future.result(timeout=5)
    assert not (tmp_path / "ran").exists()


def test_revoking_the_same_task_twice_is_harmless(mesh: Mesh) -> None:
    """So is revoking many at once, and some of them again."""
    ids = [str(uuid.uuid4()) for _ in range(2000)]
    for _ in range(2):
        replies = mesh.control.revoke(ids, reply=True, timeout=5)
        assert replies is not None
        assert [len(value["ok"]) for value in replies.by_node().values()] == [2000, 2000]


def test_terminate_kills_a_running_task_and_leaves_the_others(mesh: Mesh) -> None:
    """``revoke(…, terminate=True, signal="KILL")`` ends that one, within seconds; it is not tried again."""
    victim, other = mesh.submit(work.nap, 60.0), mesh.submit(work.nap, 1.0, "kept")
    wait_until(lambda: victim.running() and other.running())
    replies = mesh.control.revoke(victim.task_id, terminate=True, signal="KILL", reply=True)
    assert outcomes(replies, victim.task_id) == ["terminated", UNKNOWN]
    with pytest.raises(TaskRevoked):
        victim.result(timeout=5)
    assert other.result(timeout=10) == "kept"


@pytest.mark.parametrize("wrong", ["not-an-id", "", 7, None])
def test_what_is_no_task_id_is_refused(mesh: Mesh, wrong: Any) -> None:
    """The caller is told at once."""
    with pytest.raises((ValueError, TypeError)):
        mesh.control.revoke(wrong)


def test_a_signal_that_does_not_exist_is_refused(mesh: Mesh) -> None:
    """The error names it and those that are meant."""
    with pytest.raises(ConfigError, match=r"NOSUCH.*TERM"):
        mesh.control.revoke(str(uuid.uuid4()), terminate=True, signal="NOSUCH")


def test_a_destination_that_does_not_exist_is_missing(mesh: Mesh) -> None:
    """Silence is not taken for success: who was asked for by name and is not there is named."""
    replies = mesh.control.ping(destination=["east", "nope"])
    assert len(replies) == 1
    assert replies.missing == {"nope": "no node of that name was found"}
