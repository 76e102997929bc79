"""How long a node takes to go."""

from __future__ import annotations

import time
from pathlib import Path

from meshq.config import load_settings
from meshq.node.thread import NodeThread


def test_an_idle_node_that_is_drained_ends_at_once(tmp_path: Path) -> None:
    """Draining a node that holds nothing does not wait for its next timer, which is some seconds away."""
    flags = {"mesh": "drained", "slots": 1, "mdns": False, "state": str(tmp_path)}
    thread = NodeThread(load_settings(flags, environ={"MESHQ_INSECURE": "1"}, cwd=tmp_path))
    thread.start()
    began_at = time.monotonic()
    thread.stop(drain=True)
    assert time.monotonic() - began_at < 2.5
