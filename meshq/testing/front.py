"""The listening side of a simulated node: who is connected, what they say, and what goes out to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshq.core.callers import Callers
from meshq.core.events import Received
from meshq.core.holding import ClientGreeted, ClientUnreachable, HolderEvent
from meshq.protocol.envelope import Header, Incoming
from meshq.protocol.messages import Bye, Hello, HelloAck, Message, Refused, Submit
from meshq.testing.connection import Connection
from meshq.testing.ledger import Ledger
from meshq.testing.network import Network


class SimFront:
    """What ``Listening`` does for a real node, by the same callers.

    ``on_event`` takes what the holder is to know; ``on_bye`` is called before a client that leaves is forgotten.
    """

    def __init__(
        self,
        mesh: str,
        ack: HelloAck,
        network: Network,
        ledger: Ledger,
        on_event: Callable[[HolderEvent], None],
        on_bye: Callable[[], None],
    ) -> None:
        self.ack = ack
        self.callers = Callers(mesh)
        self._network = network
        self._ledger = ledger
        self._on_event = on_event
        self._on_bye = on_bye
        self._is_open = False
        self._early: list[tuple[Connection, Hello]] = []
        self._connections: dict[bytes, Connection] = {}
        self._labels: dict[bytes, tuple[str, str]] = {}
        self._out: dict[bytes, list[Message]] = {}

    def open(self, ack: HelloAck) -> None:
        """Answer greetings from now on."""
        self.ack, self._is_open = ack, True
        early, self._early = self._early, []
        for connection, hello in early:
            self._greet(connection, hello)

    def drain(self) -> None:
        """Say in greetings that nothing new is taken."""
        self.ack = self.ack._replace(draining=True)

    def resize(self, slots: int) -> None:
        """Say to all clients that there are so many slots."""
        self.ack = self.ack._replace(slots=slots)
        for route, greeting in self.callers.answered("work"):
            self._answer(route, self.ack._replace(greeting=greeting))

    def send(self, client: bytes, messages: Sequence[Message]) -> None:
        """Queue messages for a client, if it is connected."""
        route = self.callers.route(client, "work")
        if route is not None:
            self._ledger.said(self.ack.name, messages)
            self._out.setdefault(route, []).extend(messages)

    def flush(self) -> None:
        """Send what waits; connections that are broken are told of."""
        header = Header(self.ack.node, b"", self.ack.incarnation)
        out, self._out = self._out, {}
        for route, messages in out.items():
            connection = self._connections[route]
            if connection.open:
                self._network.send_down(connection, header, messages)
            else:
                self._drop(route)

    def forget(self, client: bytes) -> None:
        """Forget a client that has left."""
        self.callers.forget(client)

    def take(self, connection: Connection, incoming: Incoming) -> None:
        """Take what came over a connection."""
        self._connections[connection.route] = connection
        hello = next((message for message in incoming.messages if isinstance(message, Hello)), None)
        if hello is not None:
            self._greet(connection, hello)
            return
        caller = self.callers.who(connection.route)
        if caller is None or not self._is_for_us(incoming.header):
            if self._is_open:
                self._answer(connection.route, Refused("stale", "greet this node first"))
            return
        if self.callers.use(connection.route):
            self._on_event(ClientGreeted(caller.client, *self._labels[caller.client]))
        self._hear(caller.client, incoming.messages)

    def _hear(self, client: bytes, messages: list[Message]) -> None:
        self._ledger.heard(self.ack.name, messages)
        for message in messages:
            if type(message) is Submit:
                self._ledger.promises.arrived(self.ack.node, message)
        self._on_event(Received(client, messages))
        if any(type(message) is Bye for message in messages):
            self._on_bye()
            self.flush()
            self.callers.forget(client)

    def _greet(self, connection: Connection, hello: Hello) -> None:
        if not self._is_open:
            self._early.append((connection, hello))
            return
        refusal = self.callers.greet(connection.route, "", hello)
        answer = self.ack._replace(greeting=hello.greeting) if refusal is None else refusal
        self._answer(connection.route, answer)
        if refusal is None:
            self._labels[hello.client] = hello.role, hello.host
            self._on_event(ClientGreeted(hello.client, hello.role, hello.host))

    def _is_for_us(self, header: Header) -> bool:
        return header.destination == self.ack.node and header.incarnation == self.ack.incarnation

    def _answer(self, route: bytes, message: Message) -> None:
        self._out.setdefault(route, []).append(message)

    def _drop(self, route: bytes) -> None:
        del self._connections[route]
        caller = self.callers.drop(route)
        if caller is not None:
            self._on_event(ClientUnreachable(caller.client))
