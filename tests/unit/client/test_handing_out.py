"""How the results of a ``map`` are handed out."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from meshq.client.handing_out import Results, _OneByOne


def test_portions_come_one_by_one() -> None:
    """In their order, however they are asked for; empty ones are passed over."""
    results = Results(portion for portion in ([1, 2], [], [3], [4, 5]))
    assert next(results) == 1
    assert [next(iter(results)), next(results)] == [2, 3]
    assert list(results) == [4, 5]
    assert list(results) == []


def test_an_error_is_the_end() -> None:
    """As of a generator: after it nothing comes, and what had to be done at the end is done."""
    ended: list[str] = []
    results = Results(failing(ended))
    assert next(results) == 1
    with pytest.raises(ValueError, match="bad"):
        next(results)
    assert ended == ["ended"]
    assert list(results) == []


def failing(ended: list[str]) -> Generator[list[int], None, None]:
    """Yield one portion, and fail."""
    try:
        yield [1]
        raise ValueError("bad")
    finally:
        ended.append("ended")


def test_what_is_closed_hands_nothing_out() -> None:
    """Not even what had come."""
    ended: list[str] = []
    results = Results(failing(ended))
    assert next(results) == 1
    results.close()
    assert ended == ["ended"]
    assert list(results) == []


def test_a_loop_ends_when_its_results_are_closed() -> None:
    """With the value in hand."""
    results = Results(portion for portion in ([1, 2], [3]))
    got = []
    for value in results:
        got.append(value)
        results.close()
    assert got == [1]


def test_results_that_are_dropped_end_the_portions() -> None:
    """A loop that is left early withdraws the rest."""
    ended: list[str] = []
    for value in Results(failing(ended)):
        assert value == 1
        break
    assert ended == ["ended"]


def test_threads_may_take_turns() -> None:
    """As when each ``next`` is made by whichever thread of a pool is free."""
    results = Results(portion for portion in ([1, 2], [3], [4]))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        got = [pool.submit(next, results).result() for pool in (one, other, one, other)]
    assert got == [1, 2, 3, 4]


def test_two_threads_at_once_are_told() -> None:
    """Both: else one of them would lose results, or take the other's error for the end."""
    waits, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Generator[list[Any], None, None]:
        try:
            yield [1]
            waits.set()
            assert go_on.wait(10)
            yield [2, 3]
        finally:
            ended.set()

    results = Results(slow())
    assert next(results) == 1
    with ThreadPoolExecutor(1) as other:
        first = other.submit(next, results)
        assert waits.wait(10)
        with pytest.raises(ValueError, match="two threads"):
            next(results)
        go_on.set()
        with pytest.raises(ValueError, match="two threads"):
            first.result()
    assert ended.is_set(), "what is unfinished is withdrawn"


def test_a_thread_that_is_overtaken_loses_nothing() -> None:
    """One that was stopped just before it asks gets the rest of what the other one has begun meanwhile."""
    got: list[int] = []
    portions = _OneByOne(portion for portion in ([1, 2, 3], [4]))
    ours = next(portions)
    got.append(next(ours))
    theirs = next(portions)
    assert theirs is ours
    got += [*theirs, *next(portions)]
    assert got == [1, 2, 3, 4]
