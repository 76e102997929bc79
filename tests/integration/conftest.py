"""Fixtures of the tests with real processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mesh_harness import LOG_LIMIT, MODULES, Stage, stages

from meshq import Mesh

sys.path.insert(0, str(MODULES))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show the logs of all processes with a failure."""
    report = yield
    if report.failed:
        for process in (process for stage in stages for process in (*stage.nodes, *stage.scripts)):
            report.sections.append((f"log of {process.label}", process.text()[-LOG_LIMIT:]))
    return report


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process away from the user's settings."""
    for name in [name for name in os.environ if name.startswith("MESHQ_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A mesh for one test."""
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh of one node with two slots, for all tests of a module that leave it as it was."""
    made = Stage(tmp_path_factory.mktemp("shared"))
    made.start(slots=2)
    yield made
    made.close()


@pytest.fixture
def mesh(shared: Stage) -> Iterator[Mesh]:
    """A client of the shared mesh."""
    made = shared.client()
    yield made
    made.close(cancel=True)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two nodes of a slot each, named east and west, which tests leave as they were."""
    stage = Stage(tmp_path_factory.mktemp("pair"))
    stage.start("work", "steered", name="east", ready=False)
    stage.start("work", "steered", name="west")
    stage.nodes[0].until_ready()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def make_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stage]]:
    """Make further meshes, or one with settings of its own."""
    made: list[Stage] = []

    def make(**settings: str) -> Stage:
        made.append(Stage(tmp_path_factory.mktemp("stage"), **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
