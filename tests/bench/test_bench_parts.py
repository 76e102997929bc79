"""``parts.py`` itself: that each part can still be timed, and that a slower one is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from timed_parts import PARTS

COMMAND = [sys.executable, str(Path(__file__).with_name("parts.py")), "--rounds", "1"]
ONE = "codec: encode SUBMITs"


def run(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command, and return what it has printed."""
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, check=False)


def test_all_parts_are_timed(tmp_path: Path) -> None:
    """Each part comes to some microseconds a task, and they are written down."""
    done = run("--save", tmp_path / "base.json")
    assert (done.returncode, done.stderr) == (0, "")
    saved = json.loads((tmp_path / "base.json").read_text())
    assert set(saved) == set(PARTS)
    assert all(0 < microseconds < 10_000 for microseconds in saved.values())


def test_a_slower_part_is_named(tmp_path: Path) -> None:
    """Beside a base in which a part was a thousand times as fast the command fails, and says which part it is."""
    (tmp_path / "base.json").write_text(json.dumps({ONE: 1e-4}))
    done = run("--only", ONE, "--against", tmp_path / "base.json", "--fail-above", "2")
    assert done.returncode == 1
    assert done.stderr.startswith(f"slower than 2 times the base: {ONE}")
    assert done.stdout.splitlines()[1].startswith(ONE)


def test_a_version_without_a_part(tmp_path: Path) -> None:
    """A checkout that lacks what a part needs has no figure for it, and the reason is told."""
    (tmp_path / "meshq").mkdir()
    (tmp_path / "meshq" / "__init__.py").touch()
    done = run("--only", ONE, "--base", tmp_path)
    assert done.returncode == 0
    assert f"base: {ONE}: ModuleNotFoundError" in done.stderr


@pytest.mark.bench
def test_roles_are_profiled() -> None:
    """``profile_roles.py`` has a line for each role, and lists what each has called."""
    script = Path(__file__).with_name("profile_roles.py")
    command = [sys.executable, str(script), "--rounds", "1", "--tasks", "500", "--calls", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in ("client ", "node ", "workers ", "=== client, thread MainThread", "=== node ", "=== workers "):
        assert f"\n{line}" in done.stdout
