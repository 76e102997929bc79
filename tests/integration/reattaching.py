"""Clients that are killed at any moment, others that attach to what they have left, and what comes of it."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

from mesh_harness import Process, Stage, wait_until

TASKS = 60
TASK_S = 0.02
LATEST_S = 0.8
"""By then a client is killed that has begun to submit; all of its tasks take somewhat less on two slots."""

CLIENT = """
import time
from meshq import Mesh
from tallied import tally, write
mesh = Mesh()
mesh.wait_for_nodes(1, 20)
waiting = []
for number in range({tasks}):
    submit = mesh.delay if number % 4 == 0 else mesh.submit
    handle = submit(tally, {runs!r}, number, {seconds})
    write({ids!r}, f"submitted {{number}} {{handle.task_id}}")
    waiting.append((number, handle))
while True:
    there = [each for each in waiting if str(each[1].status if each[0] % 4 == 0 else each[1].state) != "PENDING"]
    for number, handle in there:
        write({ids!r}, f"accepted {{number}} {{handle.task_id}}")
        waiting.remove((number, handle))
    time.sleep(0.002)
"""
"""Submits tasks, every fourth detached, and writes down which ones a node has."""

SUCCESSOR = """
import json, time
from concurrent.futures import wait
from meshq import Mesh
ids = {ids!r}
ends = {{}}
with Mesh() as mesh:
    futures = [mesh.attach(task_id) for task_id in ids]
    for future in futures:
        future.add_done_callback(lambda done: ends.setdefault(done.task_id, time.monotonic()))
    wait(futures)
errors = [future.exception() for future in futures]
print(json.dumps([
    [future.result() if error is None else type(error).__name__, ends[future.task_id]]
    for future, error in zip(futures, errors)
]))
"""
"""Attaches to tasks; tells of each what it came to, and when."""


class Left(NamedTuple):
    """One task that a killed client had submitted."""

    number: int
    accepted: bool
    """Whether its client knew that a node had it."""
    finished: bool
    """Whether it had run when the successor was started."""
    runs: int
    end: int | str
    """What the successor got: the value, or the name of the error."""
    seconds: float
    """How long after its own start."""

    @property
    def is_recovered(self) -> bool:
        """Whether the successor got the value of the one run; or heard that the task never reached a node."""
        never_sent = not self.accepted and self.runs == 0 and self.end == "ResultGone"
        return never_sent or (self.runs, self.end) == (1, self.number)


def kill_one(stage: Stage, rng: random.Random) -> list[Left]:
    """Kill a client at a random moment, have another process attach to its tasks; return what came of each."""
    directory = stage.directory / f"client{len(stage.scripts)}"
    directory.mkdir()
    ids, runs = directory / "ids", directory / "runs"
    text = CLIENT.format(tasks=TASKS, seconds=TASK_S, ids=str(ids), runs=str(runs))
    _kill_at_some_moment(stage.script(text), ids, rng)
    submitted = {int(number): task_id for _, number, task_id in lines(ids, "submitted")}
    accepted = {int(number) for _, number, _ in lines(ids, "accepted")}
    finished = {int(number) for _, number in lines(runs, "end")}
    successor = stage.script(SUCCESSOR.format(ids=list(submitted.values())))
    assert successor.wait(60.0) == 0, successor.text()
    ends: list[list[Any]] = json.loads(successor.text())
    starts = [int(number) for _, number in lines(runs, "start")]
    return [
        Left(number, number in accepted, number in finished, starts.count(number), end, at - successor.started_at)
        for number, (end, at) in zip(submitted, ends, strict=True)
    ]


def _kill_at_some_moment(client: Process, ids: Path, rng: random.Random) -> None:
    wait_until(lambda: lines(ids, "submitted") or not client.is_running())
    time.sleep(rng.uniform(0.0, LATEST_S))
    assert client.is_running(), client.text()
    client.kill()


def lines(path: Path, word: str) -> list[list[str]]:
    """Return the words of the lines that begin with this one."""
    if not path.exists():
        return []
    return [words for line in path.read_text().splitlines() if (words := line.split())[0] == word]
