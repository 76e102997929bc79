"""Runs the command line as users do: in processes of its own, with settings and directories of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2]
WAIT_S = 30.0
"""How long anything is waited for; far more than it takes, as the machine may be busy."""
AT_ONCE = 10
"""How many commands run at the same time: most of their time they wait, but all begin with starting Python."""

Command = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""The arguments of ``meshq``, and the further variables of its environment."""

TASKS = '''
import os
import time
from pathlib import Path

from meshq import control_command, task


@control_command
def whisper(text, times=1):
    """A control command of the user's own."""
    return " ".join([text] * times)


@task
def add(x, y):
    return x + y


@task
def echo(value):
    return value


@task
def boom():
    raise ValueError("no such photo")


@task
def slow(marker, seconds):
    """Leave the pid of the worker in ``marker``, and go on for a while."""
    Path(f"{marker}.new").write_text(str(os.getpid()))
    os.rename(f"{marker}.new", marker)
    time.sleep(seconds)
    return "finished"
'''


def until(condition: Callable[[], object], what: Callable[[], str] = lambda: "") -> None:
    """Wait until a condition holds; ``what`` is told by the failure."""
    end_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_at, f"it did not come to pass: {what()}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command(*args: object, **env: str) -> Command:
    """Return ``meshq ARGS`` with further variables, as ``run`` would run it."""
    return tuple(map(str, args)), tuple(sorted(env.items()))


class Done:
    """What a command has printed, and its exit code."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self) -> dict[str, Any]:
        """Return the one JSON value on stdout."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        assert value["schema"] == 1
        return value


class Shell:
    """A directory with a module of tasks, a mesh name, and the processes started there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "mesh.key"
        (directory / "photos.py").write_text(TASKS)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHQ_")}
        self.env = clean | {
            "MESHQ_MESH": f"cli-{uuid.uuid4().hex[:12]}",
            "PYTHONPATH": str(SOURCE),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
        }
        self._started: list[subprocess.Popen[str]] = []
        self._ahead: dict[Command, subprocess.CompletedProcess[str]] = {}

    def run(self, *args: object, **env: str) -> Done:
        """Run ``meshq ARGS``, and wait for it; what was run ahead with the same arguments is returned instead."""
        key = command(*args, **env)
        done = self._ahead.pop(key, None) or self._run(key)
        print("meshq", *args, done, sep="\n    ")  # for the report of a failure
        return Done(done)

    def run_ahead(self, *commands: Command) -> None:
        """Run commands that have nothing to do with each other, at the same time; wait for all.

        Each is then there for one ``run`` with the same arguments.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self._ahead |= zip(commands, pool.map(self._run, commands), strict=True)

    def ahead(self, *lines: Sequence[object]) -> Shell:
        """Return a shell like this one, for which ``meshq`` has been run ahead with each of these arguments."""
        shell = copy(self)
        shell._ahead = {}
        shell.run_ahead(*(command(*line) for line in lines))
        return shell

    def run_all(self, *lines: Sequence[object]) -> list[Done]:
        """Run ``meshq`` with each of these arguments, at the same time; return what has come of each."""
        ahead = self.ahead(*lines)
        return [ahead.run(*line) for line in lines]

    def _run(self, key: Command) -> subprocess.CompletedProcess[str]:
        args, env = key
        return subprocess.run(
            [sys.executable, "-m", "meshq", *args], cwd=self.directory, env=self.env | dict(env),
            capture_output=True, text=True, timeout=WAIT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *args: object, log: Path) -> subprocess.Popen[str]:
        """Start ``meshq ARGS`` in a process group of its own; what it prints goes to ``log``."""
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "meshq", *map(str, args)], cwd=self.directory, env=self.env,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, text=True, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def node(self, *args: object) -> Node:
        """Start ``meshq node ARGS``, and wait until it is ready."""
        return self.nodes(args)[0]

    def nodes(self, *lines: Sequence[object]) -> list[Node]:
        """Start a node with each of these arguments, and wait until all are ready."""
        nodes = []
        for args in lines:
            log = self.directory / f"node-{len(self._started)}.log"
            nodes.append(Node(self.start("node", *args, log=log), log))
        for node in nodes:
            until(lambda node=node: "is ready" in node.output() or node.process.poll() is not None, node.output)
            assert node.process.poll() is None, node.output()
        return nodes

    def call_slow(self, name: str, seconds: float) -> tuple[subprocess.Popen[str], int]:
        """Start ``meshq call photos.slow``; return it, and the pid of the worker once that runs the task."""
        marker = self.directory / name
        log = self.directory / f"{name}.log"
        process = self.start("call", "photos.slow", marker, seconds, log=log)
        until(marker.exists, log.read_text)
        return process, int(marker.read_text())

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(WAIT_S)


class Node:
    """A node that was started, and its log."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    def output(self) -> str:
        """Return what it has logged."""
        return self._log.read_text()

    def port(self) -> int:
        """Return the port of which it says that it is ready there."""
        ready = next(line for line in self.output().splitlines() if "is ready" in line)
        return int(ready.partition(" at tcp://")[2].split()[0].rpartition(":")[2])

    def signal(self, number: signal.Signals, group: bool = False) -> None:
        """Send a signal to it, or, as a terminal does, to it and all its children."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(WAIT_S)
