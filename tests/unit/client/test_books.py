"""What is found by its id among the tasks of this process."""

from __future__ import annotations

import pytest
from client_harness import DONE, Handler

from meshq.client import books
from meshq.client.books import Books, size_of
from meshq.client.fanning import Fan
from meshq.client.future import Future
from meshq.ids import new_task_id


def open_one(made: Books, *, detached: bool) -> Future[int]:
    """Enter a task."""
    future: Future[int] = Future(Handler(), new_task_id(), "f", "msgpack", detached=detached)
    made.open(future, size_of(future))
    return future


def test_unfinished_tasks_are_found_and_detached_ones_afterwards_too() -> None:
    """An attached task that has ended is its future's, which the program has."""
    made = Books()
    for detached in (False, True):
        future = open_one(made, detached=detached)
        assert made.find(future.id) is future
        made.settle([(future, DONE)], lambda *_: "")
        assert made.find(future.id) is (future if detached else None)


def test_what_is_noted_is_found_until_it_is_forgotten_or_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for so many; the oldest make room."""
    monkeypatch.setattr(books, "MAX_RECENT", 2)
    made = Books()
    fans = [Fan[int]([], Handler()) for _ in range(3)]
    for fan in fans:
        made.note(fan)
    assert [made.find(fan.id) for fan in fans] == [None, fans[1], fans[2]]
    made.forget(fans[1].id)
    assert made.find(fans[1].id) is None
