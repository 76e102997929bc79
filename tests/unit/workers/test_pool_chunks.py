"""Chunks of calls, in a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workers_harness import Node, outcome

from meshq.errors import ChunkRefused, EncodingError
from meshq.protocol.chunks import SPLIT, WHOLE
from meshq.protocol.failures import load_failure


def carry_out(node: Node, function: str, *columns: Any, chunk: Any = WHOLE) -> list[Any]:
    """Return what comes of a chunk."""
    run = node.make(function, *columns)._replace(options={"chunk": chunk})
    node.run([run])
    node.until(lambda: run.run in node.dones())
    result: list[Any] = outcome(node.dones()[run.run])
    return result


@pytest.mark.parametrize("chunk", [WHOLE, SPLIT])
def test_each_call_has_its_own_value_or_failure(node: Node, chunk: Any) -> None:
    """In the order of the calls; those after a failure are made as well."""
    values, failures, seconds, singly = carry_out(node, "wait_or_fail", ["a", "fail", "b", "fail"], chunk=chunk)
    assert values == ["a", None, "b", None]
    assert [number for number, _ in failures] == [1, 3]
    assert all("wait_or_fail" in str(load_failure(failure).__cause__) for _, failure in failures)
    assert 0 < seconds < 10
    assert singly is False


def test_several_arguments_come_in_columns(node: Node) -> None:
    """Async functions too."""
    assert carry_out(node, "add_later", [1, 2, 3], [10, 20, 30])[0] == [11, 22, 33]


def test_a_value_that_cannot_travel_is_a_failure_of_its_call(node: Node) -> None:
    """The others come."""
    values, failures, *_ = carry_out(node, "maybe_unencodable", [False, True, False])
    assert values == [1, None, 1]
    assert [number for number, _ in failures] == [1]
    assert isinstance(load_failure(failures[0][1]), EncodingError)


@pytest.mark.parametrize("columns", [["no list"], [], [[1], 2]])
def test_what_is_no_chunk_is_refused(node: Node, columns: list[Any]) -> None:
    """A peer may send anything."""
    with pytest.raises(EncodingError, match="no lists of arguments"):
        carry_out(node, "echo", *columns)


def test_a_chunk_that_takes_long_comes_back_short(node: Node) -> None:
    """After the call in progress: what is left can be done elsewhere meanwhile."""
    values, failures, seconds, singly = carry_out(node, "sleep", [0.0, 0.0, 0.2, 0.0, 0.0], chunk=SPLIT)
    assert (values, failures, singly) == ([None] * 3, [], False)
    assert seconds >= 0.2
    assert carry_out(node, "sleep", [0.0, 0.0, 0.05, 0.0])[0] == [None] * 4, "one that was asked for is whole"


def test_a_long_chunk_of_quick_calls_comes_back_short(node: Node) -> None:
    """Many that take no time by themselves."""
    values, *_ = carry_out(node, "burn", [0.001] * 5_000, chunk=SPLIT)
    assert 0 < len(values) < 5_000
    values, *_ = carry_out(node, "echo", list(range(1_000)), chunk=SPLIT)
    assert values == list(range(1_000)), "the next one is not cut"


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_late_chunk_behind_others_comes_back_short(node: Node, pause_s: float) -> None:
    """Whether the thread that ends it is still to look after those before it, or has gone to sleep for good."""
    for _ in range(5):
        assert carry_out(node, "sleep", [0.002] * 3, chunk=SPLIT)[0] == [None] * 3
    if pause_s:
        node.call("sleep", pause_s)
    values, *_ = carry_out(node, "sleep", [0.002] * 500, chunk=SPLIT)
    assert 5 < len(values) < 250


def test_functions_whose_options_count_for_each_call_are_not_put_together(node: Node) -> None:
    """Each is to have its own retries, say; where nobody wants the values, that holds for a chunk as well."""
    with pytest.raises(ChunkRefused, match=r"worker_tasks\.tried_again has options"):
        carry_out(node, "tried_again", [1, 2], chunk=SPLIT)
    assert carry_out(node, "ignored", ["a", "b"], chunk=SPLIT)[0] == [None, None]


def test_a_call_that_asks_for_another_try_goes_on_by_itself(node: Node, tmp_path: Path) -> None:
    """It is not in the chunk's result, nor those behind it; a chunk that was asked for has it as a failure."""
    values, failures, _, singly = carry_out(node, "again_if", [0, 0, 1, 0], chunk=SPLIT)
    assert (values, failures, singly) == ([0, 0], [], True)
    values, failures, _, singly = carry_out(node, "again_if", [0, 0, 1, 0])
    assert (values, len(failures), singly) == ([0, 0, None, 0], 1, False)


@pytest.mark.parametrize("chunk", [WHOLE, SPLIT])
def test_a_call_that_raises_stop_iteration_has_failed_like_any_other(node: Node, chunk: Any) -> None:
    """It is not taken for the end of the chunk; each call is made once."""
    values, failures, _, singly = carry_out(node, "stop_if", [0, 1, 0, 1, 0], chunk=chunk)
    assert (values, [number for number, _ in failures], singly) == ([0, None, 0, None, 0], [1, 3], False)
