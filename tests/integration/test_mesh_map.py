"""``map`` over real nodes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import work
from mesh_harness import Stage, wait_until

from meshq import EncodingError, Mesh, MeshqError, WorkerLost


class Counted:
    """An endless iterator that knows how far it was pulled."""

    def __init__(self) -> None:
        self.pulled = 0

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            self.pulled += 1
            yield number


def idle(mesh: Mesh) -> bool:
    """Whether no node has anything queued or running."""
    replies = mesh.control.ping().by_node()
    return bool(replies) and all(reply["queued"] == reply["running"] == 0 for reply in replies.values())


def test_results_come_in_the_order_of_the_items(mesh: Mesh) -> None:
    """However long each item takes, results are ordered."""
    seconds = [0.2, 0.0, 0.1, 0.0, 0.05]
    assert list(mesh.map(work.nap, seconds, range(5))) == [0, 1, 2, 3, 4]


def test_unordered_results_come_as_they_finish(mesh: Mesh) -> None:
    """With ``ordered=False`` a slow first item does not hold up the others; all come."""
    results = list(mesh.map(work.nap, [1.0, *[0.0] * 9], range(10), ordered=False))
    assert sorted(results) == list(range(10))
    assert results[0] != 0


def test_several_iterables_end_with_the_shortest(mesh: Mesh) -> None:
    """As the built-in ``map``."""
    assert list(mesh.map(work.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]
    assert list(mesh.map(work.add, [], [])) == []


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_hundred_thousand_items(mesh: Mesh, chunksize: int) -> None:
    """Every item has its result, in its place, in chunks of any size."""
    count = 100_000 if chunksize > 1 else 20_000
    assert list(mesh.map(work.add, range(count), itertools.repeat(1), chunksize=chunksize)) == list(
        range(1, count + 1)
    )


def test_a_million_cheap_calls_need_no_chunk_size(mesh: Mesh) -> None:
    """They travel together by themselves, each with its own result."""
    assert sum(mesh.map(work.add, range(1_000_000), itertools.repeat(1))) == sum(range(1, 1_000_001))


def test_slow_calls_among_cheap_ones_are_shared_out(stage: Stage) -> None:
    """A chunk that turns out to take long gives back what it has not begun."""
    stage.start(slots=4)
    mesh = stage.client()
    seconds = [0.0] * 3_000 + [0.25] * 12 + [0.0] * 3_000
    began = time.monotonic()
    assert list(mesh.map(work.nap, seconds, range(len(seconds)))) == list(range(len(seconds)))
    assert time.monotonic() - began < 2.2, "one after the other they take 3 s"


def test_a_call_that_kills_its_worker_takes_no_other_with_it(mesh: Mesh) -> None:
    """It fails in its place, and those that travelled with it have their results."""
    items = list(range(2_000))
    got = list(mesh.map(work.die_at, items, itertools.repeat(1_500), return_exceptions=True))
    assert isinstance(got[1_500], WorkerLost)
    assert [value for value in got if isinstance(value, int)] == [n for n in items if n != 1_500]


def test_limits_and_retries_count_for_each_call(mesh: Mesh, tmp_path: Path) -> None:
    """Calls whose function has some are tasks of their own, whoever has set them."""
    mesh.control.rate_limit("work.add", "50/s", reply=True)
    began = time.monotonic()
    assert list(mesh.map("work.add", range(80), itertools.repeat(1))) == list(range(1, 81))
    assert time.monotonic() - began > 0.5
    paths = [str(tmp_path / str(number)) for number in range(100)]
    assert list(mesh.map("work.second_try", paths)) == paths


@pytest.mark.parametrize("chunksize", [1, 50])
def test_items_are_pulled_as_results_are_consumed(mesh: Mesh, chunksize: int) -> None:
    """An endless iterable is pulled only a bounded way ahead, and further when results are taken."""
    items = Counted()
    results = mesh.map(work.add, items, itertools.repeat(0), chunksize=chunksize)
    assert next(results) == 0
    assert next(results) == 1
    pulled = items.pulled
    assert pulled < 30_000
    assert [next(results) for _ in range(100)] == list(range(2, 102))
    assert pulled <= items.pulled <= pulled + 200
    results.close()  # type: ignore[attr-defined]


def test_nothing_more_is_pulled_after_an_error(mesh: Mesh) -> None:
    """An item's error is raised in its place; the iterator is then at its end, and the rest is withdrawn."""
    items = Counted()
    results = mesh.map(work.fail_at, items, itertools.repeat(3))
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    with pytest.raises(ValueError, match="3 is bad"):
        next(results)
    pulled = items.pulled
    assert list(results) == []
    assert items.pulled == pulled
    wait_until(lambda: idle(mesh), what="the rest is withdrawn")


