"""Tasks that leave a line for each run, so that runs can be counted whatever becomes of their results."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from typing import NamedTuple

from meshq import current_task, task

HELD_S = 120.0
MOST_MB = 1_000


class Run(NamedTuple):
    """One run of a task: its number, which attempt it is, the pid of its node, its host, when it started."""

    number: int
    attempt: int
    node: int
    host: str
    at: float


def write_down(path: str, number: int) -> None:
    """Append a line for this run, at once and whole. The instant is one of the clock that all hosts here share."""
    own = current_task()
    attempt = 0 if own is None else own.attempt
    line = f"{number} {attempt} {os.getppid()} {socket.gethostname()} {time.monotonic()}\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def runs(path: Path) -> list[Run]:
    """Return the runs that were written down, in that order."""
    if not path.exists():
        return []
    rows = (line.split() for line in path.read_text().splitlines())
    return [Run(int(row[0]), int(row[1]), int(row[2]), row[3], float(row[4])) for row in rows]


def value_of(number: int) -> int:
    """Return what each task here returns for its number."""
    return number * 7 + 1


@task
def stamp(path: str, number: int, seconds: float) -> int:
    """Leave a line, and sleep."""
    write_down(path, number)
    time.sleep(seconds)
    return value_of(number)


@task
def burn(path: str, number: int, seconds: float) -> int:
    """Leave a line, and use so much time of a CPU."""
    write_down(path, number)
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return value_of(number)


@task
def hold(path: str, number: int) -> int:
    """Leave a line; the first attempt waits until it is told to go on, by a file beside ``path``."""
    write_down(path, number)
    own = current_task()
    end_at = time.monotonic() + HELD_S
    while own is not None and own.attempt == 1 and time.monotonic() < end_at and not os.path.exists(f"{path}.go"):
        time.sleep(0.01)
    return value_of(number)


@task
def die(path: str, number: int, how: str) -> None:
    """Leave a line, and end this worker, without a word or by SIGKILL."""
    write_down(path, number)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def devour(path: str, number: int) -> None:
    """Leave a line, and use all memory that there is: only where a cgroup bounds it."""
    write_down(path, number)
    eaten = []
    while len(eaten) < MOST_MB:
        eaten.append(b"x" * (1 << 20))
    raise AssertionError("nothing bounds the memory here")
