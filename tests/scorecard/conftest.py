"""Fixtures of the scorecard: real nodes on this machine or in the lab, and a table of the figures at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.extend(
    str(Path(__file__).parents[1] / room) for room in ("integration", "integration/modules", "lab", "bench")
)

import lab_segment
from mesh_harness import LOG_LIMIT, Stage, stages
from score_figures import Figures, table
from score_lab import ScoreLab

_LAB = pytest.StashKey[ScoreLab]()


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process away from the user's settings."""
    for name in [name for name in os.environ if name.startswith("MESHQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def score() -> Figures:
    """Where a test notes its figures; ``check`` at its end fails if one misses its goal."""
    return Figures()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A mesh for one test, whose nodes can have the tasks of ``score_tasks``."""
    made = Stage(tmp_path)
    made.env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent)
    yield made
    made.close()


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScoreLab]:
    """A lab, which is taken down at the end whatever happens; skips where none can be made."""
    reason = lab_segment.reason_against()
    if reason is not None:
        pytest.skip(f"NO LAB: {reason}")
    made = request.node.stash[_LAB] = ScoreLab(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the logs of all processes with a failure."""
    report = yield
    if report.failed and report.when == "call":
        made = item.stash.get(_LAB, None)
        logs = {} if made is None else dict(made.logs())
        for stage in stages:
            logs |= {process.label: process.text() for process in (*stage.nodes, *stage.scripts)}
        report.sections += [(f"log of {label}", text[-LOG_LIMIT:]) for label, text in logs.items() if text]
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show all figures in one table."""
    lines = table()
    if lines:
        terminalreporter.section("scorecard")
        for line in lines:
            terminalreporter.write_line(line)
