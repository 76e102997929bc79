"""The table of runs that a worker has not started."""

from __future__ import annotations

import sys
import threading

from hypothesis import given
from hypothesis import strategies as st

from meshq.workers.backlog import Backlog, Row


def row(run: int) -> Row:
    return [run, b"", 1, "f", "msgpack", b"", None]


def taken(backlog: Backlog) -> list[int]:
    runs = []
    while (found := backlog.take()) is not None:
        runs.append(found[0])
    return runs


def test_runs_leave_in_the_order_in_which_they_came() -> None:
    """What is not recalled is taken in order."""
    backlog = Backlog()
    backlog.add([row(1), row(2)])
    backlog.add([row(5)])
    assert taken(backlog) == [1, 2, 5]
    assert not backlog


def test_a_run_that_was_recalled_before_it_was_read_is_refused() -> None:
    """A run on its way is given back at once, and not started when it comes."""
    backlog = Backlog()
    backlog.add([row(1)])
    assert backlog.recall([2, 3]) == [2, 3]
    backlog.add([row(2), row(3), row(4)])
    assert taken(backlog) == [1, 4]


def test_what_has_started_or_was_given_back_is_not_given_back_again() -> None:
    """A second recall of the same run, and one of a run that has started, give nothing back."""
    backlog = Backlog()
    backlog.add([row(1), row(2)])
    backlog.take()
    assert backlog.recall([1, 2, 3]) == [2, 3]
    assert backlog.recall([1, 2, 3]) == []


@given(st.lists(st.sampled_from(["read", "take", "recall"]), max_size=60), st.randoms())
def test_each_run_is_started_or_given_back(steps: list[str], random: object) -> None:
    """In any interleaving, each run that was sent is started or given back, never both, never neither."""
    backlog, sent, started, back = Backlog(), 0, [], []
    on_the_way: list[int] = []
    for step in steps:
        if step == "read" and on_the_way:
            backlog.add([row(run) for run in on_the_way])
            on_the_way = []
        elif step == "take":
            found = backlog.take()
            started += [found[0]] if found else []
        elif step == "recall":
            back += backlog.recall([run for run in range(1, sent + 1) if random.random() < 0.3])  # type: ignore[attr-defined]
        sent += 1
        on_the_way.append(sent)
    if on_the_way:
        backlog.add([row(run) for run in on_the_way])
    started += taken(backlog)
    assert sorted(started + back) == list(range(1, sent + 1))


def race(backlog: Backlog, back: list[int]) -> list[int]:
    """Take runs while another thread recalls them; return those taken."""
    thread = threading.Thread(target=lambda: back.extend(backlog.recall(list(range(200, 0, -1)))))
    thread.start()
    started = taken(backlog)
    thread.join()
    return started


def test_two_threads_never_both_get_a_run() -> None:
    """With the main thread taking while another recalls, each run goes to exactly one of them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            backlog, back = Backlog(), []
            backlog.add([row(run) for run in range(1, 201)])
            started = race(backlog, back)
            assert sorted(started + back) == list(range(1, 201))
    finally:
        sys.setswitchinterval(interval)
