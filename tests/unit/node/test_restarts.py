"""When the workers of a node are started, and started again."""

from __future__ import annotations

import pytest

from meshq.node.restarts import FIRST_PAUSE_S, MAX_PAUSE_S, Restarts


@pytest.fixture
def started() -> list[int]:
    """Return the slots that were started, in order."""
    return []


@pytest.fixture
def restarts(started: list[int]) -> Restarts:
    """Return the restarts of a node with two slots, both of which are ready."""
    made = Restarts(2, started.append)
    made.begin(0.0)
    assert not made.is_ready
    assert [made.ready(0), made.ready(1), made.ready(0)] == [False, True, False]
    started.clear()
    return made


def test_a_worker_that_is_gone_is_replaced_at_once(restarts: Restarts, started: list[int]) -> None:
    """In the same turn."""
    restarts.gone(1, 5.0)
    assert restarts.next_deadline() == 5.0
    restarts.tick(5.0)
    assert started == [1]


def test_one_that_cannot_start_is_tried_less_and_less_often(restarts: Restarts, started: list[int]) -> None:
    """The pause doubles, up to half a minute, until one is ready."""
    pauses = []
    for _ in range(10):
        restarts.failed(0, 0.0)
        pauses.append(restarts.next_deadline())
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S
    restarts.ready(0)
    restarts.failed(0, 0.0)
    assert restarts.next_deadline() == FIRST_PAUSE_S


def test_a_slot_that_is_new_starts_and_is_looked_after(restarts: Restarts, started: list[int]) -> None:
    """The node is as ready as it was."""
    restarts.add(2)
    assert started == [2]
    assert restarts.is_ready
    assert not restarts.ready(2)
    restarts.gone(2, 1.0)
    restarts.tick(1.0)
    assert started == [2, 2]


def test_a_slot_that_is_given_up_is_not_started_again(restarts: Restarts, started: list[int]) -> None:
    """Neither when its worker ends, nor when that was to be tried again."""
    restarts.failed(0, 0.0)
    restarts.remove(0)
    restarts.remove(1)
    restarts.gone(1, 0.0)
    restarts.failed(1, 0.0)
    restarts.tick(60.0)
    assert started == []
    assert restarts.next_deadline() is None
