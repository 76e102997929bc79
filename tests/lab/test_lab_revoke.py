"""A revoke that is given while a node is cut off holds there soon after the cut has healed."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab
from lab_process import sleep_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(110)]

HEALED_S = 2.0
"""Within this time after a cut has healed, a node refuses what was revoked meanwhile."""
COUNT, COUNTDOWN_S = 10, 4.0


@pytest.mark.parametrize("cut_s", [1.0, 2.8, 5.0, 12.0])
def test_a_node_that_was_cut_off_drops_what_was_revoked_meanwhile(lab: Lab, tmp_path: Path, cut_s: float) -> None:
    """Queued, parked and detached tasks that wait on it are gone before its slots get to them."""
    one, two, desk = lab.segment().add_hosts("one", "two", "desk")
    meshes = lab.meshes()
    clients, traces = [], []
    for mesh in meshes:
        lab.nodes(mesh, one, two)
        trace = tmp_path / f"traces-{mesh.name}"
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
