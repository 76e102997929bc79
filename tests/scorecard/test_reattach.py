"""Row 9: a client is killed at a random moment, and another process attaches to all that it has left."""

from __future__ import annotations

import random

import pytest
from mesh_harness import Stage
from reattaching import kill_one
from score_figures import Figures, percentile

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(1200)]

KILLS = 200


def test_clients_that_are_killed_200_times(stage: Stage, score: Figures) -> None:
    """All that a node had is recovered, none of it runs twice, and what had finished is there within 2 s."""
    for _ in range(2):
        stage.start("tallied", slots=1, ready=False)
    for node in stage.nodes:
        node.until_ready()
    rng = random.Random(9)
    left = [task for _ in range(KILLS) for task in kill_one(stage, rng)]
    accepted = [task for task in left if task.accepted]
    finished = [task.seconds for task in left if task.finished]
    score.tell("9", "clients killed", KILLS)
    score.tell("9", "tasks that a node had then", len(accepted))
    score.exactly("9", "of them recovered", sum(task.is_recovered for task in accepted) / len(accepted), 1.0)
    score.exactly("9", "tasks that have run twice", sum(task.runs > 1 for task in left), 0)
    score.exactly("9", "others neither run nor called unknown", sum(not task.is_recovered for task in left), 0)
    score.tell("9", "results that were there already", len(finished))
    score.tell("9", "these had, from the start of the process, half of them", percentile(finished, 0.5), "s")
    score.at_most("9", "and all of them", max(finished), 2.0, "s")
    score.check()
