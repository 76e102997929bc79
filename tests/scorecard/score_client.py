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

from meshq import Mesh

POLL_S = 0.01


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


SCENARIOS: dict[str, Callable[..., None]] = {"hold": hold}

if __name__ == "__main__":
    lab_client.SCENARIOS |= SCENARIOS
    lab_client.main(*sys.argv[1:])
