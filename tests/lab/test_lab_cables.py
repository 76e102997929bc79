"""Cables are pulled in the middle of work, and nothing is lost, doubled or out of order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from lab import Lab
from lab_process import LabClient, sleep_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(110)]

CUT_S = 20.0
NOTICED_S = 6.0
"""Until the tasks that a node out of reach was given run elsewhere: it is dead after 3 s of silence."""
RECOVERED_S = 12.0
"""From healing until the node gets work again: its candidate is dialled after growing pauses."""


def begin(client: LabClient) -> None:
    """Wait until results come from both nodes."""
    client.wait_for("result", host="one")
    client.wait_for("result", host="two")


def finish(client: LabClient, count: int) -> list[dict[str, Any]]:
    """Wait for the client's end; return the results, which are all there, once each, in order."""
    assert client.wait(timeout=80) == 0
    results = client.events("result")
    assert [event["number"] for event in results] == list(range(count))
    assert {event["host"] for event in results} == {"one", "two"}
    return results


def longest_gap(instants: list[float]) -> float:
    """Return the longest time between two of these."""
    return max(later - earlier for earlier, later in pairwise(sorted(instants)))


def test_a_node_whose_cable_is_pulled_loses_nothing(lab: Lab) -> None:
    """A node is cut off for 20 s in the middle of a map: all results come, work goes on, and it works again."""
    one, two, desk = lab.segment().add_hosts("one", "two", "desk")
    count, meshes = 1600, lab.meshes()
    for mesh in meshes:
        lab.nodes(mesh, one, two)
    clients = [lab.client(desk, mesh, "map", count, 0.05) for mesh in meshes]
    for client in clients:
        begin(client)
    cut_at = two.pull()
    sleep_until(cut_at + CUT_S)
    healed_at = two.heal()
    for client in clients:
        results = finish(client, count)
        on_one = [event["started_at"] for event in results if event["host"] == "one"]
        assert longest_gap([at for at in on_one if cut_at <= at <= healed_at]) < 2.0
        noticed = longest_gap([event["at"] for event in results])
        assert lab.measured(f"{client.label}: longest wait for a result", noticed) < NOTICED_S
        gone = client.wait_for("node", name="node@two", state="gone")
        lab.measured(f"{client.label}: dead after", gone["at"] - cut_at)
        after = [event["started_at"] for event in results if event["host"] == "two" and event["at"] > healed_at]
        assert after, "the node got no work after its cable was healed"
        assert lab.measured(f"{client.label}: works again after", min(after) - healed_at) < RECOVERED_S


def test_a_client_whose_cable_is_pulled_gets_everything(lab: Lab) -> None:
    """The client's own cable is pulled for 5 s: it gets all results, once each, in order."""
    one, two, desk = lab.segment().add_hosts("one", "two", "desk")
    count, meshes = 800, lab.meshes()
    for mesh in meshes:
        lab.nodes(mesh, one, two)
    clients = [lab.client(desk, mesh, "map", count, 0.02) for mesh in meshes]
    for client in clients:
        begin(client)
    sleep_until(desk.pull() + 5.0)
    healed_at = desk.heal()
    for client in clients:
        results = finish(client, count)
        again = min(event["at"] for event in results if event["at"] > healed_at)
        assert lab.measured(f"{client.label}: next result after", again - healed_at) < RECOVERED_S


def test_ping_names_the_host_that_cannot_be_reached(lab: Lab) -> None:
    """ping names all nodes across hosts; with a cable pulled it returns the others in time, and who is missing."""
    *hosts, desk = lab.segment().add_hosts("one", "two", "three", "desk")
    meshes = lab.meshes()
    for mesh in meshes:
        lab.nodes(mesh, *hosts)
    clients = [lab.client(desk, mesh, "ping", 3, 1.0) for mesh in meshes]
    everybody = ["node@one", "node@three", "node@two"]
    for client in clients:
        ping = client.wait_for("ping", names=everybody, missing={})
        assert lab.measured(f"{client.label}: first ping", ping["at"] - ping["began_at"]) < 1.0
    hosts[1].pull()
    for client in clients:
        ping = client.wait_for("ping", names=["node@one", "node@three"])
        assert list(ping["missing"]) == ["node@two"]
        assert lab.measured(f"{client.label}: ping without two", ping["at"] - ping["began_at"]) < 2.0
    healed_at = hosts[1].heal()
    for client in clients:
        ping = client.wait_for("ping", names=everybody, after=healed_at)
        assert lab.measured(f"{client.label}: answers again", ping["at"] - healed_at) < RECOVERED_S
