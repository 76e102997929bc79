"""A loop, a context and what was opened on them, for tests that use real sockets on loopback."""

from __future__ import annotations

import random
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from meshq.errors import ConfigError
from meshq.transport.addresses import endpoint
from meshq.transport.auth import Authenticator
from meshq.transport.context import make_context
from meshq.transport.dealer import Dealer
from meshq.transport.keys import MeshKey
from meshq.transport.loop import Loop
from meshq.transport.publisher import Publisher
from meshq.transport.server import NodeSockets

HOST = "127.0.0.1"


class Client:
    """A dealer that writes down what it is told."""

    def __init__(self, net: Net, to: str, key: MeshKey | None, keeps: bool = False) -> None:
        self.got: list[list[bytes]] = []
        self.events: list[tuple[str, str]] = []
        self.dealer = net.keep(
            Dealer(
                net.loop, net.context, to, key, lambda _, frames: self.got.append(frames), self._event, keeps=keeps
            )
        )

    def _event(self, dealer: Dealer, word: str, text: str) -> None:
        self.events.append((word, text))

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.events]


class Node:
    """Node sockets that write down what they are told, and echo it where asked to."""

    def __init__(self, net: Net, key: MeshKey | None, host: str, port: int | None, echo: bool) -> None:
        self.got: list[tuple[bytes, list[bytes], str]] = []
        self.control: list[list[bytes]] = []
        self.echo = echo
        self._owed: deque[tuple[bytes, list[bytes]]] = deque()
        self._loop = net.loop
        self.sockets = net.keep(
            NodeSockets(net.loop, net.context, host, port, key, self._frames, self.control.append)
        )
        self.endpoint = endpoint(host, self.sockets.port)
        self.control_endpoint = endpoint(host, self.sockets.control_port)

    def _frames(self, route: bytes, frames: list[bytes], user: str) -> None:
        self.got.append((route, frames, user))
        if self.echo:
            self._owed.append((route, frames))
            self._pay()

    def _pay(self) -> None:
        """Send echoes in their order; those that do not fit now, in the next turn."""
        while self._owed and self.sockets.send(*self._owed[0]) != "full":
            self._owed.popleft()
        if self._owed:
            self._loop.post(self._pay)


class Net:
    """Everything that one test has open; ``close`` closes it in the right order."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.context = make_context()
        self._open: list[Any] = []

    def keep(self, opened: Any) -> Any:
        self._open.append(opened)
        return opened

    def node(
        self,
        key: MeshKey | None = None,
        host: str = HOST,
        port: int | None = None,
        echo: bool = True,
        authenticator: bool = True,
    ) -> Node:
        if key is not None and authenticator:
            self.keep(Authenticator(self.context, key))
        return Node(self, key, host, port, echo)

    def node_at(self, port: int) -> Node:
        """Make a node at a port that another is just leaving: the I/O thread unbinds a moment after close."""
        nodes: list[Node] = []

        def bound() -> bool:
            try:
                nodes.append(self.node(port=port))
            except ConfigError:
                return False
            return True

        self.until(bound)
        return nodes[0]

    def client(self, to: str, key: MeshKey | None = None, keeps: bool = False) -> Client:
        return Client(self, to, key, keeps)

    def publisher(
        self, key: MeshKey | None = None, on_subscription: Callable[[bytes, bool], None] = lambda topic, on: None
    ) -> Publisher:
        return self.keep(Publisher(self.loop, self.context, key, on_subscription))

    def until(self, condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Turn the loop until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            self.loop.turn(0.05)

    def turn_for(self, seconds: float) -> None:
        """Turn the loop for so long, to see that something does not come to pass."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.loop.turn(left)

    def close(self) -> None:
        for opened in reversed(self._open):
            opened.close()
        self.loop.close()
        self.context.term()


def free_port() -> int:
    """Return a port at which nothing listens, nor at the one after it.

    From below the range that the system gives to outgoing connections, which may take any port of it meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        try:
            with socket.create_server((HOST, port)), socket.create_server((HOST, port + 1)):
                return port
        except OSError:
            continue
