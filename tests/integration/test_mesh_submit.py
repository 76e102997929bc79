"""Submitting calls and getting their results, from a real node."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import work
from mesh_harness import Stage

from meshq import EncodingError, Future, Mesh, NoNodes, QueueFull, RemoteError, UnknownTask

MEGABYTE = 1 << 20


def test_a_call_returns_its_result(mesh: Mesh) -> None:
    """``submit(add, 2, 2)`` gives 4."""
    assert mesh.submit(work.add, 2, 2).result(timeout=10) == 4


def test_arguments_arrive_as_they_were_given(mesh: Mesh) -> None:
    """Positional and keyword arguments reach the function, whatever their names are."""
    future = mesh.submit(work.show, 1, (2, 3), function="f", name="n", self="s", timeout=5)
    keywords = {"function": "f", "name": "n", "self": "s", "timeout": 5}
    assert future.result(timeout=10) == {"args": (1, (2, 3)), "kwargs": keywords}


def test_a_function_may_be_named(mesh: Mesh) -> None:
    """A task may be submitted by its name, with a dot or a colon, and from a program that lacks its module."""
    assert mesh.submit("work.add", 1, 2).result(timeout=10) == 3
    assert mesh.submit("work:add", 1, 2).result(timeout=10) == 3


def test_a_coroutine_is_awaited_on_the_node(mesh: Mesh) -> None:
    """An ``async def`` task gives what its coroutine returns."""
    assert mesh.submit(work.add_later, 20, 22).result(timeout=10) == 42


def test_calling_a_task_function_runs_it_here(mesh: Mesh) -> None:
    """A task function called as ever involves no mesh."""
    assert work.add(2, 2) == 4


def test_an_exception_comes_back_as_it_was_raised(mesh: Mesh) -> None:
    """The type, the message, the arguments and the remote traceback with its cause are the caller's to see."""
    future = mesh.submit(work.fail, "broken")
    with pytest.raises(ValueError, match="broken") as caught:
        future.result(timeout=10)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("broken", 7)
    trace = str(caught.value.__cause__)
    assert "work.py" in trace
    assert "raise ValueError(text, 7) from error" in trace
    assert "KeyError: 'the cause'" in trace


def test_an_exception_of_a_type_not_known_here_is_told_by_a_remote_error(mesh: Mesh) -> None:
    """A type of a module that this program has not imported comes as ``RemoteError``, which names it."""
    with pytest.raises(RemoteError, match=r"strange\.StrangeError: not known here") as caught:
        mesh.submit(work.fail_strangely).result(timeout=10)
    assert caught.value.type_name == "strange.StrangeError"
    assert "raise strange.make_error" in caught.value.remote_traceback


def test_an_argument_that_cannot_travel_fails_at_submit(mesh: Mesh) -> None:
    """The error names the argument by its path, and its type."""
    with pytest.raises(EncodingError, match=r"object"):
        mesh.submit(work.echo, object())
    with pytest.raises(EncodingError, match=r"options.*\['deep'\]\[1\]"):
        mesh.submit(work.show, options={"deep": [1, object()]})


def test_a_result_that_cannot_travel_fails_the_task(mesh: Mesh) -> None:
    """The caller gets an error that names the function, and the worker lives on."""
    with pytest.raises(EncodingError, match=r"result of work\.return_object"):
        mesh.submit(work.return_object).result(timeout=10)
    assert mesh.submit(work.add, 1, 1).result(timeout=10) == 2


@pytest.mark.parametrize("function", [lambda: 1, int("3").__add__], ids=["lambda", "bound method"])
def test_a_function_without_a_name_is_refused_at_submit(mesh: Mesh, function: Callable[..., Any]) -> None:
    """A lambda and a bound method fail at the caller, who is told that they would have to be pickled."""
    with pytest.raises(TypeError, match="pickle"):
        mesh.submit(function)


def test_an_unknown_task_fails_within_about_a_second(mesh: Mesh, shared: Stage) -> None:
    """``UnknownTask`` names the function, the node, what it offers, and what to start."""
    begin = time.monotonic()
    with pytest.raises(UnknownTask) as caught:
        mesh.submit("photos.thumbnail", 1).result(timeout=10)
    assert time.monotonic() - begin < 2
    text = str(caught.value)
    assert "photos.thumbnail" in text
    assert shared.nodes[0].name in text
    assert "work.add" in text
    assert "meshq node photos" in text
    assert "--allow photos:thumbnail" in text


def test_a_function_that_is_not_offered_is_refused(mesh: Mesh) -> None:
    """Neither a function beside the tasks of a module, nor one of the standard library, can be called."""
    futures: list[Future[object]] = [
        mesh.submit(name, 1) for name in ("work.plain", "os.getcwd", "operator.neg", "builtins.print")
    ]
    for future in futures:
        with pytest.raises(UnknownTask):
            future.result(timeout=10)


