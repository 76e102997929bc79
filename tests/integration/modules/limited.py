"""Tasks with time limits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import work

from meshq import SoftTimeLimitExceeded, task


@task(soft_time_limit=0.3)
def sleeps(seconds: float) -> str:
    """Sleep, and say whether somebody broke in."""
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "told"
    return "slept"


@task(soft_time_limit=0.3, time_limit=20.0)
def burns(seconds: float) -> str:
    """Use the processor, and say whether somebody broke in."""
    end_at = time.monotonic() + seconds
    try:
        while time.monotonic() < end_at:
            pass
    except SoftTimeLimitExceeded:
        return "told"
    return "burnt"


@task(soft_time_limit=0.3)
async def awaits(seconds: float) -> str:
    """Wait in a coroutine, and say whether somebody broke in."""
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "told"
    return "waited"


@task(soft_time_limit=2.5)
def waits_for_another(seconds: float) -> str:
    """Have another task sleep, and say whether somebody broke in on the wait for it."""
    future = work.nap.submit(seconds)
    try:
        future.result(timeout=60)
    except SoftTimeLimitExceeded:
        future.revoke(terminate=True)
        return "told"
    return "waited"


@task(soft_time_limit=0.3)
def never_minds(seconds: float) -> None:
    """Sleep, and let whatever comes go through."""
    time.sleep(seconds)


@task(soft_time_limit=0.2, time_limit=0.6)
def will_not_go(path: str) -> None:
    """Sleep on, whatever comes, and leave the number of this process."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        try:
            time.sleep(600)
        except SoftTimeLimitExceeded:
            pass


@task(ignore_result=True)
def keeps_to_itself(value: int) -> int:
    """Return a value that nobody wants."""
    if value < 0:
        raise ValueError("negative")
    return value
