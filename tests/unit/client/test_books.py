"""What is found by its id among the tasks of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

import pytest
from client_harness import DONE, Handler

from meshq.client import books
from meshq.client.books import Books, size_of
from meshq.client.fanning import Fan
from meshq.client.future import Future
from meshq.core.owned import Ending, Outcome
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


def test_the_room_of_a_task_is_free_when_its_future_is_done() -> None:
    """Whoever is told of that may submit the next one at once."""
    made, seen = Books(), []
    future = open_one(made, detached=False)
    future.add_done_callback(lambda _: seen.append(made.bytes))
    assert made.bytes == size_of(future)
    made.settle([(future, DONE)], lambda *_: "")
    assert seen == [0]


def test_the_ends_of_a_batch_come_in_their_order() -> None:
    """Those that somebody waits for are told in the order in which they ended, whichever way that was."""
    made, seen = Books(), []
    futures = [open_one(made, detached=False) for _ in range(4)]
    for future in futures[1:]:
        future.add_done_callback(seen.append)
    cancelled = Outcome(Ending.CANCELLED)
    made.settle(list(zip(futures, [DONE, DONE, cancelled, DONE], strict=True)), lambda *_: "")
    assert seen == futures[1:]
    assert [future.done() for future in futures] == [True] * 4
    assert [future.cancelled() for future in futures] == [False, False, True, False]
    assert (made.bytes, made.attached()) == (0, 0)
    made.settle([], lambda *_: "")


def test_a_task_that_was_not_handed_over_is_nobody_s() -> None:
    """A signal may come between; closing would wait for it for ever, and its room be lost."""
    for detached in (False, True):
        made = Books()
        future = open_one(made, detached=detached)
        made.take_back(future, size_of(future))
        assert (made.bytes, made.attached(), made.find(future.id)) == (0, 0, None)
        made.take_back(future, size_of(future))
        assert made.bytes == 0


def test_what_has_been_abandoned_is_not_settled_again() -> None:
    """A result that comes as the mesh closes changes nothing."""
    made = Books()
    future = open_one(made, detached=False)
    error = RuntimeError("over")
    made.abandon(error)
    made.settle([(future, DONE)], lambda *_: "")
    assert future.exception() is error


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


def keyed(made: Books, **options: Any) -> Future[Any]:
    """Open a task with an idempotency key."""
    task: Future[Any] = Future(Handler(), b"k" * 16, "f", "msgpack", b"", **options)
    task.options = {"key": True}
    return made.open(task, size_of(task))


def test_calls_with_the_same_key_are_one_task() -> None:
    """While it is unfinished, and for a while after it has ended, well or not."""
    made = Books()
    first = keyed(made)
    assert keyed(made) is first
    assert keyed(made, detached=True) is first
    made.settle([(first, Outcome(Ending.DONE, "msgpack", b"\1"))], lambda *_: "")
    assert keyed(made) is first
    assert keyed(made).result() == 1
    assert made.bytes == 0


@pytest.mark.parametrize("detached", [False, True])
def test_a_key_is_free_again(monkeypatch: pytest.MonkeyPatch, detached: bool) -> None:
    """After an hour, or where its task has not run; the attempts of the next one are numbered on."""
    made = Books()
    first = keyed(made, detached=detached)
    first.attempt = 3
    made.settle([(first, Outcome(Ending.NO_NODES))], lambda *_: "")
    second = keyed(made, detached=detached)
    assert second is not first
    assert second.attempt == 3
    made.settle([(second, Outcome(Ending.LOST, text="gone"))], lambda *_: "")
    assert keyed(made) is second
    later = time.monotonic() + books.KEY_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert keyed(made) is not second


def test_the_keys_that_are_remembered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten."""
    monkeypatch.setattr(books, "MAX_RECENT", 1)
    made = Books()
    monkeypatch.setattr(made, "_keyed", OrderedDict({b"old": (0.0, None)}))
    first = keyed(made)
    made.settle([(first, Outcome(Ending.DONE, "msgpack", b"\1"))], lambda *_: "")
    assert list(made._keyed) == [first.id]


def test_a_task_with_a_key_is_found_after_its_end() -> None:
    """Whoever attaches to it gets the future that is known; of others the program has it alone."""
    made = Books()
    first, other = keyed(made), open_one(made, detached=False)
    made.settle([(first, DONE), (other, DONE)], lambda *_: "")
    assert made.find_ended(first.id) is first
    assert made.find_ended(other.id) is None
