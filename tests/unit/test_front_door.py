"""``import meshq``: what it offers, and how little it loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import meshq

ROOT = Path(__file__).parents[2]


def test_task_costs_no_sockets() -> None:
    """``from meshq import task`` imports neither zmq nor zeroconf, nor what would slow a worker's start."""
    program = (
        "import sys; from meshq import task; import meshq.tasks; "
        "print([m for m in ('zmq', 'zeroconf', 'asyncio', 'inspect', 'meshq.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_public_name_loads() -> None:
    """All that ``__all__`` and ``dir`` promise is there."""
    for name in meshq.__all__:
        assert getattr(meshq, name) is not None
    assert set(meshq.__all__) <= set(dir(meshq))


def test_functions_on_the_default_mesh_open_none_before_they_are_called() -> None:
    """They load with the client, and importing them starts no thread and asks no network."""
    program = (
        "import threading; from meshq import discard_all, dmap, dmap_async, execute_remote, is_done, ping; "
        "print(threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "1"


def test_other_names_are_attribute_errors() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Mash'"):
        meshq.Mash  # noqa: B018


def test_one_version() -> None:
    """The version is the same in the package and in its metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert meshq.__version__ == project["version"]
