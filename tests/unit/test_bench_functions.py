"""The functions that are timed: the same ones, plain and as tasks."""

from __future__ import annotations

import os

from meshq import bench
from meshq.tasks.load import load_functions


def test_a_node_offers_them() -> None:
    """A node with the module offers all of them, and nothing else; each runs the plain function itself."""
    functions = load_functions(["meshq.bench"])
    assert set(functions) == bench.NAMES
    for function in (bench.noop, bench.increment, bench.echo, bench.where, bench.nap):
        assert functions[bench.task_of(function).name].call is function


def test_what_they_do() -> None:
    """Outside of a node they work as well, and name no node."""
    assert bench.noop() is None  # type: ignore[func-returns-value]
    assert bench.increment(1) == 2
    assert bench.echo(b"x") == b"x"
    assert bench.nap(0.0) == bench.where() == ("", os.getpid())
