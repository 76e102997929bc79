"""A little world of its own: a directory, a mesh, a key, and node processes that never outlast it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from meshq.client.mesh import Mesh
from meshq.transport.keys import write_key

SLOTS = 2
"""Of each node, as a rule: enough to show that a node runs several tasks at once, on two CPUs too."""
READY_S = 15.0
"""From a node's start until it is found; it takes one second where nothing else runs."""
STOP_S = 4.0
"""From SIGTERM until SIGKILL."""
_GONE_S = 3.0
_POLL_S = 0.02


class LocalFailed(click.ClickException):
    """The nodes that were started here did not do what they are for. Exit code 1."""


@contextlib.contextmanager
def sealed_off(mesh: str, slots: int = SLOTS, secure: bool = True) -> Iterator[Path]:
    """Change to a new directory whose settings are the only ones that count; put all back at the end.

    The key is made for this run: nobody else on this machine can submit to the nodes; without ``secure`` there is
    none. A signal that would end the process at once raises ``SystemExit`` instead, so that whoever has begun
    something can end it.
    """
    environment = dict(os.environ)
    with (
        ending_on_signals(),
        tempfile.TemporaryDirectory(prefix="meshq-local-", ignore_cleanup_errors=True) as name,
        _inside(name),
    ):
        here = Path(name).resolve()
        (here / "meshq.toml").write_text(_settings(here, slots, secure), encoding="utf-8")
        try:
            for variable in [v for v in os.environ if v.startswith("MESHQ_")]:
                del os.environ[variable]
            os.environ["MESHQ_MESH"] = mesh  # also the mark by which its processes are known
            yield here
        finally:
            os.environ.clear()
            os.environ.update(environment)


def _settings(here: Path, slots: int, secure: bool) -> str:
    """Return what the settings file says, after a key was made if there is to be one."""
    if secure:
        write_key(here / "mesh.key")
    key = 'key = "mesh.key"' if secure else "insecure = true"  # which leaves out the user's own key, too
    return f'{key}\nbind = "127.0.0.1"\nstate = "state"\nlog_level = "info"\nslots = {slots}\n'


@contextlib.contextmanager
def _inside(directory: str) -> Iterator[None]:
    """Change the directory, and back if that is possible: the old one may be gone, or closed to this user."""
    before = None
    with contextlib.suppress(OSError):
        before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(before or "/")


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        if before[number] is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class LocalNodes:
    """Starts nodes of a module by name, kills one, and ends them all with the ``with`` block, whatever happens."""

    def __init__(self, mesh: str, directory: Path, module: str) -> None:
        self.names: dict[int, str] = {}
        """The pid of each node, also of those that have ended → its name."""
        self.left: list[int] = []
        """After the end: the processes that had not ended with their nodes, and were killed."""
        self._mesh = mesh
        self._directory = directory
        self._module = module
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start nodes; ``wait_seen`` tells when they can be used."""
        for name in names:
            with self._log(name).open("wb") as log:
                self._running[name] = subprocess.Popen(
                    [sys.executable, "-m", "meshq", "node", self._module, "--name", name],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(),
                    start_new_session=True,  # Ctrl-C in the terminal is for the command
                )  # fmt: skip
            self.names[self._running[name].pid] = name

    def wait_seen(self, mesh: Mesh, *names: str) -> None:
        """Wait until the mesh sees these nodes. Raises ``LocalFailed``, saying why it does not."""
        end_at = time.monotonic() + READY_S
        while missing := set(names) - {node.name for node in mesh.nodes()}:
            for name in names:
                if self._running[name].poll() is not None:
                    raise LocalFailed(f"node {name} ended at its start. Its log:\n{self._read_log(name)}")
            if time.monotonic() > end_at:
                raise LocalFailed(self._explain_absence(mesh, min(missing)))
            time.sleep(_POLL_S)

    def kill(self, name: str) -> int:
        """End a node by SIGKILL, and return what its pid was."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        return process.pid

    def close(self) -> None:
        """End all nodes, by SIGTERM, and by SIGKILL those that take too long; see that their workers are gone."""
        try:
            for process in self._running.values():
                process.terminate()
            end_at = time.monotonic() + STOP_S
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end_at - time.monotonic()))
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()
            self._running.clear()
            self._wait_gone()

    def _wait_gone(self) -> None:
        end_at = time.monotonic() + _GONE_S
        while (left := processes_of(self._mesh)) and time.monotonic() < end_at:
            time.sleep(_POLL_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.left = left

    def __enter__(self) -> LocalNodes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _read_log(self, name: str) -> str:
        return self._log(name).read_text(encoding="utf-8", errors="replace")[-2000:]

    def _explain_absence(self, mesh: Mesh, name: str) -> str:
        log = self._read_log(name)
        if "is ready" not in log:
            return f"node {name} was not ready within {READY_S:.0f} s. Its log:\n{log}"
        why = mesh.explain_absence()
        if f"{name}@" in why:
            return f"node {name} is ready and was found by mDNS, but cannot be used: {why}. Its log:\n{log}"
        return (
            f"node {name} is ready, but was not found by mDNS within {READY_S:.0f} s: multicast on the loopback "
            f"interface seems to be blocked here ({why}). Where that is so, name the nodes instead: "
            f"Mesh(peers=['tcp://HOST:PORT']), or --peer. Its log:\n{log}"
        )


def environment() -> dict[str, str]:
    """Return the environment for a process of ours, which must find this very meshq, installed or not."""
    root = Path(__file__).resolve().parents[2]
    if root.name in ("site-packages", "dist-packages"):
        return dict(os.environ)
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def processes_of(mesh: str) -> list[int]:
    """Return the pids of other processes that were started for a mesh; none where there is no ``/proc``."""
    mark = f"MESHQ_MESH={mesh}".encode()
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if mark in path.read_bytes().split(b"\0"):
                pids.append(int(path.parent.name))
    return [pid for pid in pids if pid != os.getpid()]
