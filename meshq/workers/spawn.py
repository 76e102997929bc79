"""Starting a worker process: its sockets, its pipes, its slate."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass

from meshq.workers.link import WorkerSpec

_SLATE = struct.Struct("=Q")
_REAP_S = 5.0
_SEND_BYTES = 1024 * 1024
"""So that a piece of a payload goes through at once: with what Linux gives by default, 1 MB there and back takes
0.86 ms and five wake-ups each way, with this 0.40 ms. The system may allow less."""


@dataclass
class Process:
    """A worker process as the node holds it. The descriptors are the node's ends."""

    popen: subprocess.Popen[bytes]
    data: socket.socket
    control: socket.socket
    pipes: dict[int, int]
    """1 and 2 → where what is written to them can be read."""
    slate: int
    pidfd: int | None
    """Readable once the process is dead; None where the system has no such thing."""

    def started(self) -> int:
        """Return the number of the last run that was started, 0 before the first."""
        number: int = _SLATE.unpack(os.pread(self.slate, _SLATE.size, 0))[0]
        return number

    def is_dead(self) -> bool:
        """Whether the process has ended, and only waits to be reaped."""
        return os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def signal(self, number: int) -> None:
        """Send a signal to the process. Its pid cannot be another's: it is not reaped yet."""
        if self.popen.returncode is None:
            os.kill(self.popen.pid, number)

    def kill_group(self) -> None:
        """Kill the process with all that its tasks have started and left in its group."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            pass

    def reap(self) -> str:
        """Wait for a process that is dead or dying; return how it ended."""
        try:
            code = self.popen.wait(_REAP_S)
        except subprocess.TimeoutExpired:  # it only hung up, or the kernel cannot end it now
            self.kill_group()
            code = -signal.SIGKILL
        return f"exit code {code}" if code >= 0 else f"killed by {_signal_name(-code)}"

    def close(self) -> None:
        """Close the node's ends but those of the sockets, which their channels close."""
        for fd in (*self.pipes.values(), self.slate, self.pidfd):
            if fd is not None:
                os.close(fd)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def spawn(spec: WorkerSpec) -> Process:
    """Start a worker process. Raises OSError.

    The kernel kills it when the *thread* that called this ends, so that thread must be one that lasts.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        data, data_far = _pair(ours, theirs)
        control, control_far = _pair(ours, theirs)
        out, out_far = _pipe(ours, theirs)
        err, err_far = _pipe(ours, theirs)
        slate = _make_slate()
        ours.callback(os.close, slate)
        far = (data_far.fileno(), control_far.fileno(), slate)
        popen = subprocess.Popen(
            [sys.executable, "-m", "meshq.workers.child", *map(str, far), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=out_far,
            stderr=err_far,
            pass_fds=far,
            cwd=spec.cwd,
            env={**os.environ, **(spec.env or {}), "MESHQ_WORKER": "1"},
            start_new_session=True,  # Ctrl-C in the terminal is for the node
        )
        ours.pop_all()  # they stay open: nothing has failed
    for fd in (out, err):
        os.set_blocking(fd, False)
    return Process(popen, data, control, {1: out, 2: err}, slate, _open_pidfd(popen.pid))


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    ours.enter_context(near)
    theirs.enter_context(far)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    return near, far


def _pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    near, far = os.pipe()
    ours.callback(os.close, near)
    theirs.callback(os.close, far)
    return near, far


def _make_slate() -> int:
    """Return the descriptor of the page on which the worker notes the run that it starts."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("meshq-slate")
    else:
        fd, path = tempfile.mkstemp(prefix="meshq-slate-")
        os.unlink(path)
    os.truncate(fd, mmap.PAGESIZE)
    return fd


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
