"""A mesh without nodes: what it refuses when it is made, and what its own thread may ask it while it closes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from meshq import ConfigError, Mesh, NoNodes
from meshq.ids import format_id, new_task_id


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """See to it that no mesh of this machine is found, and no key."""
    monkeypatch.setenv("MESHQ_MDNS", "no")
    monkeypatch.setenv("MESHQ_MESH", "nobody-else")
    monkeypatch.setenv("MESHQ_NO_NODES_TIMEOUT", "0")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """Return a mesh that sees nobody."""
    made = Mesh()
    yield made
    made.close(cancel=True)


@pytest.mark.parametrize("block", ["no", None, 0])
def test_block_is_a_yes_or_no(block: Any) -> None:
    """Nobody is made to wait who has said "no", and no thread is left behind."""
    threads = threading.active_count()
    with pytest.raises(ConfigError, match=r"block must be True or False \(got "):
        Mesh(block=block)
    assert threading.active_count() == threads


@pytest.mark.parametrize("serializer", ["foo", None, ["pickle"]])
def test_a_serializer_that_there_is_not(mesh: Mesh, serializer: Any) -> None:
    """Who attaches with one is told which there are."""
    with pytest.raises(ConfigError, match=r"serializer must be .*msgpack, json, raw, pickle.* \(got "):
        mesh.attach(format_id(new_task_id()), serializer=serializer)


def test_a_thread_that_serves_a_closing_mesh_may_still_look_at_it(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is attached is looked after in the last turn of the loop too, and ends; nothing is raised there."""
    future = mesh.attach(format_id(new_task_id()))
    done: Future[None] = Future()

    def last_turn() -> None:
        monkeypatch.setattr(mesh._runtime, "_stopping", True)
        try:
            mesh._open_attaching().nodes_changed()
            mesh._open_attaching().step()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
        finally:
            monkeypatch.setattr(mesh._runtime, "_stopping", False)

    mesh._runtime.loop.post(last_turn)
    done.result(5)
    assert isinstance(future.exception(5), NoNodes)
