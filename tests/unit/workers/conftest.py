"""What the tests of the workers share: nodes that leave no process, descriptor or registration behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from workers_harness import Node


@pytest.fixture
def make_node() -> Iterator[Callable[..., Node]]:
    """Make nodes with a pool each; at the end, all that they have opened must be closed."""
    before = len(os.listdir("/proc/self/fd"))
    nodes: list[Node] = []

    def make(**spec: Any) -> Node:
        nodes.append(Node(**spec))
        return nodes[-1]

    yield make
    for node in nodes:
        node.pool.close(0.0)
        assert node.loop.idle
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """A node with one worker, which is ready."""
    made = make_node()
    made.start()
    return made
