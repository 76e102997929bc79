"""The connections of a node, as its ROUTER has them: what waits for each, and what has come of large payloads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from meshq.core.timers import Timers
from meshq.errors import RemoteProtocolError
from meshq.protocol.envelope import Frames, Header, Incoming, Outbox, UnsupportedVersion, decode, weight
from meshq.protocol.messages import GREETING_VERSION, Message, Result
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import Buffer, payload_size
from meshq.protocol.versions import StrangeVerbs, refuse_client
from meshq.transport.server import NodeSockets
from meshq.transport.taking import take

log = logging.getLogger("meshq.transport")

MAX_ROUTES = 40_000
"""The threat: a peer with the key that opens connections without end. Those without a caller make room, never a
live client's; where all have one, the newcomer is ignored."""
MAX_WAITING_BYTES = 64 * 1024**2
"""The threat: a peer that asks and asks, by control commands or for revoked ids, and does not read the answers.
Past this its route is dropped; who is well again greets anew, and is told all that still counts."""
RETRY_S, RETRY_MOST_S = 0.01, 0.32
"""How soon a blocked route is tried again: a ROUTER does not tell which of its peers has room. A try costs some
7 µs, so each one in vain doubles the pause; a thousand stalled clients then cost 2% of a core."""
_WEIGH_BYTES = 16 * 1024**2
"""How much comes to a blocked route before what waits there is weighed anew."""


class _Route:
    __slots__ = (
        "added", "joiner", "name", "outbox", "pause_s", "result_bytes", "strange", "told", "unsent", "version"
    )  # fmt: skip

    def __init__(self, header: Header, name: str) -> None:
        self.name = name
        """What it is called in the log."""
        self.outbox = Outbox(header)
        self.joiner = Joiner()
        self.unsent: Frames | None = None
        """What the socket did not take; the route is blocked until it has."""
        self.added = 0
        """Bytes that came while it was blocked, since what waits was weighed last."""
        self.result_bytes = 0
        """What results take up that came while it was blocked, or that waited when they were weighed last."""
        self.told: set[tuple[bytes, int]] = set()
        """Those results, by task and attempt: sent again, they wait here no second time."""
        self.pause_s = RETRY_S
        """How soon it is tried again if it is still blocked then."""
        self.version = GREETING_VERSION
        """That of the wire, as it was agreed."""
        self.strange = StrangeVerbs()

    def weigh(self, messages: Sequence[Message]) -> bool:
        """Take note of what is to wait as well; return whether nothing is to wait here any more."""
        self.added += sum(map(weight, messages))
        if self.added < _WEIGH_BYTES:
            return False
        self.added = 0
        return self.outbox.waiting().others > MAX_WAITING_BYTES


