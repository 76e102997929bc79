"""Tombs: attempts that are over must not run again, should a late copy of them arrive."""

from __future__ import annotations

import time

from meshq.core.tombs import Tombs

A, B = b"a" * 16, b"b" * 16
T, U, V = b"t" * 16, b"u" * 16, b"v" * 16


def test_an_attempt_and_those_before_it_are_over() -> None:
    """A later attempt, another task and another client's attempt at the same task are not."""
    tombs = Tombs()
    tombs.bury(A, T, 2)
    assert tombs.covers(A, T, 1)
    assert tombs.covers(A, T, 2)
    assert not tombs.covers(A, T, 3)
    assert not tombs.covers(A, U, 1)
    assert not tombs.covers(B, T, 1)


def test_the_latest_attempt_counts() -> None:
    """A burial that comes late does not raise the dead."""
    tombs = Tombs()
    tombs.bury(A, T, 3)
    tombs.bury(A, T, 1)
    assert tombs.covers(A, T, 3)


def test_the_oldest_makes_room() -> None:
    """The table is bounded; to bury a task again keeps it for longer and costs no other its place."""
    tombs = Tombs(limit=2)
    tombs.bury(A, T, 5)
    tombs.bury(A, U, 1)
    tombs.bury(A, T, 1)
    assert tombs.covers(A, U, 1)
    assert tombs.covers(A, T, 5)
    tombs.bury(A, V, 1)
    assert not tombs.covers(A, U, 1)
    assert tombs.covers(A, T, 5)
    assert tombs.covers(A, V, 1)
    assert (len(tombs), len(Tombs())) == (2, 0)


def test_a_full_table_is_as_quick_as_an_empty_one() -> None:
    """To find the oldest must not take longer the more have gone before it; a node buries each of its tasks."""
    tombs = Tombs()
    ids = [number.to_bytes(16, "big") for number in range(200_000)]
    for task in ids[:100_000]:
        tombs.bury(A, task, 1)
    began_at = time.perf_counter()
    for task in ids[100_000:]:
        tombs.bury(A, task, 1)
    assert time.perf_counter() - began_at < 1.0
