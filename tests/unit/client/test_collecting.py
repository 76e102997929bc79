"""When a client has the garbage collector look at young objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from meshq.client import collecting


@pytest.fixture
def looks() -> Iterator[list[int]]:
    """The generations that were looked at."""
    told: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "stop":
            told.append(info["generation"])

    gc.callbacks.append(note)
    yield told
    gc.callbacks.remove(note)


def test_only_the_young_are_looked_at(looks: list[int]) -> None:
    """However many futures wait, they are left alone."""
    collecting.collect_young()
    assert looks[-1:] == [1]


def test_a_collector_that_is_turned_off_stays_so(looks: list[int]) -> None:
    """A program has its reasons."""
    gc.disable()
    try:
        collecting.collect_young()
        assert looks == []
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_where_there_are_no_generations(looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that goes through the old ones bit by bit is left to itself."""
    monkeypatch.setattr(collecting, "_HAS_GENERATIONS", False)
    gc.collect()
    looks.clear()
    collecting.collect_young()
    assert looks == []
