"""The connections of a node, as its ROUTER has them: what waits for each, and what has come of large payloads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from meshq.errors import RemoteProtocolError
from meshq.protocol.envelope import Frames, Header, Incoming, Outbox, decode, weight
from meshq.protocol.messages import Message, Result
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import Buffer
from meshq.transport.server import NodeSockets

log = logging.getLogger("meshq.transport")

MAX_ROUTES = 40_000
"""The threat: a peer with the key that opens connections without end. Those without a caller make room, never a
live client's; where all have one, the newcomer is ignored."""
MAX_WAITING_BYTES = 64 * 1024**2
"""The threat: a peer that asks and asks, by control commands or for revoked ids, and does not read the answers.
Past this its route is dropped; who is well again greets anew, and is told all that still counts."""
MAX_RESULT_BYTES = 256 * 1024**2
"""Past this, results are left out while the route is blocked: they are sent again until they are acknowledged. The
threat: a peer that acknowledges them without having read any."""
_WEIGH_BYTES = 16 * 1024**2
"""How much comes to a blocked route before what waits there is weighed anew."""


class _Route:
    __slots__ = ("added", "has_enough", "joiner", "outbox", "unsent")

    def __init__(self, header: Header) -> None:
        self.outbox = Outbox(header)
        self.joiner = Joiner()
        self.unsent: Frames | None = None
        """What the socket did not take; the route is blocked until it has."""
        self.added = 0
        """Bytes that came while it was blocked, since what waits was weighed last."""
        self.has_enough = False
        """Whether no more results are to be sent over it for now."""

    def weigh(self, messages: Sequence[Message]) -> bool:
        """Take note of what is to wait as well; return whether nothing is to wait here any more."""
        self.added += sum(map(weight, messages))
        if self.added < _WEIGH_BYTES:
            return False
        self.added = 0
        waiting = self.outbox.waiting()
        self.has_enough = waiting.payloads > MAX_RESULT_BYTES
        return waiting.others > MAX_WAITING_BYTES


class Routes:
    """All routes of a node, flushed once a turn of the loop. ``on_gone`` is told of a route that leads nowhere.

    ``has_caller`` tells whether somebody has greeted over a route. One without a caller is kept only until what
    it is told has been sent, and large payloads that come over it are not joined: a stranger costs no memory.
    """

    def __init__(
        self, header: Header, on_gone: Callable[[bytes], None], has_caller: Callable[[bytes], bool]
    ) -> None:
        self._header = header
        self._on_gone = on_gone
        self._has_caller = has_caller
        self._routes: dict[bytes, _Route] = {}
        self._dirty: set[bytes] = set()

    def decode(self, route: bytes, frames: Sequence[Buffer]) -> Incoming | None:
        """Return what came over a route, or None for what is malformed, which is logged."""
        try:
            return decode(frames, self._joiner(route))
        except RemoteProtocolError as error:
            log.warning("dropped a message from %s: %s", route.hex(), error)
            return None

    def send(self, route: bytes, messages: Sequence[Message]) -> None:
        """Queue messages for a route; ``flush`` sends them. They are dropped where there is no room for it."""
        known = self._route(route)
        if known is None:
            return
        if known.unsent is not None:
            if known.weigh(messages):
                log.warning("dropped the connection %s: nobody reads what is sent there", route.hex())
                self._lose(route)
                return
            if known.has_enough:
                messages = [message for message in messages if type(message) is not Result]
        add = known.outbox.add
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
                self._lose(number)
            elif verdict == "sent" and not self._has_caller(number):
                self.drop(number)

    @property
    def blocked(self) -> bool:
        """Whether something waits that the socket did not take."""
        return bool(self._dirty)

    def drop(self, number: bytes) -> None:
        """Forget a route, with all that waits on it."""
        self._routes.pop(number, None)
        self._dirty.discard(number)

    def _lose(self, number: bytes) -> None:
        self.drop(number)
        self._on_gone(number)

    def leave(self, number: bytes) -> None:
        """Drop a route whose caller has left, as soon as what waits on it has been sent."""
        if number not in self._dirty:
            self.drop(number)

    def has_room(self, number: bytes) -> bool:
        """Whether a route has a place in the table, or there is one for it."""
        if number in self._routes or len(self._routes) < MAX_ROUTES:
            return True
        for other in [other for other in self._routes if not self._has_caller(other)]:
            self.drop(other)
        return len(self._routes) < MAX_ROUTES

    def _joiner(self, number: bytes) -> Joiner:
        route = self._route(number) if self._has_caller(number) else None
        return Joiner() if route is None else route.joiner

    def _route(self, number: bytes) -> _Route | None:
        route = self._routes.get(number)
        if route is None and self.has_room(number):
            route = self._routes[number] = _Route(self._header)
        return route

    @staticmethod
    def _flush(number: bytes, route: _Route, sockets: NodeSockets) -> str:
        while (frames := route.unsent or route.outbox.take()) is not None:
            verdict = sockets.send(number, frames)
            route.unsent = frames if verdict == "full" else None
            if verdict != "sent":
                return verdict
        route.has_enough = False
        return "sent"
