"""The name of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshq.errors import ConfigError
from meshq.node import naming
from meshq.node.naming import NameClaim


def test_a_name_is_never_had_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are taken, the node does not start under somebody else's."""
    monkeypatch.setattr(naming, "_MOST", 2)
    claims = [NameClaim(tmp_path, "m", "node") for _ in range(2)]
    assert [claim.name for claim in claims] == ["node", "node-2"]
    with pytest.raises(ConfigError, match="node to node-2 are all taken"):
        NameClaim(tmp_path, "m", "node")
    claims[0].close()
    again = NameClaim(tmp_path, "m", "node")
    assert again.name == "node"
    for claim in (again, claims[1]):
        claim.close()