@pytest.mark.parametrize("size", [20_000, 3 * MEGABYTE, 40 * MEGABYTE])
def test_large_payloads_travel_both_ways(mesh: Mesh, size: int) -> None:
    """Bytes beyond what fits one message come to the task, and back, unchanged."""
    data = bytes(range(256)) * (size // 256)
    assert mesh.submit(work.size_of, data).result(timeout=60) == len(data)
    assert mesh.submit(work.many_bytes, size).result(timeout=60) == data


def test_a_large_payload_does_not_hold_up_small_ones(mesh: Mesh) -> None:
    """While 40 MB are on their way, small calls go through."""
    large = mesh.submit(work.echo, bytes(40 * MEGABYTE))
    assert [mesh.submit(work.add, n, 1).result(timeout=30) for n in range(5)] == [1, 2, 3, 4, 5]
    assert len(large.result(timeout=60)) == 40 * MEGABYTE


def test_numpy_arrays_travel(mesh: Mesh) -> None:
    """An array keeps its type, its shape and its values; so does one inside of other data."""
    array = numpy.arange(60_000, dtype="float32").reshape(200, 300)
    result = mesh.submit(work.echo, {"image": array, "scale": 2}).result(timeout=10)
    assert result["scale"] == 2
    assert result["image"].dtype == array.dtype
    numpy.testing.assert_array_equal(result["image"], array)


def test_a_task_may_submit_to_the_mesh_itself(mesh: Mesh) -> None:
    """A task that waits for another one gets its result."""
    assert mesh.submit(work.plus_one_elsewhere, 41).result(timeout=30) == 42


def test_twenty_thousand_calls_all_come_back(mesh: Mesh) -> None:
    """Each of many calls, submitted one by one, has its own result."""
    futures = [mesh.submit(work.add, n, 1) for n in range(20_000)]
    assert [future.result(timeout=60) for future in futures] == list(range(1, 20_001))


def test_no_nodes_is_said_after_the_timeout(
    make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that no node has taken within ``no_nodes_timeout`` fails, naming the mesh and what to start."""
    monkeypatch.setenv("MESHQ_NO_NODES_TIMEOUT", "1")
    stage = make_stage()
    begin = time.monotonic()
    with pytest.raises(NoNodes, match=rf"{stage.mesh}.*meshq node"):
        stage.client().submit(work.add, 1, 1).result(timeout=10)
    assert 0.9 < time.monotonic() - begin < 4


def test_a_full_outbox_is_an_error_where_nobody_wants_to_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``block=False`` a submission that finds no room raises ``QueueFull``, which names the setting."""
    monkeypatch.setenv("MESHQ_OUTBOX_BYTES", "20000")
    mesh = stage.client(block=False)
    first = mesh.submit(work.size_of, bytes(15_000))
    for submit in (mesh.submit, mesh.delay):
        with pytest.raises(QueueFull, match=r"takes 20000 \(outbox_bytes\)"):
            submit(work.size_of, bytes(15_000))
    with pytest.raises(QueueFull):
        mesh.dmap(work.size_of, [[bytes(1_000)], [bytes(15_000)]])
    assert first.cancel()
    stage.start()
    assert mesh.submit(work.size_of, bytes(15_000)).result(timeout=20) == 15_000


def test_calls_wait_for_the_first_node(stage: Stage) -> None:
    """What is submitted before any node is there runs when one appears."""
    mesh = stage.client()
    futures: list[Future[int]] = [mesh.submit(work.add, n, n) for n in range(100)]
    stage.start(slots=2, ready=False)
    assert [future.result(timeout=20) for future in futures] == [2 * n for n in range(100)]


def test_waiting_for_nodes_says_why_there_are_none(stage: Stage) -> None:
    """``wait_for_nodes`` raises ``NoNodes`` at its timeout, and names the mesh."""
    with pytest.raises(NoNodes, match=stage.mesh):
        stage.client().wait_for_nodes(1, timeout=0.3)


def test_nodes_are_listed_with_what_they_offer(mesh: Mesh, shared: Stage) -> None:
    """``nodes()`` tells the name, the address, the slots and the functions of each."""
    (node,) = mesh.nodes()
    assert node.full_name == shared.nodes[0].name
    assert node.address == shared.nodes[0].address
    assert node.slots == 2
    assert node.state == "alive"
    assert "work.add" in node.functions
    assert "work.plain" not in node.functions


def test_a_task_id_may_be_used_again(mesh: Mesh) -> None:
    """Once the task of that id has ended it stands for a new one, attached or detached."""
    add = work.add.options(task_id=str(uuid.uuid4()))
    assert [mesh.submit(add, 1, n).result(timeout=10) for n in range(3)] == [1, 2, 3]
    assert [mesh.delay(add, 2, n).get(timeout=10) for n in range(3)] == [2, 3, 4]
