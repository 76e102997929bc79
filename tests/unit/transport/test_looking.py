"""Which waits begin with a look: those that turn out shorter by it, on whatever machine that is."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from meshq.transport import looking as looking_module
from meshq.transport.looking import SPIN_S, Looking

chance = random.Random(20261121).random
LOOKED_S, SLEPT_S = 0.0002, 0.0003
SETTLED = 4_000
"""After so many waits it has come to know a machine, also one that has changed."""

Machine = Callable[[bool], float]


@pytest.fixture(autouse=True)
def same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same numbers in each run."""
    monkeypatch.setattr(looking_module, "_random", random.Random(20261121))


def share_of_looks(looking: Looking, machine: Machine, waits: int = 1_024) -> float:
    """Have it wait so often; return how many of the waits were begun with a look."""
    looks = 0
    for _ in range(waits):
        looked = looking.wanted()
        seconds = machine(looked)
        looking.waited(seconds, looked, looked and seconds >= SPIN_S)
        looks += looked
    return looks / waits


def quiet(looked: bool) -> float:
    """Take the longer way, by a third, for who sleeps."""
    return LOOKED_S if looked else SLEPT_S


def crowded(looked: bool) -> float:
    """Take longer for who looks."""
    return SLEPT_S if looked else LOOKED_S


def burdened(looked: bool) -> float:
    """Let who looks wait 4 ms for the core now and then, and be quicker otherwise."""
    return 0.004 if looked and chance() < 0.1 else quiet(looked)


def rough(looked: bool) -> float:
    """Be late now and then, whether one looks or not, and quicker for who looks."""
    return 0.004 if chance() < 0.01 else quiet(looked)


@pytest.mark.parametrize("machine", [quiet, rough])
def test_it_looks_where_that_is_shorter(machine: Machine) -> None:
    """But for a few waits that are slept through, to know whether it still is."""
    looking = Looking()
    share_of_looks(looking, machine, SETTLED)
    assert 0.85 <= share_of_looks(looking, machine) <= 0.98


@pytest.mark.parametrize("machine", [crowded, burdened])
def test_it_sleeps_where_that_is_shorter(machine: Machine) -> None:
    """But for a few waits begun with a look, to know whether it still is."""
    looking = Looking()
    share_of_looks(looking, machine, 3 * SETTLED)
    assert 0.02 <= share_of_looks(looking, machine) <= 0.15


def test_it_notices_that_a_machine_has_changed() -> None:
    """A program that keeps a core busy comes, and goes again."""
    looking = Looking()
    for machine, low, high in ((quiet, 0.85, 1.0), (crowded, 0.0, 0.15), (quiet, 0.85, 1.0)):
        share_of_looks(looking, machine, 3 * SETTLED)
        assert low <= share_of_looks(looking, machine) <= high


def test_it_sleeps_where_a_look_hardly_helps() -> None:
    """What has been slept through goes on being slept through for a twentieth: a look takes a core."""
    looking = Looking()
    share_of_looks(looking, crowded, SETTLED)
    assert share_of_looks(looking, lambda looked: 0.95 * SLEPT_S if looked else SLEPT_S, 3 * SETTLED) <= 0.15


def test_waits_for_which_there_was_nothing_say_nothing() -> None:
    """Somebody who comes back after half a second has not waited for the core meanwhile."""
    looking = Looking()
    turns = iter(range(10**9))

    def in_bursts(looked: bool) -> float:
        return 0.5 if next(turns) % 20 == 0 else quiet(looked)

    share_of_looks(looking, in_bursts, SETTLED)
    assert share_of_looks(looking, in_bursts) >= 0.5


def test_long_waits_are_slept_through() -> None:
    """Where nothing ever comes in time, one wait in sixty-five is spent looking at most."""
    looking = Looking()
    share_of_looks(looking, quiet, 100)
    assert share_of_looks(looking, lambda looked: 0.5, SETTLED) <= 0.01
