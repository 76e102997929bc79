"""A client's end of a link, as the transport has it: what waits, for whom, and what is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshq.core.membership import LinkDown, LinkRefused, LinkUp
from meshq.protocol.envelope import Header, Incoming
from meshq.protocol.messages import Hello, Message
from meshq.testing.connection import Connection

if TYPE_CHECKING:
    from meshq.testing.links import LinkOwner


class SimLane:
    """A link of a client, as the transport has it; ``on_up`` is called with it when it is connected."""

    def __init__(
        self, number: int, endpoint: str, hello: Hello, owner: LinkOwner, on_up: Callable[[SimLane], None]
    ) -> None:
        self.number = number
        self.endpoint = endpoint
        self.owner = owner
        self._hello = hello
        self._on_up = on_up
        self.closed = False
        self.connection: Connection | None = None
        self.waiting: list[Message] = []
        self.early: list[Message] | None = []
        """What waits for HELLO to be answered."""
        self.header = Header(hello.client)
        self._known = self.header
        self._greeting = 0

    def greet(self) -> None:
        """Begin a connection anew, with HELLO."""
        self.header = Header(self._hello.client)
        self._greeting += 1
        self.waiting, self.early = [self._hello._replace(greeting=self._greeting)], []

    def address(self, node: bytes, incarnation: int) -> None:
        """Address what is sent from now on; what was meant for another process is dropped."""
        self.header = Header(self._hello.client, node, incarnation)
        if self.early and self.header == self._known:
            self.waiting += self.early
        self.early, self._known = None, self.header

    def add(self, messages: Sequence[Message]) -> None:
        """Queue messages."""
        (self.waiting if self.early is None else self.early).extend(messages)

    def on_up(self, connection: Connection) -> None:
        """The connection is made."""
        self.connection = connection
        self._on_up(self)
        self.owner.notice(LinkUp(self.number))

    def on_down(self, connection: Connection) -> None:
        """A connection broke."""
        if self.connection is connection:
            self.connection = None
        self.owner.notice(LinkDown(self.number))

    def on_refused(self) -> None:
        """Nothing listens."""
        if not self.closed:
            self.owner.notice(LinkRefused(self.number))

    def on_packet(self, incoming: Incoming) -> None:
        """Messages have come."""
        messages = incoming.of(self._known, self._greeting)
        if messages is not None:
            self.owner.receive(self.number, messages)
