"""Options of calls at real nodes: when, in which order and where a task runs, and what becomes of its value."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import optional
import pytest
import steered
import work
from mesh_harness import Stage, labels, wait_until

from meshq import ConfigError, Future, Mesh, TaskExpired, UnknownTask
from meshq.client.default import default_mesh

PRECISION_S = 0.1
"""How much later than it should something may happen at an idle node."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh of one node with one slot."""
    made = Stage(tmp_path_factory.mktemp("one"))
    made.start("work", "optional", "steered")
    yield made
    made.close()


@pytest.fixture
def mesh(one: Stage) -> Iterator[Mesh]:
    """A client of it."""
    made = one.client()
    yield made
    made.close(cancel=True)


@pytest.fixture
def default(one: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mesh]:
    """The default mesh, which is the same one, with its node in sight."""
    monkeypatch.setenv("MESHQ_MESH", one.mesh)
    made = default_mesh()
    made.wait_for_nodes(1)
    yield made
    made.close(cancel=True)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Where tasks leave their marks."""
    return tmp_path / "marks"


class Busy:
    """A task that has the only slot until it is let go."""

    def __init__(self, mesh: Mesh, gate: Path) -> None:
        self._mesh = mesh
        self._gate = gate
        self._future: Future[Any] = mesh.submit(steered.hold, str(gate))
        wait_until(self._future.running, what="it has the slot")

    def until_queued(self, count: int) -> None:
        """Wait until so many tasks wait for the slot at the node."""
        wait_until(lambda: _queued(self._mesh) == count, what=f"{count} wait at the node")

    def let_go(self) -> None:
        """Give the slot back."""
        self._gate.touch()
        self._future.result(timeout=10)


def _queued(mesh: Mesh) -> int:
    return sum(value["queued"] for value in mesh.control.ping().by_node().values())


@pytest.fixture
def busy(mesh: Mesh, tmp_path: Path) -> Iterator[Busy]:
    """The slot, taken."""
    gate = tmp_path / "gate"
    yield Busy(mesh, gate)
    gate.touch()


def read(path: Path) -> list[tuple[str, float, str]]:
    """Return the marks in the order in which they were left: mark, instant, node."""
    rows = (line.split() for line in path.read_text().splitlines()) if path.exists() else ()
    return [(mark, float(at), node) for mark, at, node in rows]


def order(path: Path) -> list[str]:
    """Return the marks alone."""
    return [mark for mark, *_ in read(path)]


# ---------------------------------------------------------------------- when


@pytest.mark.parametrize(
    "now",
    [
        lambda: datetime.now(),
        lambda: datetime.now(UTC),
        lambda: datetime.now(timezone(timedelta(hours=5, minutes=30))),
        lambda: datetime.now(timezone(timedelta(hours=-11))),
    ],
    ids=["local", "UTC", "east", "west"],
)
def test_a_task_starts_at_its_eta(default: Mesh, marks: Path, now: Callable[[], datetime]) -> None:
    """An instant of any zone, or of local time if it names none; no sooner, and hardly later."""
    began_at = time.monotonic()
    result = optional.mark.apply_async((str(marks), "due"), eta=now() + timedelta(seconds=0.5))
    assert result.get(timeout=10) == "a"
    ((_, started_at, _),) = read(marks)
    assert 0.5 - 0.02 <= started_at - began_at < 0.5 + 3 * PRECISION_S


def test_an_eta_in_the_past_means_at_once(default: Mesh, marks: Path) -> None:
    """Naive or not, however long ago."""
    for past in (datetime.now() - timedelta(seconds=5), datetime(2001, 1, 1), datetime(2001, 1, 1, tzinfo=UTC)):
        began_at = time.monotonic()
        assert optional.mark.apply_async((str(marks), "past"), eta=past).get(timeout=10) == "a"
        assert time.monotonic() - began_at < 0.4


def test_a_task_that_waits_for_its_eta_is_scheduled(default: Mesh) -> None:
    """And can be revoked; it is PENDING, not QUEUED."""
    result = optional.mark.apply_async(("", ""), eta=datetime.now(UTC) + timedelta(hours=1))

    def row() -> Any:
        return default.control.inspect().query_task(result.id)

    wait_until(lambda: any(row().values()), what="it is parked")
    (scheduled,) = (rows for rows in default.control.inspect().scheduled().values())
    assert [each["id"] for each in scheduled] == [result.id]
    assert result.status == "PENDING"
    result.revoke()
    wait_until(lambda: result.status == "REVOKED")


def test_countdown_rate_limit_and_priority_go_together(mesh: Mesh, marks: Path) -> None:
    """Nothing starts before its time; then one after the other at the rate, the most urgent first."""
    priorities = [5, 1, 9, 5, 9, 1, 0]
    began_at = time.monotonic()
    futures = [
        mesh.submit(
            optional.mark.options(countdown=0.6, rate_limit="5/s", priority=priority),
            str(marks),
            f"{priority}.{n}",
        )
        for n, priority in enumerate(priorities)
    ]
    for future in futures:
        assert future.result(timeout=20) == "a"
    times = [at for _, at, _ in read(marks)]
    assert times[0] - began_at >= 0.59
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.15 < gap < 0.2 + 3 * PRECISION_S for gap in gaps), gaps
    rest = order(marks)[1:]  # the first one may have come due a moment before the others
    assert rest == sorted(rest, key=lambda mark: (-int(mark[0]), int(mark[2:])))


# ---------------------------------------------------------------------- in which order


def test_the_most_urgent_goes_first(busy: Busy, mesh: Mesh, marks: Path) -> None:
    """9 before one that says nothing, and that before 1; the one that a node takes ahead has left already."""
    ahead = mesh.submit(optional.mark, str(marks), "ahead")
    busy.until_queued(1)
    futures = [
        mesh.submit(optional.mark.options(priority=priority), str(marks), f"{priority}.{n}")
        for n, priority in enumerate((1, None, 9, 1, None))
    ]
    busy.let_go()
    for future in (ahead, *futures):
        future.result(timeout=10)
    assert order(marks) == ["ahead", "9.2", "None.1", "None.4", "1.0", "1.3"]


@pytest.mark.parametrize("detached", [False, True])
def test_the_most_urgent_goes_before_what_was_sent_already(
    busy: Busy, mesh: Mesh, marks: Path, detached: bool
) -> None:
    """A lesser task that waits at the node makes room for it."""
    submit = mesh.delay if detached else mesh.submit
    for priority in (1, 5, 9):
        submit(optional.mark.options(priority=priority), str(marks), str(priority))
    wait_until(lambda: 9 in reserved_priorities(mesh), what="the most urgent is at the node")
    wait_until(lambda: 1 not in reserved_priorities(mesh) or detached, what="the lesser one has made room")
    busy.let_go()
    wait_until(lambda: len(order(marks)) == 3)
    assert order(marks) == ["9", "5", "1"]


def reserved_priorities(mesh: Mesh) -> list[int]:
    """Return the priorities of what waits at the node."""
    return [row["priority"] for rows in mesh.control.inspect().reserved().values() for row in rows]


def test_so_it_does_among_detached_tasks(busy: Busy, default: Mesh, marks: Path) -> None:
    """Which the node has all, and of which it may have lined up two."""
    results = [optional.mark.apply_async((str(marks), "ahead")) for _ in range(2)]
    busy.until_queued(2)
    results += [
        optional.mark.apply_async((str(marks), str(priority)), priority=priority) for priority in (1, None, 9)
    ]
    assert default.wait_accepted(10) == 0
    busy.let_go()
    for result in results:
        result.get(timeout=10)
    assert [mark for mark in order(marks) if mark != "ahead"] == ["9", "None", "1"]


def test_what_a_function_declares_counts_for_calls_by_name(busy: Busy, mesh: Mesh, marks: Path) -> None:
    """Among those that the node has."""
    results = [
        mesh.delay("optional.mark", str(marks), "plain"),
        mesh.delay("optional.urgent", str(marks), "urgent"),
    ]
    busy.until_queued(2)
    busy.let_go()
    for result in results:
        result.get(timeout=10)
    assert order(marks) == ["urgent", "plain"]


def test_the_most_urgent_goes_first_from_the_owner_too(stage: Stage, marks: Path) -> None:
    """What waits for a first node leaves in that order."""
    mesh = stage.client()
    futures = [
        mesh.submit(optional.mark.options(priority=priority), str(marks), str(priority)) for priority in (1, 5, 9)
    ]
    stage.start("optional")
    for future in futures:
        future.result(timeout=10)
    assert order(marks) == ["9", "5", "1"]


def test_clients_take_turns_whatever_their_priorities(busy: Busy, one: Stage, mesh: Mesh, marks: Path) -> None:
    """One that always says 9 gets no more than its share."""
    futures: list[Future[Any]] = [
        client.submit(optional.mark.options(priority=priority), str(marks), name)
        for name, client, priority in (("x", one.client(), 9), ("y", one.client(), 1))
        for _ in range(4)
    ]
    busy.until_queued(4)  # two of each; the others wait at their owners
    busy.let_go()
    for future in futures:
        future.result(timeout=10)
    ran = order(marks)
    assert sorted(ran) == [*"xxxxyyyy"]
    for count in range(1, 9):
        assert abs(ran[:count].count("x") - ran[:count].count("y")) <= 2, ran


# ---------------------------------------------------------------------- where


def test_tags_choose_the_nodes(make_stage: Callable[..., Stage]) -> None:
    """Those that have all of them, for every way of submitting."""
    stage = make_stage()
    stage.start("work", ready=False)
    stage.start("work", tag="gpu", ready=False)
    both = stage.start("work", tag="gpu", ready=False)
    for node in stage.nodes:
        node.until_ready()
    mesh = stage.client()
    gpu = work.where.options(tags={"gpu"})
    assert set(labels(list(mesh.map(gpu, [0.05] * 12)))) == {"b", "c"}
    assert set(labels(mesh.dmap(gpu, [[0.05]] * 12))) == {"b", "c"}
    assert set(labels(list(mesh.map(work.where, [0.05] * 18)))) == {"a", "b", "c"}
    with pytest.raises(UnknownTask, match=r"has all its tags.*--tag fpga --tag gpu"):
        mesh.submit(work.where.options(tags=["gpu", "fpga"])).result(timeout=10)
    both.kill()
    assert {mesh.delay(gpu).get(timeout=20) for _ in range(6)} == {"b"}


# ---------------------------------------------------------------------- expires


@pytest.mark.parametrize("detached", [False, True])
def test_a_task_behind_a_long_one_expires_in_time(
    busy: Busy, mesh: Mesh, default: Mesh, marks: Path, detached: bool
) -> None:
    """It settles then and not when a slot is free, and never starts."""
    began_at = time.monotonic()
    if detached:
        result = optional.mark.apply_async((str(marks), "late"), expires=timedelta(seconds=0.7))
        with pytest.raises(TaskExpired):
            result.get(timeout=10)
        assert result.status == "EXPIRED"
    else:
        future = mesh.submit(optional.mark.options(expires=0.7), str(marks), "late")
        busy.until_queued(1)
        with pytest.raises(TaskExpired, match=r"optional\.mark.*expired before it was started"):
            future.result(timeout=10)
    assert 0.69 <= time.monotonic() - began_at < 0.7 + PRECISION_S
    busy.let_go()
    assert mesh.submit(work.add, 1, 1).result(timeout=10) == 2
    assert order(marks) == []


def test_a_task_that_no_node_takes_expires_in_time(stage: Stage, marks: Path) -> None:
    """At its owner; a node that comes later is not sent it."""
    mesh = stage.client()
    began_at = time.monotonic()
    future = mesh.submit(optional.mark.options(expires=0.5), str(marks), "late")
    kept = mesh.submit(optional.mark.options(expires=60), str(marks), "early")
    with pytest.raises(TaskExpired):
        future.result(timeout=10)
    assert 0.49 <= time.monotonic() - began_at < 0.5 + PRECISION_S
    stage.start("optional")
    assert kept.result(timeout=10) == "a"
    assert order(marks) == ["early"]


def test_a_task_that_has_started_does_not_expire(mesh: Mesh, marks: Path) -> None:
    """Though it runs for longer."""
    assert mesh.submit(optional.mark.options(expires=0.3), str(marks), "early", 0.8).result(timeout=10) == "a"


def test_what_has_expired_already_never_starts(default: Mesh, marks: Path) -> None:
    """Zero seconds, and an instant that is past."""
    for past in (0, datetime(2001, 1, 1), datetime.now(UTC) - timedelta(seconds=1)):
        with pytest.raises(TaskExpired):
            optional.mark.apply_async((str(marks), "late"), expires=past).get(timeout=10)
    with pytest.raises(ConfigError, match=r"expires.*countdown"):
        optional.mark.options(countdown=2, expires=1)
    assert order(marks) == []


# ---------------------------------------------------------------------- bind


def test_a_bound_task_gets_itself(mesh: Mesh) -> None:
    """As its first argument, which is not the caller's to give; by name too, in chunks, and in a coroutine."""
    known = ("TaskFunction", "optional.bound", True)
    assert mesh.submit(optional.bound, 1, x=2).result(timeout=10) == (*known, (1,), {"x": 2})
    assert mesh.submit("optional.bound").result(timeout=10) == (*known, (), {})
    assert list(mesh.map(optional.bound, [1, 2], chunksize=2)) == [(*known, (n,), {}) for n in (1, 2)]
    assert mesh.delay(optional.bound.options(priority=1), 3).get(timeout=10) == (*known, (3,), {})
    assert mesh.submit(optional.bound_later, 4).result(timeout=10) == ("optional.bound_later", 4)
    assert mesh.submit(optional.countdown, 3).result(timeout=10) == [3, 2, 1, 0] == optional.countdown(3)


