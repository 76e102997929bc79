"""Tasks that were given up, as a node lists them."""

from __future__ import annotations

import pytest

from meshq.core import dead
from meshq.core.dead import DeadLetters, DeadView
from meshq.core.held import ClientAccount
from meshq.protocol.messages import Dead

CLIENT = ClientAccount(b"c" * 16, 0.0)
A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def test_the_latest_come_first() -> None:
    """Each once, with how long ago that was."""
    letters = DeadLetters()
    for number, task in enumerate((A, B, A)):
        letters.on_dead(CLIENT, Dead(task, "f", f"story {number}"), float(number))
    assert list(letters.views(5.0)) == [DeadView(A, "f", "story 2", 3.0), DeadView(B, "f", "story 1", 4.0)]


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in length: owners may tell anything."""
    monkeypatch.setattr(dead, "MAX_DEAD", 2)
    letters = DeadLetters()
    for task in (A, B, C):
        letters.on_dead(CLIENT, Dead(task, "f" * 300, "s" * 10_000), 0.0)
    views = list(letters.views(0.0))
    assert [view.task for view in views] == [C, B]
    assert (len(views[0].function), len(views[0].story)) == (200, 2_000)
