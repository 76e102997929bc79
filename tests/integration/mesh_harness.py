"""A stage for one mesh: nodes and scripts as real processes, each with its log, all ended with the stage."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import meshq
from meshq import Mesh

T = TypeVar("T")

MODULES = Path(__file__).parent / "modules"
REPOSITORY = Path(meshq.__file__).parents[1]
PATIENCE_S = 20.0
LOG_LIMIT = 20_000
"""How much of a log a failure shows."""

stages: list[Stage] = []
"""Those that are open, for the report of a failure."""


def wait_until(condition: Callable[[], T], timeout: float = PATIENCE_S, what: str = "") -> T:
    """Wait until the condition is true, and return what it is; fails after ``timeout`` seconds."""
    end_at = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end_at, f"not within {timeout} s: {what or condition}"
        time.sleep(0.01)
    return value


class Process:
    """A process of the stage; what it prints is in its log."""

    def __init__(self, label: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.label = label
        self.log = log
        self.started_at = time.monotonic()
        with log.open("w") as file:
            self._popen = subprocess.Popen(
                command, cwd=MODULES, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def text(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def until_logged(self, pattern: str, timeout: float = PATIENCE_S) -> re.Match[str]:
        """Wait until a line of the log matches the pattern; fails at once if the process has ended without."""

        def look() -> re.Match[str] | None:
            ended = self._popen.poll() is not None
            found = re.search(pattern, self.text())
            assert found or not ended, f"{self.label} ended with {self._popen.returncode} without {pattern!r}"
            return found

        found = wait_until(look, timeout, f"{pattern!r} in the log of {self.label}")
        assert found is not None
        return found

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for its end, and return its exit code."""
        return self._popen.wait(timeout)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it without a word."""
        self._popen.kill()
        self._popen.wait()


class NodeProcess(Process):
    """One ``meshq node``."""

    def until_ready(self) -> NodeProcess:
        """Wait until the node says that it is ready."""
        self.until_logged(r"node \S+ is ready")
        return self

    @property
    def name(self) -> str:
        """Its NAME@HOST."""
        return self.until_logged(r"node (\S+) is ready").group(1)

    @property
    def address(self) -> str:
        """Where it answers, as ``tcp://host:port``."""
        return self.until_logged(r"is ready: .* at (tcp://\S+)").group(1)

    def freeze(self) -> None:
        """Stop it from running, as if its host hung; its workers go on."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run again."""
        self.send(signal.SIGCONT)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        return [pid for pid, parent in _parents() if parent == self.pid and _state(pid) != "Z"]


class Stage:
    """A mesh with a name of its own, whose nodes and scripts end with it.

    Only what is given in ``settings`` differs from the defaults, each as a ``MESHQ_*`` variable.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.mesh = f"test-{uuid.uuid4().hex[:12]}"
        self.nodes: list[NodeProcess] = []
        self.scripts: list[Process] = []
        self._meshes: list[Mesh] = []
        self._at_rest: list[Mesh] = []
        """Clients that may be lent again."""
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("MESHQ_")}
        self.env |= {
            "MESHQ_MESH": self.mesh,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(MODULES)]),
            "PYTHONUNBUFFERED": "1",
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
            **{f"MESHQ_{name.upper()}": value for name, value in settings.items()},
        }
        stages.append(self)

    def start(self, *modules: str, slots: int = 1, ready: bool = True, **settings: Any) -> NodeProcess:
        """Start a node with these modules (``work``); its label is a, b, c… in this order.

        ``settings`` are the node's, named as its flags are.
        """
        label = chr(ord("a") + len(self.nodes))
        command = [sys.executable, "-m", "meshq", "node", *(modules or ("work",)), "--slots", str(slots)]
        for name, value in settings.items():
            command += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        env = {**self.env, "NODE_LABEL": label}
        node = NodeProcess(label, command, env, self.directory / f"node-{label}.log")
        self.nodes.append(node)
        return node.until_ready() if ready else node

    def script(self, text: str, **env: str) -> Process:
        """Start a Python script as a client of the mesh."""
        number = len(self.scripts)
        path = self.directory / f"script{number}.py"
        path.write_text(text)
        log = self.directory / f"script{number}.log"
        process = Process(f"script {number}", [sys.executable, str(path)], {**self.env, **env}, log)
        self.scripts.append(process)
        return process

    def client(self, nodes: int | None = None, **arguments: Any) -> Mesh:
        """Return a client that sees so many nodes (all that were started); closed with the stage."""
        mesh = Mesh(self.mesh, **arguments)
        self._meshes.append(mesh)
        count = len(self.nodes) if nodes is None else nodes
        if count:
            mesh.wait_for_nodes(count, timeout=PATIENCE_S)
        return mesh

    @contextmanager
    def lent(self) -> Iterator[Mesh]:
        """Lend a client that sees all nodes and has nothing unfinished; the next test gets it if that is so again.

        One that was opened just now would wait for nodes that it may not have seen yet, before each command.
        """
        mesh = self._at_rest.pop() if self._at_rest else self.client()
        mesh.wait_for_nodes(len(self.nodes), timeout=PATIENCE_S)
        yield mesh
        if mesh._runtime.is_usable and not mesh._books.bytes:
            self._at_rest.append(mesh)
        else:
            mesh.close(cancel=True)

    def processes(self) -> dict[int, str]:
        """Return the running processes of this mesh other than this one: process id → command line."""
        mark = f"MESHQ_MESH={self.mesh}".encode()
        return {pid: _read(pid, "cmdline").replace(b"\0", b" ").decode() for pid in _pids() if _has(pid, mark)}

    def close(self) -> None:
        """End everything, and see that no process is left, least of all a worker."""
        stages.remove(self)
        with ExitStack() as ends:
            ends.callback(self._kill_all)
            ends.callback(lambda: wait_until(lambda: not self.processes(), 5.0, "no process outlives its node"))
            for process in (*self.nodes, *self.scripts):
                ends.callback(process.kill)
            for mesh in self._meshes:
                ends.callback(mesh.close, cancel=True)

    def _kill_all(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


def labels(results: list[str]) -> dict[str, int]:
    """Count what ``work.where`` has returned."""
    return {label: results.count(label) for label in sorted(set(results))}


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended, or is another user's
        return b""


def _state(pid: int) -> str:
    return _read(pid, "stat").rpartition(b")")[2].split(maxsplit=1)[0].decode() if _read(pid, "stat") else "Z"


def _has(pid: int, mark: bytes) -> bool:
    return pid != os.getpid() and mark in _read(pid, "environ").split(b"\0") and _state(pid) != "Z"


def _parents() -> Iterator[tuple[int, int]]:
    for pid in _pids():
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        if fields:
            yield pid, int(fields[1])
