"""What a client's memory comes to; run with ``pytest -m bench tests/bench``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import meshq

LIMIT_MB = 300
REPOSITORY = str(Path(meshq.__file__).parents[1])

CLIENT = """
import resource
from operator import neg
from meshq import Mesh
with Mesh() as mesh:
    total = sum(mesh.map(neg, (n for n in range(1_000_000)){arguments}))
assert total == -sum(range(1_000_000)), total
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arguments", ["", ", chunksize=100"])
def test_a_million_items_do_not_sit_in_memory(tmp_path: Path, arguments: str) -> None:
    """A million items through ``map`` on a generator: the client's memory stays under 300 MB."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MESHQ_")}
    env |= {
        "MESHQ_MESH": f"bench-{uuid.uuid4().hex[:12]}",
        "PYTHONPATH": REPOSITORY,
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
    }
    log = tmp_path / "node.log"
    node_command = [sys.executable, "-m", "meshq", "node", "--allow", "operator:neg", "--slots", "2"]
    with log.open("w") as file, subprocess.Popen(node_command, env=env, stderr=file) as node:
        try:
            begin = time.monotonic()
            script = CLIENT.format(arguments=arguments)
            result = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
            took = time.monotonic() - begin
        finally:
            node.kill()
    assert result.returncode == 0, result.stderr + log.read_text()
    found = re.search(r"peak (\d+)", result.stdout)
    assert found is not None
    print(f"map of 1,000,000 items{arguments}: {took:.1f} s, peak {found[1]} MB")
    assert int(found[1]) < LIMIT_MB
