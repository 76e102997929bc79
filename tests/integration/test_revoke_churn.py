"""A revoke holds whatever nodes do at that moment: freeze, die and come back, or are just starting.

``MESHQ_TEST_ROUNDS=200 pytest tests/integration/test_revoke_churn.py`` runs more rounds than the usual few.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from churn import stamp
from mesh_harness import NodeProcess, Stage

from meshq import Mesh, TaskRevoked

ROUNDS = int(os.environ.get("MESHQ_TEST_ROUNDS", "6"))
HEALED_S = 2.0
"""After a cut has healed, a revoke given meanwhile holds within this time."""
LAST_START_S = 1.2
"""No task of a round is to start later than this after its submission."""
EVENTS = ("nothing", "freeze", "kill", "join")


class Churn:
    """Three nodes, of which one has an accident in each round."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.nodes = [self.start(name) for name in ("one", "two", "three")]
        for node in self.nodes:
            node.until_ready()
        self.mesh = stage.client(len(self.nodes))
        self.guest: NodeProcess | None = None

    def start(self, name: str) -> NodeProcess:
        """Start a node that remembers under its name."""
        return self.stage.start("churn", slots=1, ready=False, name=name, state=self.stage.directory / "kept")

    def hurt(self, event: str) -> NodeProcess | None:
        """Let something happen; return the node that it happens to."""
        if event == "join":
            self.guest = self.start("guest")
        if event in ("nothing", "join"):
            return None
        victim = self.random.choice(self.nodes)
        victim.freeze() if event == "freeze" else victim.kill()
        return victim

    def heal(self, event: str, victim: NodeProcess | None) -> float:
        """Undo it; return when."""
        if event == "freeze" and victim is not None:
            victim.thaw()
        healed_at = time.monotonic()
        if event == "kill" and victim is not None:
            place = self.nodes.index(victim)
            self.nodes[place] = self.start(("one", "two", "three")[place])
        return healed_at

    def settle(self) -> None:
        """Have three nodes again, all of them seen."""
        for node in self.nodes:
            node.until_ready()
        if self.guest is not None:
            self.guest.until_ready()
            self.guest.kill()
            self.guest = None
        self.mesh.wait_for_nodes(len(self.nodes), timeout=20)


def submit(mesh: Mesh, path: Path, prefix: str, rng: random.Random) -> list[Any]:
    """Submit tasks that run, that wait behind others, and that wait for their time."""
    tasks = [mesh.submit(stamp, str(path), f"{prefix}-{n}", 0.15) for n in range(5)]
    delayed = stamp.options(countdown=rng.uniform(0.3, LAST_START_S - 0.3))
    tasks += [mesh.submit(delayed, str(path), f"{prefix}-late{n}") for n in range(3)]
    return tasks


def starts(path: Path) -> dict[str, list[float]]:
    """Return when the tasks of each mark have started."""
    found: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        mark, _, at = line.partition(" ")
        found.setdefault(mark, []).append(float(at))
    return found


def one_round(churn: Churn, path: Path, number: int) -> None:
    """Revoke half of the tasks while something happens to a node; the other half must all be done."""
    event = EVENTS[number % len(EVENTS)]
    spared = submit(churn.mesh, path, f"{number}-spared", churn.random)
    doomed = submit(churn.mesh, path, f"{number}-doomed", churn.random)
    doomed += [churn.mesh.delay(stamp.options(countdown=0.8), str(path), f"{number}-doomed-detached")]
    churn.mesh.wait_accepted(5.0)
    submitted_at = time.monotonic()
    victim = churn.hurt(event)
    churn.mesh.control.revoke([getattr(task, "task_id", None) or task.id for task in doomed], reply=True)
    acknowledged_at = time.monotonic()
    healed_at = churn.heal(event, victim)
    for task in spared:
        assert task.result(timeout=30).startswith(f"{number}-spared")
    for task in doomed[:-1]:
        error = task.exception(timeout=30)
        assert error is None or isinstance(error, TaskRevoked), f"round {number} ({event}): {error!r}"
    time.sleep(max(0.0, submitted_at + LAST_START_S - time.monotonic()))  # what would start has started by then
    for mark, instants in starts(path).items():
        if mark.startswith(f"{number}-doomed"):
            last_at = max(acknowledged_at, healed_at + HEALED_S if event == "freeze" else 0.0)
            late = max(instants) - last_at
            assert late <= 0.0, f"round {number} ({event}): {mark} started {late:.3f} s too late"
    churn.settle()


@pytest.mark.timeout(max(120, 15 * ROUNDS))
def test_no_revoked_task_starts_later_than_the_acknowledgement(stage: Stage) -> None:
    """Under churn no revoked task starts after the reply to the revoke, or 2 s after a frozen node is back."""
    path = stage.directory / "starts"
    path.touch()
    churn = Churn(stage, seed=7)
    for number in range(ROUNDS):
        one_round(churn, path, number)
