"""Nodes that die and come back in the midst of work, and what is delivered of it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mesh_harness import NodeProcess, Stage, wait_until
from score_ends import Deliveries, nothing_is_held

from meshq import Mesh


class Field:
    """So many nodes with ``score_tasks``; whoever dies can be replaced at its place."""

    def __init__(self, stage: Stage, places: int, slots: int, *arguments: str, seed: int = 1) -> None:
        self.stage = stage
        self.slots = slots
        self.random = random.Random(seed)
        self._arguments = arguments
        self._lives = [0] * places
        self.nodes = [self._start(place) for place in range(places)]
        for node in self.nodes:
            node.until_ready()

    def _start(self, place: int) -> NodeProcess:
        label = f"n{place}.{self._lives[place]}"
        command = [sys.executable, "-m", "meshq", "node", "score_tasks", "--slots", str(self.slots)]
        command += ["--name", f"n{place}", *self._arguments]
        node = NodeProcess(label, command, self.stage.env, self.stage.directory / f"node-{label}.log")
        self.stage.nodes.append(node)
        return node

    def client(self, **arguments: Any) -> Mesh:
        """Return a client that sees all nodes."""
        return self.stage.client(len(self.nodes), **arguments)

    def ready(self) -> list[int]:
        """Return the places whose nodes run and have said that they are ready."""
        return [place for place, node in enumerate(self.nodes) if node.is_running() and "is ready" in node.text()]

    def place_of(self, pid: int) -> int:
        """Return the place of the node that is this process."""
        return next(place for place, node in enumerate(self.nodes) if node.pid == pid)

    def kill(self, place: int) -> float:
        """SIGKILL the node at a place; return the monotonic instant just before."""
        at = time.monotonic()
        self.nodes[place].kill()
        return at

    def replace(self, place: int) -> None:
        """Start another node at the place of a dead one; it takes its time to be ready."""
        self._lives[place] += 1
        self.nodes[place] = self._start(place)

    def signal_all(self, place: int, number: int) -> None:
        """Send a signal to a node and its workers."""
        node = self.nodes[place]
        for pid in [node.pid, *node.workers()]:
            os.kill(pid, number)


def kill_every(field: Field, seconds: float, deliveries: Deliveries, count: int, limit_s: float) -> int:
    """SIGKILL and replace a node that is ready, again and again, until so many futures have ended.

    Return how many nodes were killed; fails after ``limit_s`` seconds.
    """
    kills, begun_at = 0, time.monotonic()
    while deliveries.count() < count:
        assert time.monotonic() < begun_at + limit_s, f"{deliveries.count()} of {count} after {limit_s} s"
        if time.monotonic() >= begun_at + (kills + 1) * seconds and (ready := field.ready()):
            place = field.random.choice(ready)
            field.kill(place)
            kills += 1
            field.replace(place)
        time.sleep(0.01)
    return kills


def wait_until_quiet(field: Field, mesh: Mesh) -> None:
    """Wait until all nodes are there and hold nothing."""
    for node in field.nodes:
        node.until_ready()
    wait_until(lambda: nothing_is_held(mesh, len(field.nodes)), 60.0, "all nodes answer and hold nothing")


def thaw(processes: Iterable[int]) -> None:
    """Let these go on, those that are there still."""
    for pid in processes:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def path_of(stage: Stage, name: str = "runs") -> Path:
    """Return where tasks leave their lines."""
    return stage.directory / name
