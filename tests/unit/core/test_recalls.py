"""Recalls: each revoke is answered once, when the last of its runs is clear."""

from __future__ import annotations

from itertools import pairwise

import pytest

from meshq.core import recalls as module
from meshq.core.holding import RevokeAnswered
from meshq.core.recalls import NOT_REMEMBERED, STILL_RUNS, UNKNOWN, Recalls, Revoke

T, U, V = b"t" * 16, b"u" * 16, b"v" * 16


def revoke(token: str, signal: int, waiting: dict[int, bytes], due: float | None = None) -> Revoke:
    """Return a revoke that waits for these runs."""
    made = Revoke(token, signal, due)
    made.waiting.update(waiting)
    return made


def answers(recalls: Recalls) -> list[RevokeAnswered]:
    """Return the answers that are complete."""
    return list(recalls.answered())


def test_a_revoke_that_waits_for_nothing_is_answered_at_once_and_once() -> None:
    """With what was noted so far."""
    recalls = Recalls()
    made = revoke("token", 0, {})
    made.note(T, "dropped")
    recalls.add(made)
    assert answers(recalls) == [RevokeAnswered("token", {T: "dropped"})]
    assert answers(recalls) == []


def test_it_waits_for_its_last_run() -> None:
    """Runs of other revokes, and those of none, are no concern of it."""
    recalls = Recalls()
    recalls.add(revoke("first", 0, {1: T, 2: U}))
    recalls.add(revoke("second", 0, {2: U}))
    recalls.resolve(9, "dropped")
    recalls.resolve(2, "finished")
    assert answers(recalls) == [RevokeAnswered("second", {U: "finished"})]
    assert recalls.waits_for(1)
    assert not recalls.waits_for(2)
    recalls.resolve(1, "dropped")
    assert answers(recalls) == [RevokeAnswered("first", {T: "dropped", U: "finished"})]


@pytest.mark.parametrize(
    ("more", "less"),
    list(pairwise([STILL_RUNS, "terminated", "running", "dropped", "finished", UNKNOWN, NOT_REMEMBERED])),
)
def test_of_several_attempts_the_one_that_matters_most_is_named(more: str, less: str) -> None:
    """In whatever order they are noted."""
    for first, second in ((more, less), (less, more)):
        made = Revoke("token", 0)
        made.note(T, first)
        made.note(T, second)
        assert made.outcome == {T: more}


def test_a_run_that_has_started_needs_no_signal_where_none_was_asked_for() -> None:
    """The revoke is answered "running"."""
    recalls = Recalls()
    recalls.add(revoke("token", 0, {1: T}))
    assert recalls.started(1) == 0
    assert answers(recalls) == [RevokeAnswered("token", {T: "running"})]


def test_the_newest_signal_counts_and_each_is_sent_once() -> None:
    """KILL after TERM is KILL, though its number is the lower; a second answer of the worker sends nothing."""
    recalls = Recalls()
    recalls.add(revoke("first", 15, {1: T}))
    assert recalls.started(1) == 15
    assert recalls.started(1) == 0
    recalls.add(revoke("second", 15, {1: T}))
    recalls.add(revoke("third", 9, {1: T}))
    recalls.add(revoke("other", 2, {7: U}))
    assert recalls.started(1) == 9
    assert recalls.started(1) == 0
    assert answers(recalls) == []
    recalls.resolve(1, "terminated")
    assert [answer.token for answer in answers(recalls)] == ["first", "second", "third"]


def test_too_many_that_wait_are_answered_as_things_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that ignores its signals cannot fill the memory with those who sent them."""
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    recalls = Recalls()
    for token in ("first", "second", "third"):
        recalls.add(revoke(token, 15, {1: T, 2: T}))
    assert answers(recalls) == [RevokeAnswered("first", {T: "running"})]
    assert recalls.waits_for(1)


def test_a_revoke_is_answered_when_its_time_is_over() -> None:
    """Those that survive their signal are named, and so is what is known of the others."""
    recalls = Recalls()
    assert recalls.timers.next_deadline() is None
    made = revoke("token", 15, {1: T, 2: U}, due=5.0)
    made.note(V, "dropped")
    recalls.add(made)
    recalls.add(revoke("patient", 15, {1: T}))
    assert recalls.started(1) == 15
    assert recalls.timers.next_deadline() == 5.0
    recalls.tick(4.9)
    assert answers(recalls) == []
    recalls.tick(5.0)
    assert answers(recalls) == [RevokeAnswered("token", {T: STILL_RUNS, U: "running", V: "dropped"})]
    assert recalls.timers.next_deadline() is None
    assert recalls.waits_for(1)


def test_a_revoke_that_was_answered_has_no_deadline_any_more() -> None:
    """Nobody is woken for it."""
    recalls = Recalls()
    recalls.add(revoke("token", 15, {1: T}, due=5.0))
    recalls.resolve(1, "terminated")
    assert answers(recalls) == [RevokeAnswered("token", {T: "terminated"})]
    assert recalls.timers.next_deadline() is None
