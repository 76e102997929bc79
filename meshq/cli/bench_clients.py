"""Client processes of ``meshq bench``: several at once, and fresh ones, whose memory tells what a task takes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import Any, NamedTuple

from meshq.cli.bench_sides import MESHQ, Side
from meshq.cli.local_nodes import environment
from meshq.errors import MeshqError

_END_S = 2.0
"""How long a process that has said all may take to end."""


class Rates(NamedTuple):
    """Tasks a second: of all client processes together, and of each."""

    total: float
    rates: list[float]


class ClientProcess:
    """A process of its own that joins the mesh, gets ready for a job, and does it when told to.

    ``flags`` are the arguments of its ``Mesh``, None for the pool of this ``name``, of so many ``workers``;
    ``job`` is a function of ``bench_client``, with ``arguments``.
    """

    def __init__(
        self, flags: dict[str, Any] | None, job: str, *, name: str = MESHQ, workers: int = 0, **arguments: Any
    ) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "meshq.cli.bench_client"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True, encoding="utf-8",
            # Ctrl-C in the terminal is for the command; here it would end in a traceback. In a session of its own
            # it would get as much of the cores as the node and all its workers together.
            process_group=0,
        )  # fmt: skip
        self._has_result = False
        self._tell({"flags": flags, "name": name, "workers": workers, "job": job, "arguments": arguments})

    def wait_ready(self) -> None:
        """Wait until it has seen the nodes, and is warm. Raises ``MeshqError`` where it fails."""
        self._hear()

    def go(self) -> None:
        """Have it begin."""
        self._tell({})

    def result(self) -> dict[str, Any]:
        """Wait for what came of it. Raises ``MeshqError`` where it fails."""
        result = self._hear()
        self._has_result = True
        return result

    def close(self) -> None:
        """Let the process end, a pool's own processes too, or end it."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it will not read any more
                    pipe.close()
        try:
            self._popen.wait(_END_S if self._has_result else 0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _tell(self, value: dict[str, Any]) -> None:
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it has ended is heard below
            self._popen.stdin.write(json.dumps(value) + "\n")
            self._popen.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        value: dict[str, Any] = json.loads(line) if line else {"error": f"it ended ({self._popen.wait()})"}
        if "error" in value:
            raise MeshqError(f"a client process failed: {value['error']}")
        return value

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def several(flags: dict[str, Any], clients: int, tasks: int) -> Rates:
    """Return the rates of client processes that all submit so many no-ops at the same time."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(ClientProcess(flags, "throughput", tasks=tasks)) for _ in range(clients)]
        for process in processes:
            process.wait_ready()
        began_at = time.perf_counter()
        for process in processes:
            process.go()
        rates = [process.result()["tasks_per_s"] for process in processes]
        return Rates(clients * tasks / (time.perf_counter() - began_at), rates)


def alone(side: Side, job: str, **arguments: Any) -> dict[str, Any]:
    """Return what comes of a job of ``bench_client`` in a fresh process, which has this side to itself.

    What one side has had the allocator do, to keep memory that was freed, would serve another in its process.
    """
    with ClientProcess(side.flags, job, name=side.name, workers=side.workers, **arguments) as process:
        process.wait_ready()
        process.go()
        return process.result()
