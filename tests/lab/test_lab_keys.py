"""Who has not the mesh's key gets nothing across hosts, and is told why."""

from __future__ import annotations

import pytest
from lab import Lab, MeshOfLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(90)]

AUTHENTICATION_REFUSED = 4


def test_strangers_get_nothing_from_keyed_nodes(lab: Lab) -> None:
    """Without the key, or with another, no task runs and no node is listed, though its address be known."""
    one, desk = lab.segment().add_hosts("one", "desk")
    mesh = MeshOfLab("guarded", lab.key("ours"))
    (node,) = lab.nodes(mesh, one)
    another, none = MeshOfLab(mesh.name, lab.key("another")), MeshOfLab(mesh.name, None)
    strangers = [(none, {"MESHQ_INSECURE": ""}), (none, {}), (another, {})]
    addresses = [{}, {"MESHQ_PEERS": f"tcp://{one.address}:{node.port}"}]
    impatient = {"MESHQ_NO_NODES_TIMEOUT": "2"}
    begs = [
        lab.client(desk, stranger, "beg", **settings, **address, **impatient)
        for stranger, settings in strangers
        for address in addresses
    ]
    for beg in begs:
        failure = beg.wait_for("failure")
        assert (failure["type"], "key" in failure["text"]) == ("NoNodes", True), failure
        assert beg.wait_for("nodes")["names"] == []
    listings = [lab.meshq(desk, stranger, "nodes", **settings) for stranger, settings in strangers]
    for listing in listings:
        assert listing.wait() == AUTHENTICATION_REFUSED
        assert "key" in listing.log()
    friend = lab.client(desk, mesh, "beg")
    assert friend.wait_for("answer")["value"][1] == "one"


def test_keyed_and_open_nodes_of_one_mesh_name_do_not_mix(lab: Lab) -> None:
    """A client with the key uses only nodes that prove it; one that trusts anybody reaches only open ones."""
    one, two, desk = lab.segment().add_hosts("one", "two", "desk")
    keyed, unkeyed = MeshOfLab("mixed", lab.key("ours")), MeshOfLab("mixed", None)
    lab.nodes(keyed, one)
    lab.nodes(unkeyed, two)
    clients = {"one": lab.client(desk, keyed, "beg"), "two": lab.client(desk, unkeyed, "beg")}
    for host, client in clients.items():
        assert client.wait_for("answer")["value"][1] == host
        known = client.wait_for("nodes")
        assert known["names"] == [f"node@{host}"]
    listing = lab.meshq(desk, keyed, "nodes")
    assert listing.wait() == 0
    assert "node@one" in listing.log()