# ---------------------------------------------------------------------- ignore_result


def test_an_ignored_result_is_none_for_whoever_asks(default: Mesh, one: Stage) -> None:
    """Detached, in a batch and by its id from elsewhere; it is DONE all the same, and failures are told."""
    result = work.add.apply_async((1, 2), ignore_result=True)
    assert result.get(timeout=10) is None
    elsewhere = one.client().result(result.id)
    assert (elsewhere.status, elsewhere.result) == ("DONE", None)
    ignoring = work.fail_at.options(ignore_result=True)
    assert default.dmap(ignoring, [[1, 2], [3, 2]]) == [None, None]
    values = list(default.map(ignoring, [1, 2, 3], [2, 2, 2], chunksize=3, return_exceptions=True))
    assert (values[0], type(values[1]), values[2]) == (None, ValueError, None)
    assert default.submit(work.return_object.options(ignore_result=True)).result(timeout=10) is None


# ---------------------------------------------------------------------- a rate limit, and others


def test_a_limited_map_over_two_nodes_keeps_its_order(make_stage: Callable[..., Stage], marks: Path) -> None:
    """Each node keeps to the rate; another client's work goes on at full speed meanwhile."""
    stage = make_stage()
    stage.start("work", "optional", ready=False)
    stage.start("work", "optional")
    stage.nodes[0].until_ready()
    mesh, other = stage.client(), stage.client()
    count = 24
    names = [str(n) for n in range(count)]
    began_at = time.monotonic()
    limited = mesh.map(optional.mark.options(rate_limit="10/s"), [str(marks)] * count, names, timeout=30)
    rounds = 0
    first = next(limited)
    while len(order(marks)) < count - 4:
        round_at = time.monotonic()
        assert list(other.map(work.add, range(50), range(50))) == [2 * n for n in range(50)]
        assert time.monotonic() - round_at < 1.0
        rounds += 1
    assert rounds > 5, "the other client is not held up"
    assert set(labels([first, *limited])) == {"a", "b"}
    assert time.monotonic() - began_at > (count / 2 - 2) / 10
    assert sorted(map(int, order(marks))) == list(range(count))
    for node in "ab":
        times = [at for _, at, label in read(marks) if label == node]
        assert len(times) > count / 4
        assert times[-1] - times[0] > (len(times) - 1) / 10 * 0.9, "the rate of each node"
    values = mesh.map(work.nap, [0.0] * 8, names[:8], timeout=20)
    assert list(values) == names[:8]
