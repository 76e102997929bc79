"""A mesh in the middle of an upgrade: nodes and clients of several releases, which understand each other."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import wait
from typing import Any

import work
from mesh_harness import PATIENCE_S, NodeProcess, Process, Stage, wait_until

CLIENT = """
import sys
import other_version
other_version.become(sys.argv[1])
import json
import work
from meshq import Mesh

with Mesh() as mesh:
    mesh.wait_for_nodes(3, timeout=20)
    where = sorted(set(mesh.map(work.where, [0.01] * 30, chunksize=1)))
    print("used", json.dumps(where), flush=True)
    futures = [mesh.submit(work.nap, 0.002, n) for n in range(1000)]
    futures += [mesh.submit(work.size_of, bytes(3_000_000)) for _ in range(2)]
    values = [future.result(60) for future in futures]
    print("ended", json.dumps(values == [*range(1000), 3_000_000, 3_000_000]))
"""


def start(stage: Stage, kind: str) -> NodeProcess:
    """Start a node of another release; it is ready some time later."""
    label = chr(ord("a") + len(stage.nodes))
    command = [sys.executable, "-m", "other_version", kind, "node", "work", "--slots", "2"]
    log = stage.directory / f"node-{label}.log"
    stage.nodes.append(NodeProcess(label, command, {**stage.env, "NODE_LABEL": label}, log))
    return stage.nodes[-1]


def client(stage: Stage, kind: str) -> Process:
    """Start a client of another release, which runs 1,500 tasks."""
    path = stage.directory / f"{kind}.py"
    path.write_text(CLIENT)
    log = stage.directory / f"{kind}.log"
    stage.scripts.append(Process(kind, [sys.executable, str(path), kind], stage.env, log))
    return stage.scripts[-1]


def test_a_mesh_of_several_releases_loses_nothing(stage: Stage) -> None:
    """Three clients and three nodes, newer, older and of this release; under load the newer node is killed."""
    doomed, _ = start(stage, "newer"), start(stage, "older")
    stage.start(slots=2, ready=False)
    for node in stage.nodes:
        node.until_ready()
    others = [client(stage, kind) for kind in ("newer", "older")]
    mesh = stage.client()
    assert set(mesh.map(work.where, [0.01] * 30, chunksize=1)) == {"a", "b", "c"}
    for each in others:
        assert each.until_logged(r"used (.*)").group(1) == '["a", "b", "c"]'
    futures: list[Any] = [mesh.submit(work.nap, 0.002, n) for n in range(1000)]
    options = [work.nap.options(countdown=0.3, priority=7), work.nap.options(delivery="at-least-once", expires=60)]
    futures += [mesh.submit(function, 0.0, 1000 + n) for n, function in enumerate(options)]
    wait_until(lambda: sum(future.done() for future in futures) >= 300)
    doomed.kill()
    assert not wait(futures, timeout=60).not_done
    assert [future.result() for future in futures] == list(range(1002))
    for each in others:
        assert each.until_logged(r"ended (.*)").group(1) == "true"
        assert each.wait() == 0
    for process in (*stage.nodes, *stage.scripts):
        assert not re.search("Traceback|dropped a message", process.text())


def test_releases_that_have_no_version_in_common_say_so(stage: Stage) -> None:
    """On either side, and which is older; neither asks the other again and again."""
    node, newer = stage.start(ready=False), start(stage, "next")
    for each in (node, newer):
        each.until_ready()
    command = [sys.executable, "-m", "other_version", "next", "ctl", "ping", "--timeout", "0.5"]
    asked = subprocess.run(command, env=stage.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    reason = "it speaks version 1 of the wire, and this is version 2: upgrade meshq there"
    assert f"{node.name} is missing: {reason}" in asked.stderr
    assert node.text().count("refused a client") <= 8
    mesh = stage.client(1)
    [problem] = wait_until(mesh.problems)
    assert (problem.label, problem.code) == (newer.name, "version")
    assert problem.text == "it speaks version 2 of the wire, and this is version 1: upgrade meshq here"
    reply = mesh.control.ping(timeout=0.5)
    assert list(reply.by_node()) == [node.name]
    assert reply.missing == {newer.name: problem.text}
