"""The worker process itself: what it is and what it leaves alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from workers_harness import Node


def test_a_worker_is_light(node: Node) -> None:
    """Neither ZeroMQ nor any other library of the node is loaded in a worker."""
    heavy = ("zmq", "zeroconf", "click", "rich", "multiprocessing", "asyncio", "subprocess", "numpy")
    assert node.call("loaded", *heavy, "meshq.workers.pool", "meshq.client") == []


def test_a_worker_stands_apart(make_node: Callable[..., Node], tmp_path: Path) -> None:
    """A worker has a session of its own, no input, its node's environment and more, and dies first of hunger."""
    node = make_node(cwd=str(tmp_path), env={"EXTRA": "yes"})
    ready = node.start()
    facts = node.call("facts")
    assert facts == {
        "pid": ready.pid, "session": ready.pid, "cwd": str(tmp_path), "stdin": "/dev/null", "oom": 1000,
        "worker": "1", "extra": "yes", "argv": [], "isatty": False, "fileno": 1,
    }  # fmt: skip
    assert "MESHQ_WORKER" not in os.environ


def test_the_current_directory_is_importable(make_node: Callable[..., Node], tmp_path: Path) -> None:
    """A module in the worker's directory is found, before those of the path."""
    (tmp_path / "nearby.py").write_text("from meshq import task\n@task\ndef f():\n    return 1\n")
    node = make_node(modules=["nearby"], cwd=str(tmp_path))
    assert [function.name for function in node.start().functions] == ["nearby.f"]


def test_plain_functions_can_be_allowed(make_node: Callable[..., Node]) -> None:
    """Callables that ``allow`` matches are offered."""
    node = make_node(modules=[], allow=["operator:add"])
    assert "operator.add" in {function.name for function in node.start().functions}


def test_an_idle_worker_sleeps(node: Node) -> None:
    """A worker without work does not wake up."""
    node.call("echo", 1)
    pid = node.pool.pid(0)

    def switches() -> int:
        total = 0
        for thread in os.listdir(f"/proc/{pid}/task"):
            status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
            total += sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
        return total

    counts = [switches()]
    node.until(lambda: counts.append(switches()) or node.loop.turn(0.1) or counts[-1] == counts[-2])
    before = switches()
    node.loop.turn(0.3)
    assert switches() == before


@pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")
def test_sleeps_end_on_time(node: Node) -> None:
    """A sleep in a task is not prolonged by the 50 us that the kernel allows itself with other processes."""
    assert node.call("timer_slack_ns") == 1
