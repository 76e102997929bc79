"""Steering the nodes from a program: what runs, what waits, revoke, limits, purge.

Type these in this directory, each in a terminal of its own:

    meshq node bakery --name oven --slots 1
    python steering.py

All of it can be done in a shell as well: see 'meshq ctl --help'.
"""

import time
from typing import Any

from meshq import Future, Mesh, TaskRevoked, TimeLimitExceeded

from bakery import bake


def shown(list_of: str, mesh: Mesh, future: Future[Any]) -> dict[str, Any]:
    """Wait until a list of inspect shows a task; return its row."""
    while True:
        for tasks in getattr(mesh.control.inspect(), list_of)().values():
            for row in tasks:
                if row["id"] == future.task_id:
                    return row
        time.sleep(0.02)


with Mesh() as mesh:
    mesh.wait_for_nodes(1, timeout=30)
    control = mesh.control

    # Each reply is {"NAME@HOST": value}; by_node makes one dict of them. Who is silent is in .missing.
    replies = control.ping()
    for name, value in replies.by_node().items():
        print(f"1. {name.partition('@')[0]} says {value['ok']}, slots: {value['slots']}")
    print(f"   missing: {replies.missing}")

    # What runs. A running task is ended only if that is asked for.
    roast = mesh.submit(bake, "roast", 3600)
    row = shown("active", mesh, roast)
    print(f"2. active: {row['name']}({', '.join(row['args'])})")
    (outcomes,) = control.revoke(roast.task_id, terminate=True, reply=True).by_node().values()
    print(f"   revoke: {outcomes['ok'][roast.task_id]}")
    try:
        roast.result()
    except TaskRevoked as error:
        print(f"   {type(error).__name__}")

    # What waits for its time. It takes up no slot, and is gone at once when it is revoked.
    later = mesh.submit(bake.options(countdown=3600), "breakfast rolls", 0)
    row = shown("scheduled", mesh, later)
    print(f"3. scheduled, because of a {row['reason']}: {row['args'][0]}")
    (outcomes,) = control.revoke(later.task_id, reply=True).by_node().values()
    print(f"   revoke: {outcomes['ok'][later.task_id]}")

    # Time limits act on what has not started. Past the soft one the task is told, past the hard one it is ended.
    control.time_limit(bake, soft=0.2, hard=60, reply=True)
    print(f"4. {mesh.submit(bake, 'cake', 3600).result()}")
    control.time_limit(bake, hard=0.2, reply=True)
    try:
        mesh.submit(bake, "bread", 3600).result()
    except TimeLimitExceeded as error:
        print(f"   {type(error).__name__}")
    control.time_limit(bake, reply=True)  # lifts both

    # A rate limit: so many runs at each node, evenly spaced.
    control.rate_limit(bake, "10/s", reply=True)
    (functions,) = control.inspect().registered().values()
    began = time.monotonic()
    list(mesh.map(bake, ["biscuit"] * 6, [0] * 6))
    print(f"5. {functions[0]}: 6 biscuits took half a second: {time.monotonic() - began > 0.45}")
    control.rate_limit(bake, 0, reply=True)

    # Purge discards all that waits, in the whole mesh, and counts it. What runs goes on.
    running = mesh.submit(bake, "pizza", 1)
    shown("active", mesh, running)
    waiting = [mesh.submit(bake, f"pizza {number}", 3600) for number in range(100)]
    purged = control.purge()
    print(f"6. {purged} discarded, silent: {purged.missing}")
    print(f"   all settled: {all(isinstance(future.exception(), TaskRevoked) for future in waiting)}")
    print(f"   and {running.result()} is ready")
