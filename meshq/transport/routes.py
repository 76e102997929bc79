"""The connections of a node, as its ROUTER has them: what waits for each, and what has come of large payloads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from meshq.errors import RemoteProtocolError
from meshq.protocol.envelope import Frames, Header, Incoming, Outbox, decode
from meshq.protocol.messages import Message
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import Buffer
from meshq.transport.server import NodeSockets

log = logging.getLogger("meshq.transport")

MAX_ROUTES = 40_000
"""A keyed peer could open connections without end; the oldest that never greeted goes first."""


class _Route:
    __slots__ = ("joiner", "outbox", "unsent")

    def __init__(self, header: Header) -> None:
        self.outbox = Outbox(header)
        self.joiner = Joiner()
        self.unsent: Frames | None = None


class Routes:
    """All routes of a node, flushed once a turn of the loop. ``on_gone`` is told of a route that leads nowhere."""

    def __init__(self, header: Header, on_gone: Callable[[bytes], None]) -> None:
        self._header = header
        self._on_gone = on_gone
        self._routes: dict[bytes, _Route] = {}
        self._dirty: set[bytes] = set()

    def decode(self, route: bytes, frames: Sequence[Buffer]) -> Incoming | None:
        """Return what came over a route, or None for what is malformed, which is logged."""
        try:
            return decode(frames, self._route(route).joiner)
        except RemoteProtocolError as error:
            log.warning("dropped a message from %s: %s", route.hex(), error)
            return None

    def send(self, route: bytes, messages: Sequence[Message]) -> None:
        """Queue messages for a route; ``flush`` sends them."""
        add = self._route(route).outbox.add
        for message in messages:
            add(message)
        self._dirty.add(route)

    def flush(self, sockets: NodeSockets) -> None:
        """Send what waits, as far as the socket takes it."""
        for number in list(self._dirty):
            route = self._routes.get(number)
            verdict = "sent" if route is None else self._flush(number, route, sockets)
            if verdict != "full":
                self._dirty.discard(number)
            if verdict == "gone":
                self.drop(number)
                self._on_gone(number)

    @property
    def blocked(self) -> bool:
        """Whether something waits that the socket did not take."""
        return bool(self._dirty)

    def drop(self, number: bytes) -> None:
        """Forget a route, with all that waits on it."""
        self._routes.pop(number, None)
        self._dirty.discard(number)

    def _route(self, number: bytes) -> _Route:
        route = self._routes.get(number)
        if route is None:
            if len(self._routes) >= MAX_ROUTES:
                self.drop(next(iter(self._routes)))
            route = self._routes[number] = _Route(self._header)
        return route

    @staticmethod
    def _flush(number: bytes, route: _Route, sockets: NodeSockets) -> str:
        while (frames := route.unsent or route.outbox.take()) is not None:
            verdict = sockets.send(number, frames)
            route.unsent = frames if verdict == "full" else None
            if verdict != "sent":
                return verdict
        return "sent"
