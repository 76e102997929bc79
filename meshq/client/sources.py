"""Warns where a node runs another version of a function than this program has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from meshq.core.membership import NodeView
from meshq.tasks import source_hash

log = logging.getLogger("meshq.client")


class Sources:
    """The hashes of the functions that were submitted, and of what nodes say of theirs; for one mesh."""

    def __init__(self) -> None:
        self._own: dict[str, str] = {}
        self._warned: set[tuple[str, str]] = set()

    def knows(self, name: str) -> bool:
        """Return whether the function was looked at."""
        return name in self._own

    def learn(self, name: str, function: Callable[..., Any]) -> None:
        """Look at a function that is submitted for the first time."""
        self._own[name] = source_hash(function)

    def compare(self, nodes: Iterable[NodeView]) -> None:
        """Warn, once for each function and node name, where a node has another source."""
        for view in nodes:
            node = f"{view.ack.name}@{view.ack.host}"
            for name, own in list(self._own.items()):
                theirs = view.ack.functions.get(name, own)
                if own and theirs and own != theirs and (node, name) not in self._warned:
                    self._warned.add((node, name))
                    log.warning(
                        "node %s has another version of %s than this program: restart it there", node, name
                    )
