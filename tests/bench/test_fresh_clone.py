"""The README's two commands in a fresh clone; run with ``pytest -m bench tests/bench``.

They install from the network. The clone has what is committed. Of the test command the tests are only collected,
as this is one of them.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL_S = 600
DEMO_S = 30
"""What the demo may take once it is installed."""

pytestmark = [pytest.mark.bench, pytest.mark.timeout(2 * INSTALL_S)]


def run(command: str, directory: Path, timeout: float = INSTALL_S) -> str:
    """Run a line as a user's shell does, outside the environment of these tests; return what it has printed."""
    outside = ("MESHQ_", "PYTHON", "PYTEST_", "VIRTUAL_ENV", "COV_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    done = subprocess.run(
        ["sh", "-c", command], cwd=directory, env=env, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Clone the repository; only where ``-m bench`` asks for it."""
    if "bench" not in request.config.option.markexpr:
        pytest.skip("slow, and needs the network: ask for it with -m bench")
    run(f"git clone --quiet '{ROOT}' clone", tmp_path)
    return tmp_path / "clone"


def lines_of_readme(clone: Path, end: str) -> list[str]:
    """Return the README's lines that end so."""
    return [line for line in (clone / "README.md").read_text(encoding="utf-8").splitlines() if line.endswith(end)]


def test_the_demo_command(clone: Path) -> None:
    """The README's demo command exits with 0; once installed, the demo takes less than 30 s."""
    (command,) = lines_of_readme(clone, "/meshq demo")
    run(command, clone)
    began = time.monotonic()
    run(command.rpartition("&&")[2], clone, DEMO_S)
    assert time.monotonic() - began < DEMO_S


def test_the_test_command(clone: Path) -> None:
    """The README's test command installs all that the tests import: each can be collected."""
    (command,) = lines_of_readme(clone, "/pytest")
    assert "no tests collected" not in run(f"{command} --collect-only -q", clone)
