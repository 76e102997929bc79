"""What ``meshq bench`` says before it measures anything."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from meshq.cli import bench
from meshq.cli.exits import NO_NODES, USAGE
from meshq.cli.main import main


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away from the user's settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("MESHQ_MESH", f"bench-{uuid.uuid4().hex[:12]}")
    monkeypatch.setenv("MESHQ_MDNS", "no")


def code_of(*args: str) -> int:
    """Return the exit code of ``meshq bench ARGS``."""
    with pytest.raises(SystemExit) as ended:
        main(["bench", *args])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--local", "--mesh", "attic"], "--mesh is for a mesh that is there"),
        (["--local", "--peer", "tcp://127.0.0.1:1"], "--peer is for a mesh that is there"),
        (["--local", "--secure", "--insecure"], "exclude each other"),
        (["--slots", "2"], "--slots is for nodes that are started here: add --local"),
        (["--secure"], "--secure is for nodes that are started here"),
        (["--workers", "4"], "--workers is for the process pools of --compare: add --compare processpool"),
        (["--local", "--workers", "4"], "add --compare processpool"),
        (["--only", "speed"], "'speed' is not one of"),
        (["--backlog", "10"], "--backlog"),
    ],
)
def test_flags_that_make_no_sense(flags: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags that exclude each other, and unknown parts, are wrong usage."""
    assert code_of(*flags) == USAGE
    assert complaint in capsys.readouterr().err


def test_where_there_is_no_node(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no nodes is told how to start some, or to do without."""
    monkeypatch.setattr(bench, "FIND_S", 0.05)
    assert code_of() == NO_NODES
    told = capsys.readouterr().err
    assert "meshq node meshq.bench" in told
    assert "meshq bench --local" in told
