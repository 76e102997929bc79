"""Whom a control command expects an answer of: who is there, who fell silent, and who is named by others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from mesh_harness import MODULES, PATIENCE_S, NodeProcess, Stage, wait_until

from meshq import Mesh

NAMES = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def four(make_stage: Callable[..., Stage]) -> Stage:
    """Four nodes, which know each other."""
    return start_four(make_stage())


@pytest.fixture
def doomed(stage: Stage) -> Stage:
    """Four others, of which some may end."""
    return start_four(stage)


def start_four(stage: Stage) -> Stage:
    """Start four nodes, and wait until they know each other."""
    for name in NAMES:
        stage.start(name=name, ready=False)
    for node in stage.nodes:
        node.until_ready()
    with Mesh(stage.mesh) as mesh:
        mesh.wait_for_nodes(4)
        wait_until(lambda: knows_all(mesh))
    return stage


def knows_all(mesh: Mesh) -> bool:
    """Whether each node names the three others to a client that comes now."""
    with Mesh(mesh.name) as fresh:
        fresh.wait_for_nodes(4)
        views = fresh._runtime.ask(fresh._runtime.engine.nodes)
        return all(len(view.ack.peers) == 3 for view in views)


@contextmanager
def frozen(stage: Stage, *nodes: NodeProcess) -> Iterator[set[str]]:
    """Freeze nodes for a while, and say what they are called; afterwards all know each other again."""
    for node in nodes:
        node.freeze()
    try:
        yield {node.name for node in nodes}
    finally:
        for node in nodes:
            node.thaw()
        with Mesh(stage.mesh) as mesh:
            mesh.wait_for_nodes(len(stage.nodes), PATIENCE_S)
            wait_until(lambda: knows_all(mesh))


def test_frozen_nodes_are_missing_for_a_client_that_never_saw_them(four: Stage) -> None:
    """The others name them, so that a command does not look as if all had answered."""
    with frozen(four, *four.nodes[2:]) as names, Mesh(four.mesh) as mesh:
        replies = mesh.control.ping(timeout=1.5)
    assert set(replies.by_node()) == {node.name for node in four.nodes[:2]}
    assert set(replies.missing) == names
    assert set(replies.missing.values()) == {"unreachable"}


def test_a_command_line_that_never_saw_them_names_frozen_nodes(four: Stage) -> None:
    """With the exit code of partial replies."""
    command = [sys.executable, "-m", "meshq", "ctl", "ping"]
    with frozen(four, *four.nodes[2:]) as names:
        done = subprocess.run(command, env=four.env, cwd=MODULES, capture_output=True, text=True, timeout=20)
    assert done.returncode == 5
    for name in names:
        assert f"{name} is missing: unreachable" in done.stderr


def test_a_node_that_fell_silent_is_missed_until_it_is_back(four: Stage) -> None:
    """Though it is no longer among the nodes that are seen; when it thaws it answers again."""
    mesh = four.client()
    mesh.control.ping()
    victim = four.nodes[3]
    with frozen(four, victim):
        wait_until(lambda: len(mesh.nodes()) == 3)
        began = time.monotonic()
        replies = mesh.control.ping(timeout=0.5)
        assert time.monotonic() - began < 1.5
        assert replies.missing == {victim.name: "unreachable"}
    mesh.wait_for_nodes(4)
    assert mesh.control.ping(timeout=5).missing == {}


def test_who_has_ended_is_missed_by_nobody(doomed: Stage) -> None:
    """Neither a node that took its leave nor one that was killed; the command ends with the last answer."""
    mesh = doomed.client()
    doomed.nodes[0].kill()
    doomed.nodes[1].send(15)
    doomed.nodes[1].wait()
    wait_until(lambda: len(mesh.nodes()) == 2)
    for each in (mesh, doomed.client(2)):
        began = time.monotonic()
        replies = each.control.ping(timeout=10)
        assert time.monotonic() - began < 5
        assert set(replies.by_node()) == {node.name for node in doomed.nodes[2:]}
        assert replies.missing == {}


def test_a_node_that_is_back_under_its_name_is_not_missing(doomed: Stage) -> None:
    """It has a new id; the old one is nobody's any more."""
    mesh = doomed.client()
    victim = doomed.nodes[3]
    victim.kill()
    wait_until(lambda: len(mesh.nodes()) == 3)
    doomed.start(name="four")
    mesh.wait_for_nodes(4)
    replies = mesh.control.ping(timeout=5)
    assert len(replies) == 4
    assert replies.missing == {}
