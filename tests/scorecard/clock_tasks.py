"""What depends on time, tried on each node by one client; ``main`` prints what came of it, and when."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from meshq import AsyncResult, Future, Mesh, Retry, current_task, task
from meshq.errors import MeshqError

PLACES = ("p0", "p1", "p2")
SLOTS = 4
SOON_S = 0.6
LATE_S = 30.0
PATIENCE_S = 25.0


@task
def nap(seconds: float, value: int = 1) -> int:
    """Sleep, and return the value."""
    time.sleep(seconds)
    return value


@task
def again() -> int:
    """Ask for another try, once; tell how often it has failed."""
    own = current_task()
    if own is not None and own.retries == 0:
        raise Retry(delay=SOON_S)
    return 0 if own is None else own.retries


@task(rate_limit="5/s")
def limited() -> int:
    """Do nothing, and that not too often."""
    return 2


@task(time_limit=LATE_S)
def remaining() -> bool:
    """Tell whether it knows how long it may run."""
    own = current_task()
    return own is not None and own.remaining is not None and LATE_S - 5 < own.remaining <= LATE_S


@task
def clocks() -> list[float]:
    """Read the clocks here: the wall clock three ways, and the monotonic one."""
    return [time.time(), time.time_ns() / 1e9, datetime.now(UTC).timestamp(), time.monotonic()]


Begun = dict[str, tuple[float, list[Any]]]
"""What was begun, when, and what tells of its end: futures or results."""


def begin(begun: Begun, name: str, start: Callable[[], Any]) -> None:
    """Begin something, and note when."""
    at = time.monotonic()
    started = start()
    begun[name] = at, started if isinstance(started, list) else [started]


def begin_all(mesh: Mesh, place: str, begun: Begun) -> None:
    """Begin what can go on side by side at a node."""
    at = {"tags": {place}}

    def submit(function: Any, *args: Any, **options: Any) -> Callable[[], Future[Any]]:
        return lambda: mesh.submit(function.options(**at, **options), *args)

    def instant(seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    begin(begun, f"countdown {place}", submit(nap, 0.0, countdown=SOON_S))
    begin(begun, f"eta {place}", lambda: nap.apply_async((0.0,), eta=instant(SOON_S), **at))
    begin(begun, f"expires later {place}", submit(nap, 0.0, expires=LATE_S))
    begin(begun, f"expires at {place}", lambda: nap.apply_async((0.0,), expires=instant(LATE_S), **at))
    begin(begun, f"time limit {place}", submit(nap, LATE_S, time_limit=SOON_S))
    begin(begun, f"soft time limit {place}", submit(nap, LATE_S, soft_time_limit=SOON_S))
    begin(begun, f"remaining {place}", submit(remaining))
    begin(begun, f"retry {place}", submit(again))
    begin(begun, f"rate limit {place}", lambda: [submit(limited)() for _ in range(5)])


def begin_expiring(mesh: Mesh, place: str, begun: Begun) -> None:
    """Take all slots of a node, and begin what expires meanwhile."""
    busy = [mesh.submit(nap.options(tags={place}), 3 * SOON_S) for _ in range(SLOTS)]
    while not all(future.running() for future in busy):
        time.sleep(0.01)
    begin(begun, f"expires {place}", lambda: mesh.submit(nap.options(tags={place}, expires=SOON_S), 0.0))
    begin(begun, f"busy {place}", lambda: busy)


def outcome(ended: Any) -> str:
    """Tell how something has ended."""
    error = ended.exception() if isinstance(ended, Future) else None
    value = ended.result() if isinstance(ended, Future) and error is None else getattr(ended, "result", None)
    value = error or value
    return type(value).__name__ if isinstance(value, BaseException) else repr(value)


def is_done(each: Any) -> bool:
    """Tell whether a future or a result is ready."""
    return bool(each.done() if isinstance(each, Future) else each.ready())


def finish(begun: Begun) -> dict[str, list[Any]]:
    """Wait for all that was begun; return how each has ended, and after how many seconds."""
    found: dict[str, list[Any]] = {}
    end_at = time.monotonic() + PATIENCE_S
    while len(found) < len(begun):
        for name, (at, parts) in begun.items():
            late = time.monotonic() > end_at
            if name not in found and (late or all(is_done(each) for each in parts)):
                how = "unfinished" if late else " ".join(map(outcome, parts))
                found[name] = [how, time.monotonic() - at]
        time.sleep(0.005)
    return found


def kept_and_revoked(mesh: Mesh, revoked: str) -> dict[str, list[Any]]:
    """Try what one client leaves behind for another: kept results, and revokes of tasks that are yet to come."""
    found = {}
    for place in PLACES:
        left = mesh.delay(nap.options(tags={place}), 0.0, 5)
        left.get(timeout=PATIENCE_S)
        with Mesh() as other:
            other.wait_for_nodes(len(PLACES), timeout=PATIENCE_S)
            found[f"kept {place}"] = [repr(AsyncResult(left.id, other).get(timeout=PATIENCE_S)), 0.0]
            found[f"revoked {place}"] = [refusal(other, place, revoked), 0.0]
    return found


def refusal(mesh: Mesh, place: str, revoked: str) -> str:
    """Submit what was revoked to a node; tell what becomes of it."""
    try:
        return repr(mesh.submit(nap.options(tags={place}, task_id=revoked), 0.0).result(timeout=PATIENCE_S))
    except MeshqError as error:
        return type(error).__name__


def main() -> None:
    """Try all of it, and print one JSON value."""
    with Mesh() as mesh:
        mesh.wait_for_nodes(len(PLACES), timeout=PATIENCE_S)
        revoked = str(uuid.uuid4())
        mesh.control.revoke([revoked], reply=True, timeout=5.0)
        found: dict[str, list[Any]] = {}
        for phase in (begin_all, begin_expiring):
            begun: Begun = {}
            for place in PLACES:
                phase(mesh, place, begun)
            found |= finish(begun)
        found |= kept_and_revoked(mesh, revoked)
        read = {place: mesh.submit(clocks.options(tags={place})).result(timeout=PATIENCE_S) for place in PLACES}
        print(json.dumps({"found": found, "clocks": {**read, "client": clocks()}, "revoked": revoked}))


if __name__ == "__main__":
    main()
