"""Keys, and which functions a node runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import work
from mesh_harness import Stage

from meshq import Future, Mesh, NoNodes, UnknownTask
from meshq.transport.keys import write_key


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh whose node has a key."""
    stage = Stage(tmp_path_factory.mktemp("keyed"))
    write_key(stage.directory / "mesh.key")
    stage.start(key=stage.directory / "mesh.key", bind="127.0.0.1")
    yield stage
    stage.close()


def test_with_the_key_a_client_is_served(keyed: Stage) -> None:
    """Tasks and control commands work, by mDNS alone."""
    with Mesh(keyed.mesh, key=keyed.directory / "mesh.key") as mesh:
        mesh.wait_for_nodes(1)
        assert mesh.submit(work.add, 2, 2).result(timeout=10) == 4
        (reply,) = mesh.control.ping().by_node().values()
        assert reply["secured"] is True
        assert mesh.nodes()[0].secured


@pytest.mark.parametrize("how", ["no key", "no key, insecure", "another key"])
def test_without_the_key_a_client_gets_nothing(
    keyed: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It sees no node, its tasks are not run, and the error says that the key is the reason."""
    monkeypatch.setenv("MESHQ_NO_NODES_TIMEOUT", "1")
    other = tmp_path / "other.key"
    write_key(other)
    with Mesh(
        keyed.mesh,
        key=other if how == "another key" else None,
        insecure=True if "insecure" in how else None,
        peers=[keyed.nodes[0].address],
    ) as mesh:
        future = mesh.submit(work.write, str(tmp_path / "ran"), "")
        with pytest.raises(NoNodes, match="key"):
            future.result(timeout=10)
        assert mesh.nodes() == []
        assert mesh.control.ping(timeout=0.3) == []
    assert not (tmp_path / "ran").exists()


def test_a_client_with_a_key_does_not_talk_to_a_node_without(shared: Stage, tmp_path: Path) -> None:
    """Whoever has a key sends nothing to a node that cannot prove that it has it too."""
    write_key(tmp_path / "mesh.key")
    with Mesh(shared.mesh, key=tmp_path / "mesh.key", peers=[shared.nodes[0].address]) as mesh:
        with pytest.raises(NoNodes, match="key"):
            mesh.wait_for_nodes(1, timeout=1.5)
        assert mesh.nodes() == []


def test_meshes_of_different_names_do_not_see_each_other(shared: Stage, stage: Stage) -> None:
    """Not even where an address is given by mistake."""
    with Mesh(stage.mesh, peers=[shared.nodes[0].address]) as mesh, pytest.raises(NoNodes, match=stage.mesh):
        mesh.wait_for_nodes(1, timeout=1)


def test_a_node_that_would_be_open_to_others_is_refused(stage: Stage) -> None:
    """``--bind`` beyond loopback with neither key nor ``--insecure`` exits with 2 and says what to do."""
    node = stage.start(bind="0.0.0.0", ready=False)
    assert node.wait() == 2
    assert "meshq key new" in node.text()
    assert "--insecure" in node.text()


def test_plain_functions_are_run_only_where_they_are_allowed(make_stage: Callable[..., Stage]) -> None:
    """``--allow operator`` makes ``operator.add`` callable under both of its names, and nothing else."""
    import operator

    stage = make_stage()
    stage.start(allow="operator")
    mesh = stage.client()
    assert mesh.submit("operator.add", 2, 2).result(timeout=10) == 4
    assert mesh.submit("_operator.add", 2, 3).result(timeout=10) == 5
    (node,) = mesh.nodes()
    assert "operator.add" in node.functions
    assert not [name for name in node.functions if name.startswith("_")]
    assert mesh.control.inspect().registered()[node.full_name] == list(node.functions)
    (said,) = mesh.control.rate_limit("_operator.add", 500, reply=True).by_node().values()
    assert said == {"ok": "rate limit of operator.add is 500/s here"}
    assert mesh.control.inspect().stats()[node.full_name]["totals"].keys() >= {"operator.add"}
    assert mesh.submit(operator.mul, 6, 7).result(timeout=10) == 42
    assert list(mesh.map(operator.neg, range(3))) == [0, -1, -2]
    others = ("os.getpid", "builtins.abs", "work.plain", "operator.__import__")
    refused: list[Future[object]] = [mesh.submit(name, 1) for name in others]
    for future in refused:
        with pytest.raises(UnknownTask):
            future.result(timeout=10)


def test_a_glob_allows_some_functions_of_a_module(make_stage: Callable[..., Stage]) -> None:
    """``--allow MODULE:GLOB`` offers what matches, and what is named so beside the module's tasks."""
    stage = make_stage()
    stage.start(allow="work:pla*")
    mesh = stage.client()
    assert mesh.submit(work.plain, 5).result(timeout=10) == -5
    with pytest.raises(UnknownTask):
        mesh.submit("work.Path", "/").result(timeout=10)
