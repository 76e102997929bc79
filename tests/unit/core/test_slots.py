"""Slots: where a run goes, and what may go ahead of it."""

from __future__ import annotations

from math import inf

import pytest

from meshq.core.held import ClientAccount, Held
from meshq.core.slots import LONG_RUN_S, MAX_AHEAD, Slot, Slots, at_hand
from meshq.protocol.messages import Submit

CLIENT = ClientAccount(b"a" * 16, now=0.0)


def held() -> Held:
    """Return an attempt."""
    return Held(CLIENT, *Submit(b"t" * 16, 1, "f", "msgpack", b""))


def place(slots: Slots, *means_s: float | None, now: float = 0.0) -> list[int | None]:
    """Place runs of these means one after the other; return the slot of each, None where it must wait."""
    heap = slots.heap(now)
    placed = [slots.place(held(), mean_s, heap, now, in_turn=True) for mean_s in means_s]
    return [slot.number if slot is not None else None for slot in placed]


def ready(count: int) -> Slots:
    """Return slots whose workers are ready."""
    slots = Slots(count)
    for slot in slots:
        slot.ready = True
    return slots


def test_only_ready_slots_may_have_room() -> None:
    """A slot whose worker is not there, or not yet, gets nothing."""
    slots = Slots(2)
    assert slots.heap(0.0) == []
    slots.all[1].ready = True
    assert place(slots, None) == [1]


def test_idle_slots_first_then_the_least_loaded() -> None:
    """Runs are spread by the expected time of what is there."""
    assert place(ready(2), 0.0015, 0.0005, 0.0005, 0.0005, 0.0005) == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("mean_s", "fits"),
    [(0.0005, 4), (0.001, 2), (0.0019, 2), (0.003, 2), (0.02, 2), (0.021, 1), (None, 1), (0.0, MAX_AHEAD)],
)
def test_a_slot_takes_two_milliseconds_of_work(mean_s: float | None, fits: int) -> None:
    """Of longer ones one is at hand besides; above 20 ms, or of unknown time, it is alone; very short ones are
    bounded in number."""
    assert place(ready(1), *[mean_s] * (fits + 1)) == [0] * fits + [None]


def test_not_even_a_run_of_no_time_goes_behind_one_of_unknown_time() -> None:
    """What is not known may take for ever."""
    assert place(ready(1), None, 0.0) == [0, None]


def test_runs_are_numbered_upwards() -> None:
    """A number is never used twice, on whatever slot."""
    slots, runs = ready(2), [held() for _ in range(3)]
    heap = slots.heap(0.0)
    for one in runs:
        slots.place(one, 0.001, heap, 0.0)
    assert [one.run for one in runs] == [1, 2, 3]
    assert [one.slot for one in runs] == [0, 1, 0]


def test_the_head_is_what_runs() -> None:
    """When it ends the next is, and is timed from then on; one taken from behind changes nothing of that."""
    slots, (first, second, third) = ready(1), [held() for _ in range(3)]
    [slot] = slots
    assert slot.head() is None
    heap = slots.heap(1.0)
    for one in (first, second, third):
        slots.place(one, 0.0005, heap, 1.0)
    slots.release(second, 1.005)
    assert slot.head() is first
    assert (slot.head_since, slot.load_s) == pytest.approx((1.0, 0.001))
    slots.release(first, 1.007)
    assert slot.head() is third
    assert (slot.head_since, slot.load_s) == pytest.approx((1.007, 0.0005))
    slots.release(third, 1.008)
    assert (slot.head(), slot.load_s) == (None, 0.0)


def test_a_slot_is_at_a_long_run_until_that_is_taken_off() -> None:
    """What is taken from behind it leaves it where it is."""
    slots, (first, second) = ready(1), [held() for _ in range(2)]
    heap = slots.heap(1.0)
    for one in (first, second):
        slots.place(one, 0.0005, heap, 1.0)
    slots.long.add(0)
    slots.release(second, 1.0 + LONG_RUN_S)
    assert slots.long == {0}
    slots.release(first, 1.0 + LONG_RUN_S)
    assert slots.long == set()


