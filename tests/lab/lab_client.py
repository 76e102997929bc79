"""The client's side of the lab's scenarios: writes down what it sees, one JSON object a line.

Run as ``lab_client.py SCENARIO ARGUMENTS``. The mesh, the key and the files to use come from the environment.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from lab_tasks import hold, mark, where

from meshq import Future, Mesh
from meshq.errors import MeshqError

POLL_S = 0.01


class Diary:
    """What this client sees, with the monotonic instants."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def note(self, kind: str, **fields: Any) -> None:
        """Write down one event."""
        line = json.dumps({"kind": kind, "at": time.monotonic(), **fields})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


def may_stop() -> bool:
    """Tell whether the test has seen enough."""
    return os.path.exists(os.environ["LAB_STOP"])


def watch(mesh: Mesh, diary: Diary, over: threading.Event) -> None:
    """Note each node when it is first seen, and each change of its state."""
    states: dict[str, str] = {}
    while not over.wait(POLL_S):
        now = {node.full_name: node.state for node in mesh.nodes()}
        for name in now.keys() | states.keys():
            if states.get(name) != now.get(name):
                diary.note("node", name=name, state=now.get(name, "gone"))
        states = now


def wait_to_stop(mesh: Mesh, diary: Diary) -> None:
    """Do nothing until told to stop."""
    while not may_stop():
        time.sleep(POLL_S)


def fan_out(mesh: Mesh, diary: Diary, count: float, seconds: float) -> None:
    """Once there are two nodes, keep 200 tasks submitted: ``count``, and further ones until told to stop."""
    mesh.wait_for_nodes(2, timeout=60)
    running: deque[Future[tuple[int, str, float]]] = deque()
    number = 0
    while running or number < count or not may_stop():
        while len(running) < 200 and (number < count or not may_stop()):
            running.append(mesh.submit(where, number, seconds))
            number += 1
        got, host, started_at = running.popleft().result(timeout=60)
        diary.note("result", number=got, host=host, started_at=started_at)


def map_all(mesh: Mesh, diary: Diary, count: float, seconds: float) -> None:
    """Once there are two nodes, map over ``count`` numbers."""
    mesh.wait_for_nodes(2, timeout=60)
    for number, host, started_at in mesh.map(where, range(int(count)), itertools.repeat(seconds), timeout=90):
        diary.note("result", number=number, host=host, started_at=started_at)


def ping(mesh: Mesh, diary: Diary, nodes: float, timeout: float) -> None:
    """Once there are so many nodes, ping again and again until told to stop."""
    mesh.wait_for_nodes(int(nodes), timeout=60)
    while not may_stop():
        began_at = time.monotonic()
        replies = mesh.control.ping(timeout=timeout)
        names = sorted(name for reply in replies for name in reply)
        diary.note("ping", began_at=began_at, names=names, missing=replies.missing)
        time.sleep(0.1)


def beg(mesh: Mesh, diary: Diary) -> None:
    """Submit one task and note why it fails; then what is known of the nodes."""
    try:
        diary.note("answer", value=mesh.submit(where, 1, 0.0).result(timeout=20))
    except MeshqError as error:
        diary.note("failure", type=type(error).__name__, text=str(error))
    diary.note("nodes", names=[node.full_name for node in mesh.nodes()], why=mesh.explain_absence())


def revoke(mesh: Mesh, diary: Diary, count: float, countdown: float) -> None:
    """Let tasks wait at two nodes of two slots each: queued, parked and detached; revoke them when told to.

    The slots are taken until the file ``go`` is there.
    """
    directory = os.environ["LAB_TRACES"]
    mesh.wait_for_nodes(2, timeout=60)
    holders = [mesh.submit(hold, f"{directory}/go") for _ in range(4)]
    while not all(holder.running() for holder in holders):
        time.sleep(POLL_S)
    numbers = itertools.count()
    parked = mark.options(countdown=countdown)
    tasks = [
        *(mesh.submit(mark, f"{directory}/{next(numbers)}") for _ in range(int(count))),
        *(mesh.submit(parked, f"{directory}/{next(numbers)}") for _ in range(int(count))),
    ]
    detached = [mesh.delay(mark, f"{directory}/{next(numbers)}") for _ in range(int(count))]
    diary.note("waiting", unaccepted=mesh.wait_accepted(10.0))
    while not os.path.exists(f"{directory}/revoke"):
        time.sleep(POLL_S)
    replies = mesh.control.revoke([task.task_id for task in (*tasks, *detached)], reply=True, timeout=1.0)
    diary.note("revoked", by=sorted(replies.by_node()), missing=replies.missing)
    wait_to_stop(mesh, diary)
    diary.note("held", hosts=sorted(holder.result(timeout=60) for holder in holders))
    mesh.wait_for_nodes(2, timeout=60)
    while unfinished(mesh):
        time.sleep(POLL_S)


def unfinished(mesh: Mesh) -> int:
    """Return how many attempts the nodes have not finished."""
    states = mesh.control.ping(timeout=5).by_node().values()
    return sum(state[name] for state in states for name in ("running", "queued", "parked"))


SCENARIOS: dict[str, Callable[..., None]] = {
    "watch": wait_to_stop, "fan-out": fan_out, "map": map_all, "ping": ping, "beg": beg,
    "revoke": revoke,
}  # fmt: skip


def main(scenario: str, *arguments: str) -> None:
    """Run one scenario in a mesh of its own, while another thread watches the nodes."""
    logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)7d %(name)s: %(message)s")
    over = threading.Event()
    with open(os.environ["LAB_EVENTS"], "w") as file, Mesh() as mesh:
        diary = Diary(file)
        diary.note("open")
        watcher = threading.Thread(target=watch, args=(mesh, diary, over))
        watcher.start()
        try:
            SCENARIOS[scenario](mesh, diary, *map(float, arguments))
        finally:
            over.set()
            watcher.join()
        diary.note("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
