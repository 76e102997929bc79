"""A node inside a program, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from meshq.config import Settings
from meshq.errors import MeshqError

if TYPE_CHECKING:
    from meshq.node.node import Node

log = logging.getLogger("meshq.node")


class NodeThread:
    """A node inside a program: serves in a thread of its own, from ``start`` until ``stop``."""

    def __init__(self, settings: Settings) -> None:
        from meshq.node.node import Node

        self._ready = threading.Event()
        self._error: BaseException | None = None
        self.node = Node(settings, lambda _: self._ready.set())
        self._thread = threading.Thread(target=self._run, name="meshq-node", daemon=True)

    def start(self, timeout: float = 30.0) -> Node:
        """Start the node and wait until it is ready. Raises what kept it from that."""
        self._thread.start()
        ready = self._ready.wait(timeout)
        self._raise_error()
        if not ready:
            self.stop(drain=False)
            raise MeshqError(f"the node {self.node.name} was not ready within {timeout} s")
        return self.node

    def stop(self, drain: bool = True, timeout: float = 30.0) -> None:
        """Stop the node, letting it finish what runs unless ``drain`` is False. Raises what ended it before."""
        if drain:
            self.node.drain()
        else:
            self.node.stop()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self.node.stop()
            self._thread.join(5.0)
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self.node.run()
        except BaseException as error:
            self._error = error
            if self._ready.is_set():  # else ``start`` raises it at once
                log.exception("the node has ended by an error", extra={"node": self.node.name})
        finally:
            self._ready.set()
