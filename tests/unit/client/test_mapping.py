"""``map`` with a mesh that is played by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from client_harness import Handler

from meshq.client import mapping
from meshq.client.future import Future
from meshq.client.mapping import Mapping
from meshq.client.portions import Calls
from meshq.core.owned import Ending, Outcome
from meshq.errors import ChunkRefused, EncodingError, QueueFull, TaskRevoked, WorkerLost
from meshq.ids import new_task_id
from meshq.protocol.chunks import SPLIT, WHOLE
from meshq.protocol.codec import serializer

MSGPACK = serializer("msgpack")


class Workers(Handler):
    """A mesh whose calls add one: each task is carried out when somebody waits, by ``carry_out``."""

    def __init__(self, carry_out: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__()
        self.sent: list[tuple[Any, tuple[Any, ...]]] = []
        self._waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []
        self._carry_out = carry_out or plus_one

    def submit(self, args: tuple[Any, ...], chunk: Any) -> Future[Any]:
        """Take a task."""
        payload = MSGPACK.dumps_call(args, {})
        future: Future[Any] = Future(self, new_task_id(), "f", "msgpack", payload)
        self.sent.append((chunk, args))
        self._waiting.append((future, chunk, args))
        return future

    def turn_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Carry the oldest task out."""
        future, chunk, args = self._waiting.pop(0)
        value = self._carry_out(chunk, args)
        if isinstance(value, Exception):
            future.settle_failed(value)
        else:
            future.settle(Outcome(Ending.DONE, "msgpack", MSGPACK.dumps(value, "it")))

    def map(self, *iterables: Any, ordered: bool = True, **options: Any) -> Mapping:
        """Begin a map."""
        settings = {"chunksize": None, "return_exceptions": False, "timeout": None, **options}
        calls = Calls((), iterables)
        return Mapping(self, self.submit, self.withdraw_soon, lambda: 2, calls, ordered=ordered, **settings)

    def sizes(self, kind: Any = SPLIT) -> list[int]:
        """Return how many calls the tasks of a kind had."""
        return [len(args[0]) if chunk else 1 for chunk, args in self.sent if chunk == kind]


def plus_one(chunk: Any, args: tuple[Any, ...], seconds: float = 1e-6) -> Any:
    """Add one to each item, which takes some microseconds."""
    return args[0] + 1 if chunk is None else [[x + 1 for x in args[0]], [], seconds * len(args[0]), False]


@pytest.mark.parametrize("ordered", [True, False])
def test_cheap_calls_travel_together(ordered: bool) -> None:
    """The first go alone; then chunks grow, and every call has its result."""
    mesh = Workers()
    results = list(mesh.map(range(100_000), ordered=ordered).results())
    assert sorted(results) == list(range(1, 100_001))
    assert results == sorted(results) or not ordered
    assert max(mesh.sizes()) > 1_000
    assert len(mesh.sent) < 300


def test_calls_that_take_their_time_go_alone() -> None:
    """As tasks of their own, with all that tasks have; now and then one shows whether that is still so."""
    mesh = Workers(lambda chunk, args: plus_one(chunk, args, 1.0))
    assert list(mesh.map(range(1_000)).results()) == list(range(1, 1_001))
    assert set(mesh.sizes()) == {1}
    assert len(mesh.sizes(None)) > 800


@pytest.mark.parametrize("ordered", [True, False])
def test_the_rest_of_a_chunk_that_came_back_short_is_sent_again(ordered: bool) -> None:
    """In pieces that suit what calls have turned out to take, and nothing is out of order."""

    def slow(chunk: Any, args: tuple[Any, ...]) -> Any:
        if chunk and len(args[0]) > 8 and 200 in args[0]:
            count = args[0].index(200) + 1
            return [[x + 1 for x in args[0][:count]], [], count * 0.001, False]
        return plus_one(chunk, args)

    mesh = Workers(slow)
    results = list(mesh.map(range(1_000), ordered=ordered).results())
    assert sorted(results) == list(range(1, 1_001))
    assert results == sorted(results) or not ordered


