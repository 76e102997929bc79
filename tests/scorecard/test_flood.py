"""Row 15: a client submits a million tasks of 10 KB as fast as it can."""

from __future__ import annotations

import pytest
from load_harness import flood
from mesh_harness import Stage
from score_figures import Figures

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(1800)]

TASKS, SIZE = 1_000_000, 10_000
BUDGET = 1 << 30
"""The default of both sides."""
OVER = 64_000_000


def test_a_million_tasks_of_10_kb(stage: Stage, score: Figures) -> None:
    """Neither the client nor the node grows by more than its budget and 64 MB, and each task ends once."""
    node = stage.start("work", slots=2, hold=BUDGET)
    flooded = flood(stage, node, TASKS, SIZE, BUDGET, timeout=1700)
    score.exactly("15", f"of {TASKS} tasks of {SIZE} bytes have ended", flooded.ended, TASKS)
    score.exactly("15", "… not with their value", flooded.wrong, 0)
    score.tell("15", "most that unfinished tasks took up at the client", flooded.outbox_peak / 1e6, "MB")
    for who, grew in (("client", flooded.client_grew), ("node", flooded.node_grew)):
        over = max(0.0, grew - BUDGET)
        score.at_most("15", f"memory of the {who} over its budget", over / 1e6, OVER / 1e6, "MB")
        score.tell("15", f"memory of the {who} over what it was before", grew / 1e6, "MB")
    score.check()
