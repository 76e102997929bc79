"""Row 16: a client that has asked for large results, and does not read them."""

from __future__ import annotations

import statistics
import time

import pytest
from load_harness import Silent, rate, rss
from mesh_harness import Stage
from score_figures import Figures

pytestmark = [pytest.mark.scorecard, pytest.mark.timeout(600)]

PAIRS = 7
MEASURED_S = 4.0
"""While the connection of the stopped client is up still: ZeroMQ notices after 6 s."""
RESULTS, SIZE = 400, 1024 * 1024
GOAL = 0.05
HOLD = 256_000_000


def test_a_client_that_does_not_read(stage: Stage, score: Figures) -> None:
    """What others get done with it there and without, in turns; at the end it has all its results."""
    node = stage.start("work", slots=2, hold=HOLD)
    mesh = stage.client()
    rate(mesh, 2.0)
    base = rss(node.pid)
    grown, without, beside = 0, [], []
    read = wrong = 0
    for pair in range(PAIRS):
        if pair % 2:
            without.append(rate(mesh, MEASURED_S))
        silent = Silent(stage, RESULTS, SIZE)
        time.sleep(0.5)  # so that what it has sent has run, and its results wait
        beside.append(rate(mesh, MEASURED_S))
        grown = max(grown, rss(node.pid) - base)
        came = silent.read(120.0)
        read, wrong = read + came[0], wrong + came[1]
        if not pair % 2:
            without.append(rate(mesh, MEASURED_S))
    costs = [1 - there / alone for there, alone in zip(beside, without, strict=True)]
    score.tell("16", "tasks/s that do nothing, of another client, without it", statistics.median(without))
    score.tell("16", "… with it (medians of interleaved pairs)", statistics.median(beside))
    score.at_most("16", "throughput that a stalled client costs others (median)", statistics.median(costs), GOAL)
    score.exactly("16", "of its results it has got afterwards", read, PAIRS * RESULTS)
    score.exactly("16", "… not as they should be", wrong, 0)
    score.at_most("16", "memory of the node over its budget", max(0.0, grown - HOLD) / 1e6, 64.0, "MB")
    score.check()
