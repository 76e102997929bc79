"""Row 8: cables are pulled, or fail in one direction, at random and under load, and nothing is stuck afterwards.

``MESHQ_TEST_ROUNDS=100`` makes it as many cuts.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import score_tasks
from lab_process import LabClient, sleep_until, wait_until
from lab_segment import Host
from score_figures import Figures, percentile
from score_lab import ScoreLab, go_deaf, hear_again

ROUNDS = int(os.environ.get("MESHQ_TEST_ROUNDS", "30"))
STUCK_S = 15.0
"""How long after a cut has healed any task may be unfinished that was submitted before that."""
IN_FLIGHT = 60
TASK_S = 0.02
KINDS = ("cable of a node", "cable of the client", "to a node", "from a node")

pytestmark = [pytest.mark.scorecard, pytest.mark.lab, pytest.mark.timeout(60 + 30 * ROUNDS)]


class Cuts:
    """Makes cuts between the client's host and those of nodes."""

    def __init__(self, client: LabClient, hosts: list[Host], desk: Host, seed: int) -> None:
        self.random = random.Random(seed)
        self.client = client
        self.hosts = hosts
        self.desk = desk

    def in_use(self) -> list[Host]:
        """Return the hosts whose nodes the client sees, once these are most."""

        def look() -> list[Host] | None:
            states = {event["name"]: event["state"] for event in self.client.events("node")}
            seen = [host for host in self.hosts if states.get(f"node@{host.name}") == "alive"]
            return seen if len(seen) > len(self.hosts) / 2 else None

        return wait_until("most nodes to be seen again", look, 60.0)

    def cut(self, kind: str, seconds: float) -> float:
        """Cut something for so long; return the monotonic instant of the healing."""
        node = self.random.choice(self.in_use())
        if kind.startswith("cable"):
            host = self.desk if kind == "cable of the client" else node
            sleep_until(host.pull() + seconds)
            return host.heal()
        deaf, other = (node, self.desk) if kind == "to a node" else (self.desk, node)
        go_deaf(deaf, other)
        time.sleep(seconds)  # a cut of this length is what is tested
        hear_again(deaf)
        return time.monotonic()


def oldest(client: LabClient) -> dict[str, Any]:
    """Return what the client has said last of its oldest unfinished task."""
    states = client.events("state")
    return states[-1] if states else {"at": 0.0, "oldest": 0.0}


def until_finished(client: LabClient, healed_at: float) -> float:
    """Wait until what was submitted before the healing is finished; return how many seconds after it."""

    def look() -> float | None:
        state = oldest(client)
        return state["at"] if state["oldest"] > healed_at else None

    at = wait_until("the end of what was submitted before a cut has healed", look, 60.0)
    return max(0.0, at - healed_at)


def test_nothing_is_stuck_after_cuts(lab: ScoreLab, score: Figures, tmp_path: Path) -> None:
    """Cuts of 0.5 to 8 s under load: all tasks end within 15 s of the healing, once each, and none is held."""
    *hosts, desk = lab.segment().add_hosts("h1", "h2", "h3", "h4", "desk")
    mesh = lab.open_mesh()
    lab.nodes(mesh, *hosts)
    path = tmp_path / "runs"
    client = lab.client(desk, mesh, "load", len(hosts), IN_FLIGHT, TASK_S, LAB_TRACES=str(path))
    client.wait_for("begun")
    cuts, took = Cuts(client, hosts, desk, seed=8), []
    for number in range(ROUNDS):
        kind, seconds = KINDS[number % len(KINDS)], cuts.random.uniform(0.5, 8.0)
        took.append(until_finished(client, cuts.cut(kind, seconds)))
        print(f"round {number}: {kind} for {seconds:.1f} s: all finished {took[-1]:.1f} s later", flush=True)
    client.may_stop()
    ended = client.wait_for("ended", timeout=60)
    quiet = client.wait_for("quiet", timeout=60)
    assert client.wait() == 0
    runs = len(score_tasks.runs(path))
    score.tell("8", "cuts of 0.5 to 8 s, half of them one-way", ROUNDS)
    score.tell("8", "tasks run meanwhile", ended["submitted"])
    score.tell("8", "healed → all that was submitted before is finished, median", percentile(took, 0.5), "s")
    score.at_most("8", "healed → all that was submitted before is finished, worst", max(took), STUCK_S, "s")
    score.exactly("8", "tasks lost, or ended with anything but their value", ended["wrong"], 0)
    score.exactly("8", "tasks delivered twice", ended["twice"], 0)
    score.tell("8", "extra runs", runs - ended["submitted"])
    score.tell("8", "end of the work → no node holds anything", quiet["after"], "s")
    score.exactly("8", "nodes that hold something at the end", 0 if quiet["quiet"] else 1, 0)
    score.check()
