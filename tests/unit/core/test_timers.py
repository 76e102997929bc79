"""Timers: deadlines by key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshq.core.timers import Timers, earliest


def test_nothing_is_due_when_nothing_is_set() -> None:
    """Empty timers have no deadline and nothing due."""
    timers: Timers[str] = Timers()
    assert timers.next_deadline() is None
    assert timers.pop_due(1e9) == []
    assert timers.get("a") is None


def test_keys_come_out_in_the_order_of_their_deadlines() -> None:
    """What is due comes out once, earliest first, and the rest stays."""
    timers: Timers[str] = Timers()
    timers.set("late", 3.0)
    timers.set("soon", 1.0)
    timers.set("middle", 2.0)
    assert timers.next_deadline() == 1.0
    assert timers.pop_due(2.0) == ["soon", "middle"]
    assert timers.pop_due(2.0) == []
    assert timers.next_deadline() == 3.0
    assert list(timers.items()) == [("late", 3.0)]


def test_ties_keep_the_order_of_setting_even_for_keys_without_an_order() -> None:
    """Keys that cannot be compared may share a deadline."""
    timers: Timers[object] = Timers()
    for key in (1, "a", None, b"x"):
        timers.set(key, 5.0)
    assert timers.pop_due(5.0) == [1, "a", None, b"x"]


def test_setting_a_key_again_moves_it() -> None:
    """A key has one deadline: the last one set, be it earlier or later."""
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert timers.next_deadline() == 5.0
    assert timers.pop_due(4.0) == []
    timers.set("a", 2.0)
    assert timers.get("a") == 2.0
    assert timers.pop_due(10.0) == ["a"]
    assert timers.next_deadline() is None


def test_a_cancelled_key_is_never_due() -> None:
    """Cancelling removes the deadline; cancelling twice is harmless; the key can be set anew."""
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    timers.cancel("a")
    assert timers.next_deadline() is None
    timers.set("a", 1.0)
    timers.set("b", 0.5)
    timers.cancel("b")
    assert timers.pop_due(1.0) == ["a"]
    assert len(timers) == 0


def test_memory_stays_bounded_when_keys_are_moved_without_end() -> None:
    """A heartbeat that moves its deadline a million times must not leave a million entries behind."""
    timers: Timers[int] = Timers()
    for step in range(5_000):
        timers.set(step % 50, 1e6 + step)
        assert len(timers._heap) <= 100
    for key in range(50):
        timers.cancel(key)
    assert len(timers._heap) <= 16


def test_where_nothing_is_set_no_key_is_kept() -> None:
    """Neither when the last is cancelled nor when it is due: what a key stands for may be large."""
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.cancel("a")
    assert timers._heap == []
    timers.set("a", 1.0)
    timers.set("late", 100.0)
    timers.cancel("late")
    assert timers.pop_due(1.0) == ["a"]
    assert (timers._heap, timers.live) == ([], {})


@given(st.lists(st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.integers(0, 5), st.integers(0, 20))))
def test_timers_agree_with_a_plain_dict(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order of calls, timers behave like a dict searched from end to end."""
    timers: Timers[int] = Timers()
    model: dict[int, float] = {}
    for verb, key, at in steps:
        if verb == "set":
            timers.set(key, at)
            model[key] = at
        elif verb == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = timers.pop_due(at)
            assert sorted(due) == sorted(k for k, deadline in model.items() if deadline <= at)
            deadlines = [model.pop(k) for k in due]
            assert deadlines == sorted(deadlines)
        assert timers.next_deadline() == min(model.values(), default=None)
        assert len(timers) == len(model)


def test_earliest_takes_none_as_never() -> None:
    """The earliest of several machines' deadlines leaves out those that have none."""
    assert earliest(None, 3.0, 2.0, None) == 2.0
    assert earliest(None, None) is None
