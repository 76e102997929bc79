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


def test_the_oldest_make_room() -> None:
    """The table is bounded; the last ones that were buried, as many as it is to have at least, are in it."""
    tombs = Tombs(limit=3)
    ids = [bytes([number]) * 16 for number in range(20)]
    for count, one in enumerate(ids, 1):
        tombs.bury(A if count % 2 else B, one, 1)
        known = [other for other in ids if tombs.covers(A, other, 1) or tombs.covers(B, other, 1)]
        assert known == ids[max(0, count - len(tombs)) : count]
        assert min(count, 3) <= len(tombs) <= 6
    assert len(Tombs()) == 0


def test_to_bury_a_task_again_costs_no_other_its_place() -> None:
    """However often that is; and it stays known for longer."""
    tombs = Tombs(limit=2)
    tombs.bury(A, T, 5)
    tombs.bury(A, U, 1)
    for _ in range(10):
        tombs.bury(A, T, 1)
    assert tombs.covers(A, U, 1)
    tombs.bury(A, V, 1)
    tombs.bury(B, V, 1)
    assert not tombs.covers(A, U, 1)
    assert tombs.covers(A, T, 5)


def test_many_are_buried_at_once() -> None:
    """What was held meanwhile was not over before, so the numbers only grow."""
    tombs = Tombs(limit=4)
    tombs.bury_all(A, [(T, 1), (U, 2)])
    tombs.bury_all(A, [(T, 3), (V, 1), (b"w" * 16, 1)])
    assert [tombs.covers(A, task, 2) for task in (T, U, V)] == [True, True, False]
    assert tombs.of(A) == ({T: 3, V: 1, b"w" * 16: 1}, {T: 1, U: 2})
    assert tombs.of(B) == ({}, {})


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
