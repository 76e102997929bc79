"""A client inside an asyncio program: its futures are standard ones, so asyncio.wrap_future takes them.

Type these in this directory, each in a terminal of its own:

    meshq node sites --slots 2
    python client.py
"""

import asyncio

from meshq import Mesh

from sites import square, wait


async def tick(ticks: list[int]) -> None:
    """Count, to show that the event loop goes on while tasks run elsewhere."""
    while True:
        await asyncio.sleep(0.05)
        ticks.append(len(ticks))


async def main(mesh: Mesh) -> None:
    """Submit from a coroutine, and await the results."""
    ticks: list[int] = []
    ticking = asyncio.create_task(tick(ticks))

    print("one:", await asyncio.wrap_future(mesh.submit(square, 12)))

    futures = [asyncio.wrap_future(mesh.submit(square, number)) for number in range(10)]
    print("many:", await asyncio.gather(*futures))

    print("slow:", await asyncio.wrap_future(mesh.submit(wait, 0.5)))
    print("the event loop went on:", len(ticks) >= 2)

    # When the time is up asyncio cancels its future. The task is withdrawn, unless it runs: then it goes on, and
    # its result is dropped; mesh.control.revoke(..., terminate=True) would end it.
    try:
        async with asyncio.timeout(0.2):
            await asyncio.wrap_future(mesh.submit(wait, 1.0))
    except TimeoutError:
        print("timed out")
    ticking.cancel()


# The mesh is opened and closed outside the event loop, since closing it waits for what is unfinished.
with Mesh() as open_mesh:
    asyncio.run(main(open_mesh))