@pytest.mark.parametrize("error", [WorkerLost("it died"), ChunkRefused("there are limits")])
def test_calls_of_a_chunk_that_failed_as_a_whole_go_alone(error: Exception) -> None:
    """One of them may have killed its worker: the others have a right to their own ends."""
    mesh = Workers(lambda chunk, args: error if chunk else plus_one(chunk, args))
    assert list(mesh.map(range(200)).results()) == list(range(1, 201))
    refused = isinstance(error, ChunkRefused)
    assert len(mesh.sizes(None)) == 200
    assert not refused or len(mesh.sizes()) == 64  # those that were under way when the first came back


def test_a_chunk_that_is_to_go_on_singly() -> None:
    """A call has asked for another try: it and those behind it are tasks of their own, and all the next ones."""

    def asks(chunk: Any, args: tuple[Any, ...]) -> Any:
        values = [x + 1 for x in args[0] if x < 300] if chunk else []
        return [values, [], 1e-6, len(values) < len(args[0])] if chunk else plus_one(chunk, args)

    mesh = Workers(asks)
    assert list(mesh.map(range(400)).results()) == list(range(1, 401))
    assert len(mesh.sizes(None)) == 100


@pytest.mark.parametrize("chunksize", [None, 1, 3])
def test_an_item_that_cannot_travel_fails_in_its_place(chunksize: int | None) -> None:
    """With ``return_exceptions`` the others come; else those before it do."""
    items: list[Any] = [*range(70), object(), *range(71, 80)]
    mesh = Workers()
    got = list(mesh.map(items, chunksize=chunksize, return_exceptions=True).results())
    assert [number for number, value in enumerate(got) if isinstance(value, EncodingError)] == [70]
    assert [value for value in got if isinstance(value, int)] == [*range(1, 71), *range(72, 81)]
    results = Workers().map(items, chunksize=chunksize).results()
    assert [next(results) for _ in range(70)] == list(range(1, 71))
    with pytest.raises(EncodingError, match="argument 1"):
        next(results)


def test_chunks_that_were_asked_for_fail_as_a_whole() -> None:
    """Who has cut them has said that their calls belong together."""
    mesh = Workers(lambda chunk, args: TaskRevoked("revoked") if 4 in args[0] else plus_one(chunk, args))
    got = list(mesh.map(range(6), chunksize=2, return_exceptions=True).results())
    assert mesh.sizes(WHOLE) == [2, 2, 2]
    assert got[:4] == [1, 2, 3, 4]
    assert [type(each) for each in got[4:]] == [TaskRevoked, TaskRevoked]


def test_a_failure_that_is_none_is_an_error() -> None:
    """A peer may say anything; the other items come."""
    mesh = Workers(lambda chunk, args: [[None, 2], [[0, b"nonsense"]], 0.0, False])
    first, second = mesh.map([1, 1], chunksize=2, return_exceptions=True).results()
    assert isinstance(first, Exception)
    assert second == 2


def test_what_is_not_consumed_is_withdrawn() -> None:
    """Whether the results were closed, dropped, or never asked for."""
    mesh = Workers()
    results = mesh.map(range(1_000)).results()
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(mesh.withdrawn) == len(mesh.sent) - 1
    unused = Workers()
    del results
    mapping = unused.map(range(10)).results()
    del mapping
    assert len(unused.withdrawn) == 10


def test_little_is_taken_ahead_of_what_is_known() -> None:
    """An endless iterable is pulled a bounded way."""
    pulled = 0

    def endless() -> Any:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    results = Workers().map(endless()).results()
    assert next(results) == 2
    assert pulled < 200
    for _ in range(50_000):
        next(results)
    assert pulled < 50_000 + 70_000


