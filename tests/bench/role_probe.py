"""What ``profile_roles.py`` has running in each process: counts of garbage collection, and a profile on demand.

It is imported as the ``sitecustomize`` of the node and its workers, which know nothing of it. Each process writes
into the directory ``ROLE_PROBE``: ``PID.gc``, the seconds of CPU and the number of its collections, kept up to
date; and, once there is a file ``stop`` and ``ROLE_CALLS`` is set, ``PID.calls``, what its main thread has called.
"""

from __future__ import annotations

import cProfile
import gc
import marshal
import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path

COUNTS = struct.Struct("=dq")


class Collections:
    """The garbage collections of this process: how long they took, in seconds of CPU, and how many there were."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0
        self._began_at = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_at = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began_at
            self.count += 1
            self.tell()

    def tell(self) -> None:
        """Say so to whoever listens; nobody does here."""


class ToldCollections(Collections):
    """The same, written to a file that another process reads."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(COUNTS.size))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), COUNTS.size)
        super().__init__()

    def tell(self) -> None:
        """Write the counts down."""
        COUNTS.pack_into(self._page, 0, self.seconds, self.count)


class ProfiledThreads:
    """Profiles of threads, by name; each thread begins its own."""

    def __init__(self) -> None:
        self.profiles: dict[str, cProfile.Profile] = {}

    def begin(self, *_: object) -> None:
        """Profile the thread that calls this; to be given to ``threading.setprofile`` as well."""
        sys.setprofile(None)
        profile = self.profiles[threading.current_thread().name] = cProfile.Profile(time.thread_time)
        profile.enable()


def dump(profile: cProfile.Profile, path: Path) -> None:
    """Write what a profile has found so far, while it goes on, as ``pstats`` reads it."""
    profile.snapshot_stats()
    new = path.with_suffix(".new")
    new.write_bytes(marshal.dumps(profile.stats))  # type: ignore[attr-defined]
    new.rename(path)


def _dump_when_stopped(profile: cProfile.Profile, directory: Path) -> None:
    while not (directory / "stop").exists():
        time.sleep(0.05)
    dump(profile, directory / f"{os.getpid()}.calls")


def install(directory: Path) -> None:
    """Begin in this process."""
    ToldCollections(directory / f"{os.getpid()}.gc")
    if os.environ.get("ROLE_CALLS"):
        threads = ProfiledThreads()
        threads.begin()
        (profile,) = threads.profiles.values()
        threading.Thread(target=_dump_when_stopped, args=(profile, directory), daemon=True).start()


if __name__ == "sitecustomize" and "ROLE_PROBE" in os.environ:
    install(Path(os.environ["ROLE_PROBE"]))
