"""The client's side of the scorecard's rows that need a network; writes down what it sees, as ``lab_client.py``.

Run as ``score_client.py SCENARIO ARGUMENTS``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import lab_client
import score_tasks
from lab_client import Diary, may_stop
from score_ends import Deliveries, nothing_is_held

from meshq import Mesh

POLL_S = 0.01
STATE_S = 0.1
QUIET_S = 30.0


def hold(mesh: Mesh, diary: Diary, rounds: float, tasks: float) -> None:
    """In each round, when told to begin, submit tasks that stay where they are first started; wait for them."""
    directory = os.environ["LAB_TRACES"]
    for number in range(int(rounds)):
        while not os.path.exists(f"{directory}/begin{number}"):
            time.sleep(POLL_S)
        path = f"{directory}/runs{number}"
        futures = [mesh.submit(score_tasks.hold, path, task) for task in range(int(tasks))]
        values = [future.result(timeout=60) for future in futures]
        wrong = sum(value != score_tasks.value_of(task) for task, value in enumerate(values))
        diary.note("round", number=number, wrong=wrong)


def load(mesh: Mesh, diary: Diary, nodes: float, in_flight: float, seconds: float) -> None:
    """Keep so many tasks unfinished until told to stop; note since when the oldest of them has been so."""
    path, deliveries, number = os.environ["LAB_TRACES"], Deliveries(), 0
    mesh.wait_for_nodes(int(nodes), timeout=60)
    flying: dict[int, float] = {}
    kind, slowest, next_at = "begun", 0.0, 0.0
    while flying or not may_stop():
        while len(flying) < in_flight and not may_stop():
            flying[number] = time.monotonic()
            deliveries.watch(number, mesh.submit(score_tasks.stamp, path, number, seconds))
            number += 1
        now = time.monotonic()
        for done in [each for each in flying if each in deliveries.ends]:
            slowest = max(slowest, now - flying.pop(done))
        if now >= next_at:
            diary.note(kind, oldest=min(flying.values(), default=now))
            kind, next_at = "state", now + STATE_S
        time.sleep(0.002)
    wrong = deliveries.wrong(range(number))
    diary.note("ended", submitted=number, wrong=wrong, twice=deliveries.twice(), slowest=slowest)
    end_at = time.monotonic() + QUIET_S
    while not (quiet := nothing_is_held(mesh, int(nodes))) and time.monotonic() < end_at:
        time.sleep(POLL_S)
    diary.note("quiet", after=time.monotonic() - end_at + QUIET_S, quiet=quiet)


SCENARIOS: dict[str, Callable[..., None]] = {"hold": hold, "load": load}

if __name__ == "__main__":
    lab_client.SCENARIOS |= SCENARIOS
    lab_client.main(*sys.argv[1:])
