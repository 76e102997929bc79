"""What a node's tasks know of the mesh that they run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshq.config import load_settings
from meshq.node.environment import task_environment


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", "tcp://127.0.0.1:7700"), ("0.0.0.0", "tcp://127.0.0.1:7700"), ("*", "tcp://127.0.0.1:7700"),
        ("::", "tcp://[::1]:7700"), ("10.1.2.3", "tcp://10.1.2.3:7700"),
    ],
)  # fmt: skip
def test_a_task_finds_at_least_its_own_node(tmp_path: Path, host: str, own: str) -> None:
    """The node is among the peers, by an address at which this host reaches it, also where mDNS is off."""
    flags = {"mesh": "m", "mdns": False, "peers": ("tcp://10.0.0.1:7700",)}
    environment = task_environment(load_settings(flags, environ={}, cwd=tmp_path), host, 7700)
    assert environment == {"MESHQ_MESH": "m", "MESHQ_MDNS": "0", "MESHQ_PEERS": f"tcp://10.0.0.1:7700,{own}"}
    read = load_settings({}, environ=environment, cwd=tmp_path)
    assert (read.mesh, read.mdns, read.peers) == ("m", False, ("tcp://10.0.0.1:7700", own))


def test_the_key_and_its_absence_are_handed_on(tmp_path: Path) -> None:
    """A task trusts whom its node trusts."""
    key = tmp_path / "mesh.key"
    settings = load_settings({"key": str(key), "insecure": True}, environ={}, cwd=tmp_path)
    environment = task_environment(settings, "127.0.0.1", 7700)
    assert environment["MESHQ_KEY"] == str(key)
    assert (environment["MESHQ_INSECURE"], environment["MESHQ_MDNS"]) == ("1", "1")
