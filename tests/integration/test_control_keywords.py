"""The keywords of ``purge``, and the signals of ``terminate``, at real nodes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import work
from mesh_harness import Stage, wait_until

from meshq import ConfigError, Future, Mesh, TaskRevoked

LONG_S = 600.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two nodes of a slot each, named east and west."""
    stage = Stage(tmp_path_factory.mktemp("pair"))
    stage.start("work", name="east", ready=False)
    stage.start("work", name="west")
    stage.nodes[0].until_ready()
    yield stage
    stage.close()


@pytest.fixture
def mesh(pair: Stage) -> Iterator[Mesh]:
    """A client of both; what it has left running is ended."""
    made = pair.client()
    yield made
    active = made.control.inspect().active().values()
    made.control.terminate([row["id"] for rows in active for row in rows], signal="KILL", reply=True)
    made.close(cancel=True)


@pytest.fixture
def running(mesh: Mesh) -> list[Future[Any]]:
    """A task in each slot, for long."""
    futures = [mesh.submit(work.nap, LONG_S) for _ in range(2)]
    wait_until(lambda: all(future.running() for future in futures), what="both run")
    return futures


def waiting(mesh: Mesh, count: int = 10) -> list[Future[Any]]:
    """Submit tasks that find no slot."""
    return [mesh.submit(work.nap, LONG_S) for _ in range(count)]


def are_revoked(futures: list[Future[Any]]) -> bool:
    """Whether all have settled so."""
    return all(isinstance(future.exception(timeout=10), TaskRevoked) for future in futures)


# ---------------------------------------------------------------------- purge


@pytest.mark.parametrize("asked", [{"pattern": "e*"}, {"destination": ["east"]}, {"pattern": "*", "limit": 1}])
def test_a_purge_of_some_nodes_asks_only_these(
    mesh: Mesh, pair: Stage, running: list[Future[Any]], asked: dict[str, Any]
) -> None:
    """And with them their clients, which discard what they own wherever it waits, each task counted once."""
    futures = waiting(mesh)
    wait_until(lambda: sum(v["queued"] for v in mesh.control.ping().by_node().values()), what="some are queued")
    purged = mesh.control.purge(**asked)
    assert purged == len(futures)
    assert len(purged.replies) == 1
    if "limit" not in asked:
        assert purged.missing == {}
        assert set(purged.replies.by_node()) == {pair.nodes[0].name}
    assert are_revoked(futures)
    assert not any(future.done() for future in running)


def test_a_purge_tells_a_callback_of_each_reply(mesh: Mesh, pair: Stage, running: list[Future[Any]]) -> None:
    """On arrival; what the callback raises comes at the end, when all is discarded."""
    futures, seen = waiting(mesh), []
    assert mesh.control.purge(callback=seen.append) == len(futures)
    assert {name for reply in seen for name in reply} == {node.name for node in pair.nodes}
    assert all("ok" in value for reply in seen for value in reply.values())
    futures += waiting(mesh)

    def fail(reply: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        mesh.control.discard_all(callback=fail)
    assert are_revoked(futures)


def test_a_purge_goes_through_the_mesh_that_is_named(
    mesh: Mesh, pair: Stage, stage: Stage, running: list[Future[Any]]
) -> None:
    """``connection``: from the control of a mesh without nodes, whose own tasks are left alone."""
    elsewhere = stage.client()
    own, futures = elsewhere.submit(work.add, 1, 1), waiting(mesh)
    purged = elsewhere.control.purge(connection=mesh)
    assert purged == len(futures)
    assert set(purged.replies.by_node()) == {node.name for node in pair.nodes}
    assert are_revoked(futures)
    assert not own.done()
    assert own.cancel()


def test_a_purge_of_nobody_says_so(mesh: Mesh, running: list[Future[Any]]) -> None:
    """A name that no node has; nothing is discarded."""
    futures = waiting(mesh)
    purged = mesh.control.purge(destination=["nope"], timeout=0.4)
    assert (purged, purged.missing) == (0, {"nope": "no node of that name was found"})
    assert mesh.control.purge(pattern="nope*", timeout=0.4) == 0
    assert not any(future.done() for future in futures)
    assert mesh.control.purge() == len(futures)


@pytest.mark.parametrize(
    "asked",
    [{"destination": "east"}, {"pattern": 7}, {"limit": 0}, {"timeout": -1}, {"callback": 7}, {"connection": 7}],
)
def test_a_purge_with_a_wrong_keyword_discards_nothing(mesh: Mesh, asked: dict[str, Any]) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ConfigError, match=next(iter(asked))):
        mesh.control.purge(**asked)


# ---------------------------------------------------------------------- terminate


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", "sigKill", "KILL", "HUP", "USR1", "SIGUSR2"])
def test_terminate_takes_the_name_of_a_signal(mesh: Mesh, running: list[Future[Any]], name: str) -> None:
    """With SIG or without, in any case; the task ends as revoked, and the other one runs on."""
    one, other = running
    replies = mesh.control.terminate(one.task_id, signal=name, reply=True, timeout=5)
    assert replies is not None
    assert "terminated" in {value["ok"][one.task_id] for value in replies.by_node().values()}
    with pytest.raises(TaskRevoked):
        one.result(timeout=10)
    assert other.running()
    assert mesh.submit(work.add, 1, 2).result(timeout=10) == 3


WAYS: dict[str, Callable[[Mesh, str, Any], Any]] = {
    "terminate": lambda mesh, task, signal: mesh.control.terminate(task, signal=signal, reply=True),
    "revoke": lambda mesh, task, signal: mesh.control.revoke(task, terminate=True, signal=signal, reply=True),
    "future": lambda mesh, task, signal: mesh.result(task).revoke(terminate=True, signal=signal),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", ["NOSUCH", "", "SIGSIGTERM", 9, signal.SIGKILL, None])
def test_what_names_no_signal_is_refused(mesh: Mesh, running: list[Future[Any]], way: str, wrong: Any) -> None:
    """Before anything is sent: the task runs on, and is not revoked."""
    with pytest.raises(ConfigError, match=r"is not the name of a signal: give TERM"):
        WAYS[way](mesh, running[0].task_id, wrong)
    assert all(future.running() for future in running)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_terminate_ends_the_task(mesh: Mesh, running: list[Future[Any]], way: str) -> None:
    """From the control, and from a result that knows only the id."""
    WAYS[way](mesh, running[0].task_id, "KILL")
    with pytest.raises(TaskRevoked):
        running[0].result(timeout=10)
    assert running[1].running()
