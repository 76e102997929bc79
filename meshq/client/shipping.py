"""Functions that have no name: whether there are nodes that take them as pickles, and what is wrong if not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from meshq.client.nodes import NodeInfo
from meshq.tasks import SHIPPED, NamelessFunction

FIRST_NODE_S = 3.0
"""How long a first node is waited for, and the others that are known to it."""
NO_KEY = "this program has no key of a mesh, without which nothing is pickled"


class Seeing(Protocol):
    """The part of a mesh that is looked at."""

    def nodes(self) -> list[NodeInfo]: ...
    def is_complete(self) -> bool: ...
    def in_loop(self) -> bool: ...


class Shipping:
    """Finds out whether functions can be shipped; for one mesh. ``wait`` waits for a condition, or a time."""

    def __init__(
        self, mesh: Seeing, wait: Callable[[Callable[[], bool], float | None], bool], has_key: bool
    ) -> None:
        self._mesh = mesh
        self._wait = wait
        self._has_key = has_key
        self._was_seen = False
        """Whether a node that takes pickles was seen; if it has gone since, tasks wait for another, as all do."""

    def check(self, why: NamelessFunction) -> None:
        """Raise ``why``, and what is missing, unless there is a node that takes pickles."""
        if self._was_seen:
            return
        if not self._has_key:
            raise NamelessFunction(f"{why}. Now {NO_KEY}")
        if not self._mesh.in_loop():  # which must not be made to wait for itself
            self._wait(self._is_known, FIRST_NODE_S)
        nodes = self._mesh.nodes()
        self._was_seen = _take_pickles(nodes)
        if not self._was_seen:
            names = ", ".join(node.full_name for node in nodes)
            seen = f"none of the nodes that are seen does ({names})" if nodes else "no node is seen"
            raise NamelessFunction(f"{why}. Now {seen}")

    def _is_known(self) -> bool:
        return _take_pickles(self._mesh.nodes()) or self._mesh.is_complete()


def _take_pickles(nodes: Sequence[NodeInfo]) -> bool:
    return any(SHIPPED in node.functions for node in nodes)
