"""Nodes are found, used and told apart on a real segment, with no address given anywhere."""

from __future__ import annotations

import pytest
from lab import Lab
from lab_process import LabClient, LabNode

pytestmark = [pytest.mark.lab, pytest.mark.timeout(90)]

SEEN_S = 2.0
"""From a node's saying that it is ready until a client sees it, and until it gets its first task."""
PLUGGED_IN_S = 6.0
"""From the first cable to a host until what runs there has found the others, and been found."""


def seen_in(lab: Lab, client: LabClient, node: LabNode, since: float | None = None) -> float:
    """Wait until the client sees the node; return how many seconds after its readiness, or ``since``, that was."""
    event = client.wait_for("node", name=node.full_name, state="alive")
    since = node.ready_at if since is None else since
    return lab.measured(f"{client.label} sees {node.label}", event["at"] - since)


@pytest.mark.parametrize("multicast_route", [False, True], ids=["no-route", "multicast-route"])
def test_nodes_are_found_and_share_the_work(lab: Lab, multicast_route: bool) -> None:
    """A client sees each node in 2 s, 2,000 tasks run on both, and a third node gets tasks within 2 s."""
    one, two, three, desk = lab.segment(multicast_route=multicast_route).add_hosts("one", "two", "three", "desk")
    meshes = lab.meshes()
    clients = [lab.client(desk, mesh, "fan-out", 2000, 0.01) for mesh in meshes]
    for client in clients:
        client.wait_for("open")
    pairs = [lab.nodes(mesh, one, two) for mesh in meshes]
    for client, pair in zip(clients, pairs, strict=True):
        for node in pair:
            assert seen_in(lab, client, node) < SEEN_S
        client.wait_for("result", number=100)
    thirds = [lab.node(three, mesh) for mesh in meshes]
    for client, third in zip(clients, thirds, strict=True):
        third.wait_ready()
        began = client.wait_for("result", host="three")
        assert lab.measured(f"first task of {third.label}", began["started_at"] - third.ready_at) < SEEN_S
    for client in clients:
        client.wait_for("result", number=1999)
        client.may_stop()
        assert client.wait() == 0
        results = client.events("result")
        assert [event["number"] for event in results] == list(range(len(results)))
        assert {event["host"] for event in results} == {"one", "two", "three"}


def test_a_host_that_is_plugged_in_late_is_found(lab: Lab) -> None:
    """A node and a client that were started without any network find the others soon after the cable is there."""
    segment = lab.segment()
    desk, one = segment.add_hosts("desk", "one")
    late_host, late_desk = segment.add_hosts("late", "late-desk", plugged=False)
    meetings = []
    for mesh in lab.meshes():
        client, late_client = lab.client(desk, mesh, "watch"), lab.client(late_desk, mesh, "watch")
        node, late_node = lab.nodes(mesh, one, late_host)
        late_client.wait_for("open")
        assert seen_in(lab, client, node) < SEEN_S
        meetings += [(client, late_node), (late_client, node), (late_client, late_node)]
    plugged_at = late_host.plug_in()
    late_desk.plug_in()
    for client, node in meetings:
        assert seen_in(lab, client, node, plugged_at) < PLUGGED_IN_S


def test_another_mesh_on_the_segment_is_ignored(lab: Lab) -> None:
    """Nodes of another mesh get no task and are not listed, be their key the same, or none there either."""
    one, two, three, desk = lab.segment().add_hosts("one", "two", "three", "desk")
    meshes = lab.meshes()
    for mesh in meshes:
        lab.nodes(mesh.renamed("elsewhere"), two, three)
        lab.nodes(mesh, one, two)
    clients = [lab.client(desk, mesh, "fan-out", 600, 0.005) for mesh in meshes]
    for client in clients:
        client.may_stop()
        assert client.wait() == 0
        assert {event["name"] for event in client.events("node")} == {"node@one", "node@two"}
        assert {event["host"] for event in client.events("result")} == {"one", "two"}
