"""Two tasks: a plain function, and a coroutine function. A client uses them alike."""

import asyncio

from meshq import task


@task
def square(number: int) -> int:
    """Return the square of a number."""
    return number * number


@task
async def wait(seconds: float) -> float:
    """Wait for a while, and return for how long."""
    await asyncio.sleep(seconds)
    return seconds