def test_an_empty_slot_carries_no_load() -> None:
    """Rounding does not add up over millions of runs, nor does a run of unknown time leave anything behind."""
    slots = ready(1)
    [slot] = slots
    for mean_s in (None, 0.0001, None):
        one = held()
        slots.place(one, mean_s, slots.heap(0.0), 0.0, in_turn=True)
        slots.release(one, 0.0)
        assert slot.load_s == 0.0


def test_a_slot_whose_run_lasts_is_no_candidate() -> None:
    """At 10 ms, to the instant, a run is long; an idle slot never is."""
    slots = ready(2)
    begin = 100.1
    assert place(slots, 0.0005, now=begin) == [0]
    assert [number for _, number, _ in slots.heap(begin)] == [1, 0]
    assert [number for _, number, _ in slots.heap(begin + LONG_RUN_S)] == [1]
    assert slots.all[0].is_long(begin + LONG_RUN_S)
    assert not Slot(0).is_long(begin)


def test_a_slot_that_is_added_gets_a_number_of_its_own() -> None:
    """Not that of one that was taken away."""
    slots = Slots(2)
    slots.remove(1)
    assert slots.add().number == 2
    assert [slot.number for slot in slots] == [0, 2]


@pytest.mark.parametrize("options", [{"expires": 1.0}, {"rate_limit": 200}, {"once": True}, {"priority": 5}])
def test_what_has_terms_of_its_own_is_not_at_hand(options: dict[str, object]) -> None:
    """Its token is spent when a worker is given it, and then it expires no more; 2 ms ahead do not matter."""
    with_terms = Held(CLIENT, *Submit(b"t" * 16, 1, "f", "msgpack", b"", options=options))
    assert with_terms.terms is not None
    slots = ready(1)
    assert place(slots, 0.010) == [0]
    assert slots.place(with_terms, 0.010, slots.heap(0.0), 0.0, in_turn=True) is None
    assert not slots.at_hand
    short = ready(1)
    assert place(short, 0.0005) == [0]
    assert short.place(with_terms, 0.0005, short.heap(0.0), 0.0) is short.all[0]


def test_nothing_waits_behind_what_takes_far_longer() -> None:
    """Another slot is free sooner, as a rule."""
    assert place(ready(1), 0.010, 0.004, 0.004) == [0, 0, None]
    assert place(ready(1), 0.010, 0.003) == [0, None]
    assert place(ready(1), 0.0005, 0.0005, 0.010) == [0, 0, None]
    assert place(ready(1), 0.021, 0.010) == [0, None]
    assert place(ready(1), 0.010, 0.021) == [0, None]


def test_what_waits_behind_a_run_is_called_back_when_that_takes_three_times_as_long() -> None:
    """Once for each run, and not before 10 ms; where nothing waits there is nothing to call back."""
    slots = ready(1)
    slot = slots.all[0]
    assert slot.recall_at() == inf
    assert place(slots, 0.005) == [0]
    assert slot.recall_at() == inf
    assert place(slots, 0.005) == [0]
    assert slot.recall_at() == pytest.approx(0.015)
    slot.called_back = next(iter(slot.runs))
    assert slot.recall_at() == inf
    short = ready(1)
    assert place(short, 0.0005, 0.0005) == [0, 0]
    assert short.all[0].recall_at() == LONG_RUN_S


def test_a_run_at_hand_is_one_that_takes_longer_than_what_goes_ahead() -> None:
    """The second of two; what is sent ahead by its time alone is none."""
    slots = ready(1)
    assert at_hand(slots.all[0]) is None
    assert place(slots, 0.0005, 0.0005) == [0, 0]
    assert at_hand(slots.all[0]) is None
    assert not slots.at_hand
    slots = ready(1)
    assert place(slots, 0.010, 0.010) == [0, 0]
    assert at_hand(slots.all[0]) is list(slots.all[0].runs.values())[1]
    assert slots.at_hand


def test_slots_that_are_given_nothing_more_do_not_count_as_busy() -> None:
    """What they run takes nothing from the work of the others."""
    slots = ready(2)
    slots.long |= {0, 1}
    assert slots.at_long_runs() == 2
    slots.all[1].ready = False
    assert slots.at_long_runs() == 1
