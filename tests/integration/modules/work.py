"""Tasks that the tests run on real nodes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from meshq import task


@task
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@task
def echo(value: Any) -> Any:
    """Give back what came."""
    return value


@task
def show(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Tell how it was called."""
    return {"args": args, "kwargs": kwargs}


@task
def nothing(*args: Any) -> None:
    """Do nothing."""


@task
async def add_later(x: int, y: int) -> int:
    """Add two numbers, in a coroutine."""
    await asyncio.sleep(0)
    return x + y


@task
def size_of(data: bytes) -> int:
    """Tell how many bytes came."""
    return len(data)


@task
def many_bytes(count: int, seconds: float = 0.0) -> bytes:
    """Return this many bytes, after a while."""
    time.sleep(seconds)
    return bytes(range(256)) * (count // 256)


@task
def fail(text: str) -> None:
    """Raise an error of a built-in type, with a cause."""
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError(text, 7) from error


@task
def fail_strangely() -> None:
    """Raise an error of a type that only nodes know."""
    import strange  # clients import this module, and must not know that one

    raise strange.make_error("not known here")


@task
def fail_at(number: int, bad: int) -> int:
    """Return the number, but for one."""
    if number == bad:
        raise ValueError(f"{number} is bad")
    return number * 10


@task
def return_object() -> Any:
    """Return what no serializer takes."""
    return object()


@task
def nap(seconds: float, value: Any = None) -> Any:
    """Sleep, then return the value."""
    time.sleep(seconds)
    return value


@task
def where(seconds: float = 0.0) -> str:
    """Sleep, then tell on which node this ran."""
    time.sleep(seconds)
    return os.environ["NODE_LABEL"]


@task
def pid(seconds: float = 0.0) -> int:
    """Sleep, then tell which process this is."""
    time.sleep(seconds)
    return os.getpid()


@task
def write(path: str, text: str) -> None:
    """Write a file, whole or not at all."""
    partial = Path(f"{path}.part")
    partial.write_text(text)
    partial.rename(path)


@task
def note(path: str, seconds: float = 0.0) -> int:
    """Append the process id to a file, then sleep."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


@task
def die(path: str) -> None:
    """Leave a mark, then end the worker without a word."""
    with open(path, "a") as file:
        file.write("died\n")
    os._exit(3)


@task
def die_twice(path: str) -> str:
    """End the worker at the first two tries."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) <= 2:
        os._exit(3)
    return "third time lucky"


@task
def say(out: str, err: str) -> None:
    """Print to both streams."""
    print(out)
    print(err, file=sys.stderr)


@task
def plus_one_elsewhere(number: int) -> int:
    """Submit to the mesh from within a task, and wait for it."""
    return int(add.submit(number, 1).result(timeout=20))


def plain(x: int) -> int:
    """Not a task: offered only where it is allowed."""
    return -x


@task
def die_at(number: int, bad: int) -> int:
    """End the worker at one number."""
    if number == bad:
        os._exit(3)
    return number


@task(max_retries=1, retry_for=LookupError, retry_backoff=0)
def second_try(path: str) -> str:
    """Fail the first time."""
    if not os.path.exists(path):
        Path(path).touch()
        raise LookupError(path)
    return path
