"""A mesh without nodes: what it refuses when it is made, and what its own thread may ask it while it closes."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from meshq import ConfigError, Mesh, NoNodes, task
from meshq.client import engine
from meshq.ids import format_id, new_task_id, parse_task_id
from meshq.protocol.codec import serializer
from meshq.tasks import NamelessFunction
from meshq.tasks.options import PLAIN


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
        monkeypatch.setattr(mesh._runtime, "stopping", True)
        try:
            mesh._open_attaching().nodes_changed()
            mesh._open_attaching().step()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)
        finally:
            monkeypatch.setattr(mesh._runtime, "stopping", False)

    mesh._runtime.loop.post(last_turn)
    done.result(5)
    assert isinstance(future.exception(5), NoNodes)


def test_a_callback_may_submit_as_much_as_it_likes(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called by the loop, whose next turn it must not wait for."""
    monkeypatch.setattr(engine, "BURST_S", 60.0)
    done: Future[None] = Future()

    def callback() -> None:
        for _ in range(2 * engine.BURST):
            mesh.submit(operator.neg, 1)
        done.set_result(None)

    mesh._runtime.loop.post(callback)
    done.result(20)


def test_a_function_is_the_same_each_time(mesh: Mesh) -> None:
    """Whether it is given itself or by its name, and however many others were submitted in between."""
    for function in (operator.neg, "operator:neg", parse_task_id, task(parse_task_id)):
        futures = [mesh.submit(function, 1)]
        for number in range(1_100):
            mesh._callee(f"module.function_{number}")
        futures.append(mesh.submit(function, 1))
        assert len({future.function for future in futures}) == 1
        assert futures[0].function in ("operator.neg", "meshq.ids.parse_task_id")
    assert len(mesh._callees) <= 1_000


def test_a_name_that_cannot_be_one_is_refused_each_time(mesh: Mesh) -> None:
    """What is wrong with it is not forgotten."""
    for _ in range(2):
        with pytest.raises(ConfigError, match="cannot name a task"):
            mesh.submit("no name")
        with pytest.raises(NamelessFunction, match="a lambda"):
            mesh.submit(lambda: None)


@pytest.mark.parametrize("args", [(), (1,), ((2, b"x"),)])
@pytest.mark.parametrize("kwargs", [{}, {"a": None}])
def test_the_arguments_of_a_plain_call_are_those_of_any(
    mesh: Mesh, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """They travel in the same bytes as those of a call with options."""
    plain = mesh.submit("operator.neg", *args, **kwargs)
    other = mesh.submit_call("operator.neg", args, kwargs, PLAIN._replace(priority=3))
    assert (plain.payload, plain.serializer) == (other.payload, other.serializer)
    assert serializer("msgpack").loads_call(plain.payload) == (args, kwargs)
