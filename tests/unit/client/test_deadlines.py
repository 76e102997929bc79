"""Calls that are due on a loop at an instant."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from meshq.client.deadlines import Deadlines
from meshq.client.runtime import LoopPart
from meshq.transport.loop import Loop


class Stage:
    """A loop with deadlines, and the calls that were made."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.parts: list[LoopPart] = []
        self.deadlines = Deadlines(self.loop, self.parts)
        self.called: list[str] = []

    def first(self) -> None:
        self.called.append("first")

    def second(self) -> None:
        self.called.append("second")

    def turn(self) -> None:
        """Turn the loop once, as a client does."""
        self.loop.turn(0)
        for part in self.parts:
            part.step()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A loop with deadlines."""
    made = Stage()
    yield made
    made.loop.close()


def test_what_is_due_is_called_once(stage: Stage) -> None:
    """The earliest first; what is not due is not."""
    now = time.monotonic()
    stage.deadlines.add(now - 1, stage.second)
    stage.deadlines.add(now - 2, stage.first)
    stage.deadlines.add(now + 60, stage.turn)
    stage.turn()
    stage.turn()
    assert stage.called == ["first", "second"]
    left = stage.deadlines.timeout()
    assert left is not None
    assert 50 < left <= 60


def test_what_is_dropped_is_not_called(stage: Stage) -> None:
    """Nor does the loop wake for it."""
    stage.deadlines.add(time.monotonic(), stage.first)
    stage.deadlines.drop(stage.first)
    stage.turn()
    assert stage.called == []
    assert stage.deadlines.timeout() is None


def test_it_takes_part_in_the_loop_only_from_the_first_one_on(stage: Stage) -> None:
    """A mesh without timeouts pays nothing; one with many has one part."""
    stage.turn()
    assert stage.parts == []
    for _ in range(2):
        stage.deadlines.add(time.monotonic() + 60, stage.first)
        stage.turn()
    assert stage.parts == [stage.deadlines]
    stage.deadlines.close()
