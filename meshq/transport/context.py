"""The zmq context of a process, with room for as many sockets as a large mesh needs."""

from __future__ import annotations

import sys

import zmq

MAX_SOCKETS = 16_384
"""A node costs its client three: the DEALER, its monitor and the monitor's reader. So, some 5,000 nodes."""

WANTED_FILES = 65_536
"""Each socket holds one file descriptor and each connection another; a higher limit would serve nothing."""


def make_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Make a context with one I/O thread (enough for about 1 GB/s), and raise the limit of open files."""
    _raise_file_limit()
    context = zmq.Context(io_threads=1)
    context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
    return context


def _raise_file_limit() -> None:
    """Raise the soft limit of open files towards the hard one; the default of 1,024 is reached by 300 nodes."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        pass  # macOS refuses values above its own cap; the old limit still serves a small mesh
