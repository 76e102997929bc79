"""Loads of bytes: a client that floods a node with arguments, one that does not read its results, a slow line."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mesh_harness import NodeProcess, Process, Stage, wait_until

from meshq import Mesh

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CHUNK = 16 * 1024
FLOOD = """
import json, os
from collections import deque
from meshq import Mesh

tasks, size, outbox = map(int, os.environ["FLOOD"].split())
wrong = ended = peak = 0
futures = deque()

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def read(all=False):
    global ended, wrong
    while futures and (all or futures[0].done()):
        ended += 1
        wrong += futures.popleft().result() != size

with Mesh(outbox_bytes=outbox) as mesh:
    mesh.wait_for_nodes(1, 20)
    mesh.submit("work.size_of", bytes(size)).result(20)
    most = base = rss()
    for number in range(tasks):
        futures.append(mesh.submit("work.size_of", number.to_bytes(4, "big") * (size // 4)))
        if number % 256 == 0:
            most, peak = max(most, rss()), max(peak, mesh._books.bytes)
            read()
    read(all=True)
print("FLOODED " + json.dumps([tasks, ended, wrong, max(most, rss()) - base, peak]))
"""
SILENT = """
import os, sys
from meshq import Mesh

count, size = map(int, os.environ["SILENT"].split())
with Mesh() as mesh:
    mesh.wait_for_nodes(1, 20)
    futures = [mesh.submit("work.many_bytes", size) for _ in range(count)]
    futures[0].result()
    print("READING")
    sizes = [len(future.result()) for future in futures]
    print("READ", sum(size == each for each in sizes), "WRONG", sum(size != each for each in sizes))
"""


class Flood(NamedTuple):
    """What a flood has come to. Sizes are in bytes."""

    ended: int
    wrong: int
    client_grew: int
    outbox_peak: int
    """The most that the client's unfinished tasks took up."""
    node_grew: int


def rss(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def flood(stage: Stage, node: NodeProcess, tasks: int, size: int, outbox: int, timeout: float) -> Flood:
    """Have a client of its own submit so many tasks with arguments of ``size`` bytes as fast as it can."""
    base = most = rss(node.pid)
    script = stage.script(FLOOD, FLOOD=f"{tasks} {size} {outbox}")

    def look() -> bool:
        nonlocal most
        most = max(most, rss(node.pid))
        return not script.is_running()

    wait_until(look, timeout, "the end of the flood")
    _, ended, wrong, grew, peak = json.loads(script.until_logged(r"FLOODED (.*)").group(1))
    return Flood(ended, wrong, grew, peak, most - base)


class Silent:
    """A client that asks for large results, and is stopped when the first have come."""

    def __init__(self, stage: Stage, count: int, size: int) -> None:
        self.count = count
        self._script: Process = stage.script(SILENT, SILENT=f"{count} {size}")
        self._script.until_logged("READING")
        self._script.send(signal.SIGSTOP)

    def read(self, timeout: float = 60.0) -> tuple[int, int]:
        """Let it go on; return how many results it has got as they should be, and how many others."""
        self._script.send(signal.SIGCONT)
        found = self._script.until_logged(r"READ (\d+) WRONG (\d+)", timeout)
        assert self._script.wait() == 0
        return int(found.group(1)), int(found.group(2))


def rate(mesh: Mesh, seconds: float, at_a_time: int = 500) -> float:
    """Return how many tasks a second that do nothing a client gets done."""
    began_at, count = time.monotonic(), 0
    while (took_s := time.monotonic() - began_at) < seconds:
        futures: list[Any] = [mesh.submit("work.nothing") for _ in range(at_a_time)]
        for future in futures:
            future.result(20)
        count += at_a_time
    return count / took_s


class SlowLine:
    """A line to a node over which so many bytes a second get through, each way."""

    def __init__(self, address: str, bytes_per_s: float) -> None:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._node = host, int(port)
        self._pause_s = _CHUNK / bytes_per_s
        self.moved = 0
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._start(self._serve)

    def close(self) -> None:
        """Cut the line."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for end in self._ends:
            end.close()

    def _start(self, target: Callable[..., None], *ends: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=ends))
        self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(self._node)
                for end in (here, there):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _CHUNK)
                    self._ends.append(end)
                self._start(self._pump, here, there)
                self._start(self._pump, there, here)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
                self.moved += len(data)
                time.sleep(self._pause_s * len(data) / _CHUNK)
            target.shutdown(socket.SHUT_WR)