def test_exceptions_can_be_returned_in_their_places(mesh: Mesh) -> None:
    """With ``return_exceptions`` the other items are not disturbed."""
    results = list(mesh.map(work.fail_at, range(4), itertools.repeat(2), return_exceptions=True))
    assert results[:2] == [0, 10]
    assert isinstance(results[2], ValueError)
    assert results[3] == 30


def test_an_error_inside_of_a_chunk_is_that_items_alone(mesh: Mesh) -> None:
    """The items before it in the chunk come, and with ``return_exceptions`` those after it too."""
    results = mesh.map(work.fail_at, range(10), itertools.repeat(4), chunksize=5)
    assert [next(results) for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(ValueError, match="4 is bad") as caught:
        next(results)
    assert "work.py" in str(caught.value.__cause__)
    kept = list(mesh.map(work.fail_at, range(10), itertools.repeat(4), chunksize=5, return_exceptions=True))
    assert [value for value in kept if not isinstance(value, ValueError)] == [0, 10, 20, 30, 50, 60, 70, 80, 90]
    assert isinstance(kept[4], ValueError)


def test_the_timeout_is_for_all_items_together(mesh: Mesh) -> None:
    """``TimeoutError`` comes at the timeout, counted from the call of ``map``, and the rest is withdrawn."""
    begin = time.monotonic()
    results = mesh.map(work.nap, itertools.repeat(0.2), range(1000), timeout=0.7)
    with pytest.raises(TimeoutError):
        list(results)
    assert 0.6 < time.monotonic() - begin < 2.5
    wait_until(lambda: idle(mesh), what="the rest is withdrawn")


def test_abandoning_the_iterator_withdraws_the_rest(stage: Stage, tmp_path: Path) -> None:
    """When nobody can ask for further results, what is queued is not run."""
    stage.start()
    mesh = stage.client()
    path = tmp_path / "ran"
    results = mesh.map(work.note, itertools.repeat(str(path), 500), itertools.repeat(0.02))
    next(results)
    del results
    wait_until(lambda: idle(mesh), 5.0, "the rest is withdrawn")
    assert len(path.read_text().split()) < 100


def test_wrong_arguments_are_refused_at_once(mesh: Mesh) -> None:
    """A chunk size below 1 and a negative timeout are errors that say what is wanted."""
    with pytest.raises(ValueError, match="chunksize"):
        mesh.map(work.add, [1], [2], chunksize=0)
    with pytest.raises(ValueError, match="timeout"):
        mesh.map(work.add, [1], [2], timeout=-1)
    with pytest.raises(ValueError, match="iterable"):
        mesh.map(work.add)


def test_waiting_for_results_in_a_callback_is_refused(mesh: Mesh) -> None:
    """The thread that brings results must not wait for them; the error says so."""
    said: list[str] = []

    def call(done: object) -> None:
        try:
            list(mesh.map(work.nap, [0.1], [1]))
        except MeshqError as error:
            said.append(str(error))

    mesh.submit(work.nap, 0.1).add_done_callback(call)
    wait_until(lambda: said)
    assert "callback" in said[0]


def test_an_error_of_the_iterable_is_raised(mesh: Mesh) -> None:
    """What the caller's own generator raises comes out of ``map``, and what was submitted is withdrawn."""

    def items() -> Iterator[int]:
        yield 1
        raise LookupError("the source is broken")

    with pytest.raises(LookupError, match="the source is broken"):
        list(mesh.map(work.add, items(), itertools.repeat(1)))
    wait_until(lambda: idle(mesh), what="what was submitted is withdrawn")


@pytest.mark.parametrize(("chunksize", "ordered"), [(1, True), (1, False), (2, True)])
def test_an_item_that_cannot_travel_is_an_error_in_its_place(mesh: Mesh, chunksize: int, ordered: bool) -> None:
    """With ``return_exceptions`` the others are not lost for it, nor those of its own chunk."""
    items = [1, object(), 3, 4]
    got = list(mesh.map(work.echo, items, chunksize=chunksize, ordered=ordered, return_exceptions=True))
    assert sorted(item for item in got if isinstance(item, int)) == [1, 3, 4]
    assert sum(isinstance(item, EncodingError) for item in got) == 1
    if ordered:
        assert isinstance(got[1], EncodingError)
