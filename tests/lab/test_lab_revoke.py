"""A revoke that is given while a node is cut off holds there soon after the cut has healed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from lab import Lab
from lab_process import sleep_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(110)]

HEALED_S = 2.0
"""Within this time after a cut has healed, a node refuses what was revoked meanwhile."""
COUNT, COUNTDOWN_S = 10, 4.0


CUTS_S = [1.0, 2.8, 5.0, 12.0]


class Course(NamedTuple):
    """A lab in which a node is cut off for a while, and what has come of that."""

    lab: Lab
    end: Future[None]


@pytest.fixture(scope="module")
def courses(make_lab: Callable[[], Lab], tmp_path_factory: pytest.TempPathFactory) -> dict[float, Course]:
    """A course for each length of a cut, on segments of their own, at the same time: most of it is waiting."""
    labs = {cut_s: make_lab() for cut_s in CUTS_S}
    started = threading.Barrier(len(labs))
    with ThreadPoolExecutor(len(labs)) as pool:
        return {
            cut_s: Course(lab, pool.submit(run, lab, tmp_path_factory.mktemp("traces"), cut_s, started))
            for cut_s, lab in labs.items()
        }


def run(lab: Lab, directory: Path, cut_s: float, started: threading.Barrier) -> None:
    """Cut a node off for a while, and revoke what waits there; raises AssertionError where any of it runs."""
    one, two, desk = lab.segment().add_hosts("one", "two", "desk")
    meshes = lab.meshes()
    clients, traces = [], []
    try:
        for mesh in meshes:
            lab.nodes(mesh, one, two)
    except BaseException:
        started.abort()  # the others need not wait
        raise
    started.wait(60)  # what the others' nodes take to start is not to disturb
    for mesh in meshes:
        trace = directory / f"traces-{mesh.name}"
        trace.mkdir()
        traces.append(trace)
        clients.append(lab.client(desk, mesh, "revoke", COUNT, COUNTDOWN_S, LAB_TRACES=str(trace)))
    for client in clients:
        assert client.wait_for("waiting")["unaccepted"] == 0
    cut_at = two.pull()
    for trace, client in zip(traces, clients, strict=True):
        (trace / "revoke").touch()
        assert client.wait_for("revoked")["by"] == ["node@one"]
    sleep_until(cut_at + cut_s)
    healed_at = two.heal()
    sleep_until(healed_at + HEALED_S)
    for trace, client in zip(traces, clients, strict=True):
        (trace / "go").touch()
        client.may_stop()
    for trace, client in zip(traces, clients, strict=True):
        assert client.wait(timeout=60) == 0
        assert {path.name: path.read_text() for path in trace.iterdir()} == {"revoke": "", "go": ""}


@pytest.mark.parametrize("cut_s", CUTS_S)
def test_a_node_that_was_cut_off_drops_what_was_revoked_meanwhile(
    courses: dict[float, Course], show_logs: Callable[[Lab], None], cut_s: float
) -> None:
    """Queued, parked and detached tasks that wait on it are gone before its slots get to them."""
    show_logs(courses[cut_s].lab)
    courses[cut_s].end.result()
