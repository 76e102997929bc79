"""Tasks that leave a mark each time that they run, and nodes that are drained under them."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from mesh_harness import NodeProcess, Stage, wait_until

from meshq import Mesh

LEAVES_TASKS = """
import rolling
for number in range({count}):
    rolling.mark.delay({path!r}, f"left {{number}}", {seconds})
"""


def runs(path: Path) -> Counter[str]:
    """Return how often each task has begun."""
    return Counter(path.read_text().split("\n")[:-1] if path.exists() else [])


def leave_tasks(stage: Stage, path: Path, count: int, seconds: float) -> list[str]:
    """Let a script leave tasks behind, and end; return the names of their runs."""
    script = stage.script(LEAVES_TASKS.format(path=str(path), count=count, seconds=seconds))
    assert script.wait() == 0, script.text()
    assert script.text() == ""
    return [f"left {number}" for number in range(count)]


def drain(node: NodeProcess, within: float) -> None:
    """Send a node SIGTERM, and see it end as it should."""
    begin = time.monotonic()
    node.send(signal.SIGTERM)
    assert node.wait() == 0
    assert time.monotonic() - begin < within
    assert "Traceback" not in node.text()


def until_acquainted(mesh: Mesh, count: int) -> None:
    """Wait until each of so many nodes knows the others."""
    stats = mesh.control.inspect(timeout=2.0).stats
    wait_until(lambda: [len(each["peers"]) for each in stats().values()] == [count - 1] * count)
