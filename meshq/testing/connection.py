"""One connection between a client and a node, and what is on its way there."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from meshq.protocol.envelope import Header, Incoming, Outbox
from meshq.protocol.parts import Joiner
from meshq.testing.process import Process


class Port(Protocol):
    """A process that listens: a node."""

    alive: bool
    frozen: bool
    host: str

    def post(self, action: Any, /) -> None: ...
    def on_packet(self, connection: Connection, incoming: Incoming, /) -> None: ...


class Lane(Protocol):
    """A client's end of a link, connected or not. ``number`` is the link's, ``endpoint`` where it leads."""

    number: int
    endpoint: str
    closed: bool

    @property
    def owner(self) -> Process: ...
    def on_up(self, connection: Connection, /) -> None: ...
    def on_down(self, connection: Connection, /) -> None: ...
    def on_refused(self) -> None: ...
    def on_packet(self, incoming: Incoming, /) -> None: ...


class Packet(NamedTuple):
    """What is sent at once: frames where the run is encoded, else the messages as they are."""

    number: int
    content: Any


class Direction:
    """One way of a connection."""

    def __init__(self, sender: str, receiver: str) -> None:
        self.path = (sender, receiver)
        self.last_at = 0.0
        self.sent = 0
        self.arrived = 0
        self.survivors: int | None = None
        """Once the connection is broken: how many of its packets arrive all the same."""
        self.held: list[Packet] = []
        self.outbox = Outbox(Header(b""))
        self.joiner = Joiner()


class Connection:
    """One connection of a lane to a node; the node knows it by its ``route``."""

    def __init__(self, route: bytes, lane: Lane, node: Port) -> None:
        self.route = route
        self.lane = lane
        self.node = node
        self.open = True
        self.up = Direction(lane.owner.host, node.host)
        self.down = Direction(node.host, lane.owner.host)
