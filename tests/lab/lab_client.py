"""The client's side of the lab's scenarios: writes down what it sees, one JSON object a line.

Run as ``lab_client.py SCENARIO ARGUMENTS``. The mesh, the key and the files to use come from the environment.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import IO, Any

from lab_tasks import where

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


def watch(mesh: Mesh, diary: Diary) -> None:
    """Note each node when it is first seen, and each change of state, until told to stop."""
    states: dict[str, str] = {}
    while not may_stop():
        now = {node.full_name: node.state for node in mesh.nodes()}
        for name in now.keys() | states.keys():
            if states.get(name) != now.get(name):
                diary.note("node", name=name, state=now.get(name, "gone"))
        states = now
        time.sleep(POLL_S)


def fan_out(mesh: Mesh, diary: Diary, count: int, seconds: float) -> None:
    """Keep 200 tasks submitted: at least ``count`` in all, and further ones until told to stop."""
    diary.note("began")
    running: deque[Future[tuple[int, str, float]]] = deque()
    number = 0
    while running or number < count or not may_stop():
        while len(running) < 200 and (number < count or not may_stop()):
            running.append(mesh.submit(where, number, seconds))
            number += 1
        got, host, started_at = running.popleft().result(timeout=60)
        diary.note("result", number=got, host=host, started_at=started_at)


def map_all(mesh: Mesh, diary: Diary, count: int, seconds: float) -> None:
    """Map over ``count`` numbers."""
    diary.note("began")
    for number, host, started_at in mesh.map(where, range(count), [seconds] * count, timeout=90):
        diary.note("result", number=number, host=host, started_at=started_at)


def ping(mesh: Mesh, diary: Diary, timeout: float) -> None:
    """Ping again and again until told to stop."""
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


def main(scenario: str, *arguments: str) -> None:
    """Run one scenario in a mesh of its own."""
    logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)7d %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.INFO)
    with open(os.environ["LAB_EVENTS"], "w") as file, Mesh() as mesh:
        diary = Diary(file)
        diary.note("open")
        if scenario == "fan-out":
            watcher = threading.Thread(target=watch, args=(mesh, diary))
            watcher.start()
            mesh.wait_for_nodes(2, timeout=60)
            fan_out(mesh, diary, int(arguments[0]), float(arguments[1]))
            watcher.join()
        elif scenario == "map":
            watcher = threading.Thread(target=watch, args=(mesh, diary), daemon=True)
            watcher.start()
            mesh.wait_for_nodes(2, timeout=60)
            map_all(mesh, diary, int(arguments[0]), float(arguments[1]))
        elif scenario == "watch":
            watch(mesh, diary)
        elif scenario == "ping":
            mesh.wait_for_nodes(int(arguments[0]), timeout=60)
            ping(mesh, diary, float(arguments[1]))
        else:
            beg(mesh, diary)
        diary.note("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
