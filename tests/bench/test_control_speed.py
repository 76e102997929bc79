"""How fast control commands are answered; run with ``pytest -s -m bench tests/bench/test_control_speed.py``."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import meshq
from meshq import Mesh

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

NODES = 10
REPOSITORY = str(Path(meshq.__file__).parents[1])
MODULE = """
import time
from meshq import task

@task
def sleep(seconds):
    time.sleep(seconds)

@task
def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
"""


class Field:
    """Ten nodes of one slot each, in processes of their own."""

    def __init__(self, directory: Path) -> None:
        (directory / "busy.py").write_text(MODULE)
        self.mesh = f"bench-{uuid.uuid4().hex[:12]}"
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("MESHQ_")}
        self.env |= {
            "MESHQ_MESH": self.mesh,
            "PYTHONPATH": REPOSITORY,
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_STATE_HOME": str(directory / "state"),
        }
        command = [sys.executable, "-m", "meshq", "node", "busy", "--slots", "1"]
        self.log = (directory / "nodes.log").open("w")
        self.nodes = [
            subprocess.Popen([*command, "--name", f"n{n}"], cwd=directory, env=self.env, stderr=self.log)
            for n in range(NODES)
        ]

    def client(self) -> Mesh:
        """Return a client that sees all nodes."""
        mesh = Mesh(self.mesh)
        mesh.wait_for_nodes(NODES, timeout=60)
        return mesh

    def occupy(self, mesh: Mesh, function: str, seconds: float) -> None:
        """Fill every slot, and wait until each is busy."""
        for _ in range(NODES):
            mesh.submit(f"busy.{function}", seconds)
        while sum(value["running"] for reply in mesh.control.ping() for value in reply.values()) < NODES:
            time.sleep(0.05)

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.send_signal(signal.SIGCONT)
            node.kill()
            node.wait()
        self.log.close()


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Field]:
    """Ten nodes that are up."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Field(tmp_path)
    yield made
    made.close()


def ping_times(mesh: Mesh, count: int = 20) -> list[float]:
    """Ping so often, and return how long each took; every node answers each time."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        replies = mesh.control.ping()
        times.append(time.perf_counter() - began)
        assert not replies.missing
        assert len(replies) == NODES
    return times


@pytest.mark.parametrize(("function", "limit"), [("sleep", 0.150), ("burn", 0.500)])
def test_ten_busy_nodes_answer_a_ping(field: Field, function: str, limit: float) -> None:
    """With every slot busy, ten nodes answer a ping within the limit (median of 20)."""
    with field.client() as mesh:
        field.occupy(mesh, function, 60.0)
        times = ping_times(mesh)
        print(f"{function}: median {statistics.median(times) * 1000:.1f} ms, worst {max(times) * 1000:.1f} ms")
        mesh.close(cancel=True)
    assert statistics.median(times) < limit


@pytest.mark.parametrize("function", ["sleep", "burn"])
def test_frozen_nodes_are_named_at_the_timeout(field: Field, function: str) -> None:
    """With all slots busy and two of ten nodes frozen, a ping returns eight at the timeout and names the two."""
    with field.client() as mesh:
        field.occupy(mesh, function, 60.0)
        for node in field.nodes[:2]:
            node.send_signal(signal.SIGSTOP)
        frozen = {f"n{n}@" for n in range(2)}
        for _ in range(6):  # from at once until they are long taken for dead
            began = time.perf_counter()
            replies = mesh.control.ping(timeout=1.0)
            took = time.perf_counter() - began
            print(f"{len(replies)} replies in {took:.2f} s; missing: {replies.missing}")
            assert len(replies) == NODES - 2
            assert 0.9 < took < 1.3
            assert {name.partition("@")[0] + "@" for name in replies.missing} == frozen
        mesh.close(cancel=True)


def test_200_cold_pings_lose_no_reply(field: Field) -> None:
    """``meshq ctl ping`` in a shell names every node within 1.5 s, each of two hundred times in a row."""
    field.client().close()
    time.sleep(2.0)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "meshq", "ctl", "ping", "--json"], env=field.env, capture_output=True, text=True
        )
        times.append(time.perf_counter() - began)
        answer = json.loads(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(answer["replies"]) == NODES, answer
    print(f"cold ctl ping: median {statistics.median(times):.2f} s, worst {max(times):.2f} s")
    assert max(times) <= 1.5
