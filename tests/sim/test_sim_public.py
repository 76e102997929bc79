"""The simulator as users meet it: its docstring and its page say what is so."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import meshq.testing
from meshq.testing import SimFailure, SimMesh, mesh

_PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"


def test_the_example_of_the_docstring() -> None:
    """It runs as it stands."""
    results = doctest.testmod(mesh)
    assert (results.failed, results.attempted > 5) == (0, True)


def test_the_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs as it stands, and prints what it says."""
    [example] = re.findall(r"```python\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL)
    exec(compile(example, str(_PAGE), "exec"), {})
    assert re.fullmatch(r"\d+ runs were repeated\n", capsys.readouterr().out)


def test_what_the_page_names_is_there() -> None:
    """Each method of the table exists."""
    named = set(re.findall(r"`mesh\.(\w+)\(", _PAGE.read_text("utf-8")))
    assert len(named) > 12
    assert [name for name in sorted(named) if not hasattr(SimMesh, name)] == []


def test_the_public_names() -> None:
    """What is imported from ``meshq.testing``; a failure is an ``AssertionError``, as test runners like it."""
    assert set(meshq.testing.__all__) == {"SimFailure", "SimFunction", "SimMesh"}
    assert issubclass(SimFailure, AssertionError)