class Routes:
    """All routes of a node, flushed once a turn of the loop. ``on_gone`` is told of a route that leads nowhere.

    ``has_caller`` tells whether somebody has greeted over a route. One without a caller is kept only until what
    it is told has been sent, and large payloads that come over it are not joined: a stranger costs no memory.
    ``result_bytes`` is what results on blocked routes may take up, one route half of it. Past this they are left
    out: they are sent again until they are acknowledged. The threat: peers that acknowledge what they do not read.
    """

    def __init__(
        self,
        header: Header,
        on_gone: Callable[[bytes], None],
        has_caller: Callable[[bytes], bool],
        result_bytes: int,
    ) -> None:
        self._header = header
        self._most = result_bytes
        self._result_bytes = 0
        """Of all blocked routes."""
        self._on_gone = on_gone
        self._has_caller = has_caller
        self._routes: dict[bytes, _Route] = {}
        self.dirty: set[bytes] = set()
        """Those on which something waits; but for them and those that are blocked, ``flush`` has nothing to do."""
        self._blocked: Timers[bytes] = Timers()
        """When each route is tried again that the socket took no more for. None of them is dirty."""
        self.retry_at: float | None = None
        """When ``flush`` is due for routes that are blocked, None where none is."""

    def decode(self, route: bytes, frames: Sequence[Buffer]) -> Incoming | None:
        """Return what came over a route, or None for what is malformed, which is logged.

        What is of a version or of verbs that are not known here is answered with REFUSED.
        """
        try:
            known = self._routes.get(route)
            joiner = known.joiner if known is not None and self._has_caller(route) else self._joiner(route)
            incoming = decode(frames, joiner)
            if incoming.unknown:
                self._refuse(route, incoming.unknown)
            return incoming
        except UnsupportedVersion as error:
            log.warning("refused a message from %s: %s", route.hex(), error)
            self.send(route, [refuse_client(error.version, error.version)])
        except RemoteProtocolError as error:
            log.warning("dropped a message from %s: %s", route.hex(), error)
        return None

    def _refuse(self, number: bytes, verbs: Sequence[int]) -> None:
        route = self._route(number)
        if route is not None:
            self.send(number, route.strange.refuse(verbs))

    def speak(self, number: bytes, version: int) -> None:
        """Send what follows over a route in the version that was agreed."""
        route = self._route(number)
        if route is not None:
            route.version = version
            route.outbox.speak(version)

    def version(self, number: bytes) -> int:
        """Return the version that is spoken on a route."""
        route = self._routes.get(number)
        return GREETING_VERSION if route is None else route.version

    def send(self, route: bytes, messages: Sequence[Message]) -> None:
        """Queue messages for a route; ``flush`` sends them. They are dropped where there is no room for it."""
        known = self._routes.get(route) or self._route(route)
        if known is None:
            return
        if known.unsent is None:
            self.dirty.add(route)
        else:
            messages = self._admit(known, messages)
            if known.weigh(messages):
                log.warning("dropped the connection %s: nobody reads what is sent there", route.hex())
                self._lose(route)
                return
        known.outbox.extend(messages)

    def _admit(self, route: _Route, messages: Sequence[Message]) -> list[Message]:
        """Return what is to wait on a blocked route as well: no result twice, and none where many wait."""
        admitted: list[Message] = []
        for message in messages:
            if type(message) is Result:
                key = message.task, message.attempt
                if key in route.told or self._has_enough(route):
                    continue
                route.told.add(key)
                self._count(route, route.result_bytes + payload_size(message.payload))
            admitted.append(message)
        return admitted

    def _has_enough(self, route: _Route) -> bool:
        return route.result_bytes > self._most // 2 or (self._result_bytes > self._most and route.result_bytes > 0)

    def _count(self, route: _Route, result_bytes: int) -> None:
        self._result_bytes += result_bytes - route.result_bytes
        route.result_bytes = result_bytes

    def flush(self, sockets: NodeSockets) -> None:
        """Send what waits, as far as the socket takes it; blocked routes are tried when it is their time."""
        if self.retry_at is not None:
            self.dirty.update(self._blocked.pop_due(time.monotonic()))
            self.retry_at = self._blocked.next_deadline()
        while self.dirty:
            number = self.dirty.pop()
            route = self._routes.get(number)
            if route is None:
                continue
            verdict = self._flush(route, number, sockets)
            if verdict == "gone":
                self._lose(number)
            elif verdict == "sent" and not self._has_caller(number):
                self.drop(number)

    def drop(self, number: bytes) -> None:
        """Forget a route, with all that waits on it."""
        route = self._routes.pop(number, None)
        if route is not None:
            self._count(route, 0)
        self.dirty.discard(number)
        if self.retry_at is not None:
            self._blocked.cancel(number)
            self.retry_at = self._blocked.next_deadline()

    def _lose(self, number: bytes) -> None:
        self.drop(number)
        self._on_gone(number)

    def leave(self, number: bytes) -> None:
        """Drop a route whose caller has left, as soon as what waits on it has been sent."""
        if number not in self.dirty and self._blocked.get(number) is None:
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
            route = self._routes[number] = _Route(self._header, number.hex())
        return route

    def _flush(self, route: _Route, number: bytes, sockets: NodeSockets) -> str:
        """Send what waits on a route; return "sent" for all of it, "full" or "gone"."""
        frames = route.unsent or take(route.outbox, route.name)
        while frames is not None:
            verdict = sockets.send(number, frames)
            if verdict == "full":
                route.unsent = frames
                self._wait(route, number)
            if verdict != "sent":
                return verdict
            route.unsent, route.pause_s = None, RETRY_S
            frames = take(route.outbox, route.name) if route.outbox else None
        if route.told:
            route.told.clear()
            self._count(route, 0)
        return "sent"

    def _wait(self, route: _Route, number: bytes) -> None:
        """Have a blocked route tried again; each time in vain the pause is doubled."""
        self._blocked.set(number, time.monotonic() + route.pause_s)
        self.retry_at = self._blocked.next_deadline()
        if route.pause_s == RETRY_S and self._has_enough(route):  # some was sent just now
            self._count(route, route.outbox.waiting().payloads)
        route.pause_s = min(2 * route.pause_s, RETRY_MOST_S)
