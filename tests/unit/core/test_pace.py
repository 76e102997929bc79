"""The means of functions' times, and the window that follows from one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.core import pace
from meshq.core.pace import AT_HAND_S, MAX_CREDIT, Means, window


def mean_after(*batches: list[float]) -> float | None:
    """Return the mean of a function after batches of runs."""
    means = Means()
    for batch in batches:
        for seconds in batch:
            means.observe("f", seconds)
        means.fold()
    return means.get("f")


def test_nothing_is_known_at_first() -> None:
    """A function has no mean before its first run has been folded in."""
    means = Means()
    means.fold()
    assert means.get("f") is None
    means.observe("f", 1.0)
    assert means.get("f") is None
    means.fold()
    assert means.get("f") == 1.0


def test_the_first_batch_is_the_mean() -> None:
    """What is seen first counts in full."""
    assert mean_after([1.0, 3.0]) == 2.0


def test_one_run_moves_the_mean_by_a_tenth() -> None:
    """A single odd run changes little, and each is folded in only once."""
    assert mean_after([1.0], [2.0]) == pytest.approx(1.1)
    assert mean_after([1.0], [2.0], []) == pytest.approx(1.1)


def test_ten_runs_replace_the_mean() -> None:
    """A function that has become quicker is known to be so after ten runs."""
    assert mean_after([1.0], [0.5] * 10) == pytest.approx(0.5)
    assert mean_after([1.0], [0.5] * 50) == pytest.approx(0.5)


def test_functions_have_means_of_their_own() -> None:
    """One function's runs do not touch another's mean."""
    means = Means()
    means.observe("f", 1.0)
    means.observe("g", 2.0)
    means.fold()
    assert (means.get("f"), means.get("g")) == (1.0, 2.0)


@pytest.mark.parametrize(("seconds", "mean"), [(-5.0, 0.0), (math.nan, 0.0), (math.inf, 1e6), (-math.inf, 0.0)])
def test_nonsense_leaves_a_usable_mean(seconds: float, mean: float) -> None:
    """Whatever is said to have passed, the mean stays a number from 0 to a million."""
    assert mean_after([seconds]) == mean


def test_a_slot_at_a_long_run_counts_one_attempt() -> None:
    """What goes ahead there waits nobody knows how long; where it would be less, that is what goes."""
    assert window(4, 0.0001, long=0) == 4 + 400 + 1
    assert window(4, 0.0001, long=3) == 4 + 100 + 3 + 1
    assert window(4, 0.0001, long=4) == 4 + 4 + 1
    assert window(4, 0.0001, long=5) == 4 + 5 + 1  # one of them is being closed, and does not count as a slot
    assert window(4, 0.025, long=0) == window(4, 0.025, long=4) == 4 + 1 + 1
    assert window(4, 0.020, long=0) == window(4, 0.020, long=4) == 4 + 4 + 1
    assert window(4, None, long=4) == 8


@given(st.lists(st.lists(st.floats(), min_size=1)))
def test_a_mean_always_gives_a_window(batches: list[list[float]]) -> None:
    """After any floats at all there is a window, from one attempt a slot and one more to the most allowed."""
    assert 3 <= window(2, mean_after(*batches)) <= MAX_CREDIT


def test_the_oldest_functions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of functions come from peers, so their number is bounded."""
    monkeypatch.setattr(pace, "_MAX_FUNCTIONS", 2)
    means = Means()
    for name in ("f", "g", "f", "h"):
        means.observe(name, 1.0)
        means.fold()
    assert [means.get(name) for name in ("f", "g", "h")] == [None, 1.0, 1.0]


@pytest.mark.parametrize(
    ("slots", "mean_s", "attempts"),
    [
        (2, None, 4),
        (2, 60.0, 3),
        (2, 0.010, 5),
        (2, 0.001, 23),
        (2, 0.0, MAX_CREDIT),
        (1, 0.0001, 102),
        (2**63, None, MAX_CREDIT),
        (2**63, 1.0, MAX_CREDIT),
    ],
)
def test_the_window(slots: int, mean_s: float | None, attempts: int) -> None:
    """One attempt a slot, what fills 10 ms of all slots, and one; two a slot while the mean is unknown."""
    assert window(slots, mean_s) == attempts


def test_the_window_covers_what_is_at_hand_at_workers() -> None:
    """Of runs of up to 20 ms one for each slot, and one that is queued when one of those has begun."""
    assert [window(2, mean_s) for mean_s in (0.008, 0.0101, AT_HAND_S)] == [2 + 2 + 1] * 3
    assert window(2, AT_HAND_S + 1e-6) == 2 + 0 + 1
    assert [window(1, 0.015), window(8, 0.015)] == [3, 17]


def test_runs_and_failures_are_counted() -> None:
    """Runs from the next ``fold`` on, over all batches."""
    means = Means()
    for function in ("f", "f", "g"):
        means.observe(function, 1.0)
    means.observe_failure("f")
    assert means.runs == {}
    means.fold()
    means.observe("f", 1.0)
    means.observe_failure("f")
    means.fold()
    assert (means.runs, means.failed) == ({"f": 3, "g": 1}, {"f": 2})


def test_the_counts_of_a_function_go_with_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table grows by the names that peers make up."""
    monkeypatch.setattr(pace, "_MAX_FUNCTIONS", 2)
    means = Means()
    for function in ("f", "g", "h"):
        means.observe(function, 1.0)
        means.observe_failure(function)
        means.fold()
    assert set(means.runs) == set(means.failed) == {"g", "h"}


def test_runs_may_be_added_to_the_tally_of_their_function() -> None:
    """As if each were observed, whichever comes first; the next fold begins a new one."""
    means = Means()
    for way in range(2):
        if way:
            means.observe("f", 1.0)
        tally = means.tally("f")
        tally[0] += 3.0
        tally[1] += 1
        if not way:
            means.observe("f", 1.0)
        means.fold()
        assert (means.get("f"), means.runs) == (2.0, {"f": 2 + 2 * way})
    assert means.tally("f") == [0.0, 0]
