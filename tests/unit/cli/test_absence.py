"""How long the command line looks for nodes before it believes that it has seen them all."""

from __future__ import annotations

import time
from typing import Any

import pytest

from meshq.cli.absence import SETTLE_S, settle


class Seen:
    """A mesh whose nodes turn up in time; ``complete_at`` is when all are there that the others name."""

    def __init__(self, *at: float, complete_at: float = 60.0) -> None:
        self._began_at = time.monotonic()
        self._at = at
        self._complete_at = complete_at

    def nodes(self) -> list[int]:
        """Return those that are there by now."""
        return [number for number, at in enumerate(self._at) if self._passed() >= at]

    def is_complete(self) -> bool:
        """Whether nobody is missing."""
        return self._passed() >= self._complete_at

    def _passed(self) -> float:
        return time.monotonic() - self._began_at


def settled(mesh: Any, timeout: float = 5.0, count: int | None = None) -> tuple[int, float]:
    """Return how many nodes were waited for, and how long."""
    began_at = time.monotonic()
    return len(settle(mesh, timeout, count)), time.monotonic() - began_at


def test_nobody_is_waited_for_once_all_are_there() -> None:
    """The nodes know each other, so that the first to answer says who else is to come."""
    count, took = settled(Seen(0.0, 0.05, complete_at=0.05))
    assert count == 2
    assert took < SETTLE_S


def test_who_is_named_and_silent_is_waited_for_only_so_long() -> None:
    """As long as further nodes come, and a moment longer."""
    count, took = settled(Seen(0.0, 0.2))
    assert count == 2
    assert 0.2 + SETTLE_S <= took < 2.0


@pytest.mark.parametrize(("wanted", "found"), [(2, 2), (3, 2)])
def test_a_count_is_waited_for(wanted: int, found: int) -> None:
    """However quiet it is, and whoever names whom; at most for the timeout."""
    count, took = settled(Seen(0.0, 0.1, complete_at=0.0), 0.5, wanted)
    assert count == found
    assert took >= (0.1 if wanted == 2 else 0.5)


def test_without_nodes_it_looks_for_all_of_the_time() -> None:
    """Nobody can say that there are none."""
    count, took = settled(Seen(), 0.2)
    assert count == 0
    assert took >= 0.2
