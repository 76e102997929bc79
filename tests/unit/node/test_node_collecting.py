"""Garbage collection in a node's process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from meshq.node.collecting import spare_collections


@pytest.fixture
def restored() -> Iterator[None]:
    """Put this process back to what it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("restored")
def test_what_start_up_has_made_is_not_looked_at_again() -> None:
    """The collector stays on, for the cycles that come after."""
    before = gc.get_threshold()
    spare_collections()
    assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_threshold()[0] > before[0]