@pytest.mark.parametrize("chunksize", [None, 1, 2])
def test_large_results_do_not_pile_up(chunksize: int | None) -> None:
    """However many calls may be ahead, what comes of them stays within some 64 MB where nobody consumes it."""
    value = bytes(2 * 2**20)

    def render(chunk: Any, args: tuple[Any, ...]) -> Any:
        return value if chunk is None else [[value] * len(args[0]), [], 0.05 * len(args[0]), False]

    mesh = Workers(render)
    results = mesh.map(iter(range(200)), chunksize=chunksize).results()
    for _ in range(20):
        next(results)
    calls = sum(len(args[0]) if chunk else 1 for chunk, args in mesh.sent)
    assert 20 <= calls <= 130  # of which most were sent before one had come back
    assert len(list(results)) == 180


def test_slots_that_are_found_later_are_used_before_anything_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that began before the nodes were found does not wait for the end of an hour's work to fill them."""
    monkeypatch.setattr(mapping, "_LOOK_AGAIN_S", 0.001)
    slots = 0

    class Joining(Workers):
        def turn_until(self, done: Callable[[], bool], timeout: float | None) -> None:
            nonlocal slots
            if slots:
                super().turn_until(done, timeout)
            slots = 500

    mesh = Joining()
    calls = Calls((), [range(2_000)])
    made = Mapping(
        mesh, mesh.submit, mesh.withdraw_soon, lambda: slots, calls,
        chunksize=1, ordered=True, return_exceptions=False, timeout=None,
    )  # fmt: skip
    assert len(mesh.sent) == 64
    assert next(made.results()) == 1
    assert len(mesh.sent) >= 1_000


class Narrow(Workers):
    """One whose outbox has room for one task at a time, but for chunks of several calls none for a while."""

    def submit(self, args: tuple[Any, ...], chunk: Any) -> Future[Any]:
        """Take a task if there is none."""
        if self._waiting:
            raise QueueFull("full")
        return super().submit(args, chunk)


def test_a_full_outbox_is_waited_for_while_something_is_under_way() -> None:
    """All results come, in order, though each task finds room only when the one before it has ended."""

    def short(chunk: Any, args: tuple[Any, ...]) -> Any:
        return plus_one(chunk, args) if chunk is None else [[x + 1 for x in args[0][:3]], [], 0.05, False]

    assert list(Narrow(short).map(range(100)).results()) == list(range(1, 101))
    assert list(Narrow().map(range(10), chunksize=1).results()) == list(range(1, 11))


def test_a_full_outbox_is_an_error_where_nothing_will_make_room() -> None:
    """Who asks for too much at once is told so, rather than waiting for ever."""

    def full(*_: Any) -> Any:
        raise QueueFull("full")

    full_mesh = Workers()
    full_mesh.submit = full  # type: ignore[method-assign]
    with pytest.raises(QueueFull):
        full_mesh.map(range(10))


def test_items_that_a_generator_uses_again_are_sent_as_they_were() -> None:
    """Each is encoded before the next one is taken; those of a list cannot change so."""

    def rows() -> Any:
        row = [0]
        for number in range(500):
            row[0] = number
            yield row

    def echo(chunk: Any, args: tuple[Any, ...]) -> Any:
        return args[0] if chunk is None else [list(args[0]), [], 1e-6, False]

    class Encoding(Workers):
        def submit(self, args: tuple[Any, ...], chunk: Any) -> Future[Any]:
            return super().submit(MSGPACK.loads_call(MSGPACK.dumps_call(args, {}))[0], chunk)

    assert list(Encoding(echo).map(rows()).results()) == [[number] for number in range(500)]
    mesh = Encoding(echo)
    assert list(mesh.map([[number] for number in range(5_000)]).results()) == [[n] for n in range(5_000)]
    assert max(mesh.sizes()) > 100


@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_what_came_before_an_error_of_the_iterable_is_not_lost(chunksize: int | None) -> None:
    """As the built-in ``map``: the results of all items come, then the error."""

    def items() -> Any:
        yield from range(300)
        raise OSError("the disk is gone")

    results = Workers().map(items(), chunksize=chunksize).results()
    assert [next(results) for _ in range(300)] == list(range(1, 301))
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
