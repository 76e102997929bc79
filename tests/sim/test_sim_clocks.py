"""Clocks: whatever those of two processes say, and however late a loop comes round, nothing changes by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import total_ordering
from math import isinf
from typing import Any

import pytest

from meshq.core.owned import Ending
from meshq.core.owner import NodeLost
from meshq.testing import SimFunction, SimMesh
from meshq.testing.chaos import Chaos

YEAR_S = 365 * 86_400.0


class Origin:
    """When a clock began: a moment that nobody knows, and so no number."""

    def __radd__(self, base: float) -> Instant:
        return Instant(base, self)


@total_ordering
class Instant:
    """What such a clock says. It can be moved by seconds, and set against others of the same clock; no more."""

    __slots__ = ("_base", "_origin")

    def __init__(self, base: float, origin: Origin) -> None:
        self._base = base
        self._origin = origin

    def _of(self, other: Any) -> float:
        """Return another instant as this clock has it; one without end is the same on all clocks."""
        if isinstance(other, float) and isinf(other):
            return other
        assert isinstance(other, Instant), f"an instant and {other!r} have nothing to do with each other"
        assert other._origin is self._origin, "instants of two clocks have nothing to do with each other"
        return other._base

    def __add__(self, seconds: float) -> Instant:
        assert isinstance(seconds, int | float)
        return Instant(self._base + seconds, self._origin)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if other is self._origin:
            return self._base
        return (
            self + -other if isinstance(other, int | float) and not isinf(other) else self._base - self._of(other)
        )

    def __rsub__(self, other: Any) -> float:
        return self._of(other) - self._base

    def __eq__(self, other: object) -> bool:
        return other is not None and self._base == self._of(other)

    def __lt__(self, other: Any) -> bool:
        return self._base < self._of(other)

    def __hash__(self) -> int:
        return hash(self._base)


def course(seed: int, origins: Callable[[str], Any] | None) -> list[Any]:
    """Return all that comes of a seed: how many events there were, and what became of each task, when."""
    chaos = Chaos(seed, origins=False)
    if origins is not None:
        chaos.mesh.agenda.origins = origins
    summary = chaos.run()
    records = chaos.mesh.ledger.all()
    return [summary[:3], *((each.task.id, each.outcome, each.starts, list(each.lines)) for each in records)]


@pytest.mark.parametrize("seed", [*range(12), 20, 25])
def test_clocks_have_nothing_in_common(seed: int) -> None:
    """Instants are only ever set against others of the same clock, and never said: else this would raise."""
    assert course(seed, lambda _: Origin()) == course(seed, None)


def test_clocks_that_are_years_apart() -> None:
    """A year ahead, a year behind, or 100,000 s: tasks that wait, expire and are tried again end the same way."""

    def endings(*origins: float) -> list[Any]:
        mesh = SimMesh(
            functions={
                "f": SimFunction(0.01, 0.01),
                "flaky": SimFunction(0.01, 0.01, "flaky", options={"max_retries": 9, "retry_backoff": 0.5}),
            }
        )
        names = ("client1", "node1", "node2")
        mesh.agenda.origins = dict(zip(names, origins, strict=True)).__getitem__
        nodes, client = [mesh.add_node(), mesh.add_node()], mesh.add_client()
        mesh.run(1.0)
        tasks = client.submit("f", 10, options={"countdown": 3.0}) + client.submit("flaky", 10)
        tasks += client.submit("f", 10, options={"countdown": 8.0, "expires": 8.0})
        tasks += client.submit("f", 300, options={"rate_limit": "30/s", "expires": 6.0})
        tasks += client.submit("f", 10, detached=True, options={"countdown": 5.0})
        mesh.run(2.0)
        mesh.crash(nodes[0])
        mesh.restart(nodes[0])
        mesh.quiet(within=60.0)
        outcomes = (mesh.ledger.records[task].outcome for task in tasks)
        return [outcome is not None and outcome.ending for outcome in outcomes]

    plain = endings(0.0, 0.0, 0.0)
    assert {Ending.DONE, Ending.EXPIRED} <= set(plain)
    for origins in ((0.0, YEAR_S, -YEAR_S), (YEAR_S, 0.0, 100_000.0), (-YEAR_S, 100_000.0, YEAR_S)):
        assert endings(*origins) == plain


def lost_nodes(mesh: SimMesh) -> list[NodeLost]:
    """Return a list to which the nodes are added that clients take for dead."""
    lost: list[NodeLost] = []
    for client in mesh.clients:
        handle = client.owner.handle

        def watch(event: Any, now: float, handle: Callable[..., Any] = handle) -> Any:
            if isinstance(event, NodeLost):
                lost.append(event)
            return handle(event, now)

        client.owner.handle = watch  # type: ignore[method-assign]
    return lost


@pytest.mark.parametrize("late", ["client", "nodes", "all"])
def test_a_loop_that_is_late(late: str) -> None:
    """One that comes round up to 2 s late, again and again, takes nobody for dead, and is not taken for that."""
    mesh = SimMesh(7, functions={"f": SimFunction(0.01, 0.05)})
    nodes, client = [mesh.add_node() for _ in range(3)], mesh.add_client()
    mesh.run(1.0)
    lost = lost_nodes(mesh)
    tasks = client.submit("f", 2000)
    processes = [client] * (late != "nodes") + nodes * (late != "client")
    for _ in range(30):
        for process in processes:
            mesh.freeze(process, mesh.rng.uniform(0.5, 2.0), connected=True)
        mesh.run(2.0 + mesh.rng.uniform(0.2, 0.6))
    mesh.quiet(within=60.0)
    assert lost == []
    assert sum(mesh.ledger.records[task].starts for task in tasks) == 2000


def test_a_client_that_takes_nothing_in() -> None:
    """What is sent to it waits, for half a minute, and runs once; it costs the others less than 5 %."""

    def seconds(stalls: bool) -> float:
        mesh = SimMesh(functions={"f": SimFunction(0.01, 0.01)})
        mesh.add_node(4)
        stalled, other = mesh.add_client(), mesh.add_client()
        mesh.run(1.0)
        tasks = stalled.submit("f", 200 if stalls else 0)
        mesh.run(0.05)
        mesh.freeze(stalled, 30.0, connected=True)
        mesh.run(1.0)
        began = mesh.now
        tasks += other.submit("f", 1000)
        mesh.run_until(lambda: not other.unsettled, within=10.0)
        needed = mesh.now - began
        mesh.run(30.0)
        mesh.quiet(within=10.0)
        assert {mesh.ledger.records[task].starts for task in tasks} == {1}
        return needed

    assert seconds(stalls=True) < 1.05 * seconds(stalls=False)
