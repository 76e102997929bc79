"""The network side of a node: who greets it, who is sent what, and where it is announced."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshq.config import Settings
from meshq.control.lanes import TOPIC_ALL, topic_of
from meshq.core.callers import Caller, Callers
from meshq.errors import ConfigError, RemoteProtocolError
from meshq.protocol.envelope import Header, decode
from meshq.protocol.messages import PROTOCOL_VERSION, Command, Hello, HelloAck, Message, Refused
from meshq.protocol.parts import Joiner
from meshq.protocol.versions import agreed
from meshq.transport.addresses import is_loopback, reachable_addresses
from meshq.transport.auth import Authenticator
from meshq.transport.discovery import Candidate, mesh_hash
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.loop import Loop
from meshq.transport.routes import Routes
from meshq.transport.server import NodeSockets
from meshq.transport.sockets import Context

if TYPE_CHECKING:
    from meshq.transport.mdns import Mdns, MdnsAnnouncer

log = logging.getLogger("meshq.node")

MAX_EARLY = 10_000
"""The threat: peers that greet over ever more connections while a node still loads its modules. Who is not noted
down gets no answer, and greets again over its next connection."""

_LONGEST_HOST = 64

OPEN_HINT = (
    "make a key with 'meshq key new' and copy it to each host, or pass --insecure to let anybody "
    "who reaches the port run tasks"
)


def bind_host(settings: Settings, key: MeshKey | None) -> str:
    """Return where to bind: without a key, loopback only. Raises ``ConfigError``."""
    if settings.bind is None:
        return "0.0.0.0" if key is not None or settings.insecure else "127.0.0.1"
    if key is None and not settings.insecure and not is_loopback(settings.bind):
        source = settings.origins.get("bind", "--bind")
        raise ConfigError(f"{source}: without a key a node binds loopback only, not {settings.bind}: {OPEN_HINT}")
    return settings.bind


class Listening:
    """Binds the node's sockets, greets clients, and keeps what is sent to each.

    ``on_work`` gets what a client's work lane says, ``on_command`` each control command, ``on_greeted`` a client
    whose work lane is up, with its role and a name for people, ``on_lost`` one whose work lane is down.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        settings: Settings,
        key: MeshKey | None,
        identity: HelloAck,
        *,
        on_work: Callable[[bytes, list[Message]], None],
        on_command: Callable[[Command], None],
        on_greeted: Callable[[bytes, str, str], None],
        on_lost: Callable[[bytes], None],
    ) -> None:
        self.host = bind_host(settings, key)
        self._settings = settings
        self._key = key
        self._on_work = on_work
        self._on_command = on_command
        self._on_greeted = on_greeted
        self._on_lost = on_lost
        self._node, self._incarnation = identity.node, identity.incarnation
        self._callers = Callers(settings.mesh)
        self._routes = Routes(
            Header(identity.node, b"", identity.incarnation),
            self._on_gone,
            self._callers.is_known,
            settings.hold_bytes // 4,
        )
        self._early: dict[bytes, tuple[str, Hello]] = {}
        """Greetings that came before the node was ready, by route."""
        self._labels: dict[bytes, tuple[str, str]] = {}
        """The role and the label of each client, as it greeted last: of no more than there may be callers."""
        self._ready = False
        self._mdns: Mdns | None = None
        self._announcer: MdnsAnnouncer | None = None
        self._withdrawn = False
        self._authenticator = None if key is None else Authenticator(context, key)
        try:
            self._sockets = NodeSockets(
                loop, context, self.host, settings.port, key, self._on_frames, self._on_broadcast
            )
        except ConfigError:
            if self._authenticator is not None:
                self._authenticator.close()
            raise
        self._sockets.subscribe(TOPIC_ALL)
        self._sockets.subscribe(topic_of(identity.node))
        self.ack = identity._replace(control_port=self._sockets.control_port)

    @property
    def address(self) -> tuple[str, int]:
        """Where the ROUTER is bound."""
        return self.host, self._sockets.port

    @property
    def port(self) -> int:
        """The port of the ROUTER."""
        return self._sockets.port

    # ------------------------------------------------------------------ ready, and leaving

    def open(self, ack: HelloAck) -> None:
        """Answer greetings from now on, and announce the node as soon as it is on the air."""
        self.ack = ack._replace(control_port=self._sockets.control_port, peers=self.ack.peers)
        self._ready = True
        early, self._early = self._early, {}
        for route, (user, hello) in early.items():
            self._greet(route, user, hello)
        if self._mdns is not None and not self._withdrawn:
            self._announce(self._mdns)

    def go_on_air(self, mdns: Mdns) -> None:
        """Announce the node by this, as soon as it answers greetings; what it is made of is closed later."""
        self._mdns = mdns
        if self._ready and not self._withdrawn:
            self._announce(mdns)

    def name_peers(self, peers: list[list[Any]]) -> None:
        """Name these nodes to whoever greets from now on."""
        self.ack = self.ack._replace(peers=peers)

    def resize(self, slots: int) -> None:
        """Tell those who are connected, and whoever greets from now on, how many slots there are."""
        self.ack = self.ack._replace(slots=slots)
        for route, greeting in self._callers.answered("work"):
            version = self._routes.version(route)
            self._routes.send(route, [self.ack._replace(version=version, greeting=greeting)])

    def drain(self) -> None:
        """Say in greetings that nothing new is taken; the node stays announced, so that it can be found."""
        self.ack = self.ack._replace(draining=True)

    def withdraw(self) -> None:
        """Announce the node no more; those who are connected stay."""
        self._withdrawn = True
        if self._announcer is not None:
            self._announcer.close()

    def close(self, linger_s: float = 0.0) -> None:
        """Close the sockets; what was flushed may still go out for so long."""
        self._sockets.close(linger_s)
        if self._announcer is not None:
            self._announcer.close()
        if self._authenticator is not None:
            self._authenticator.close()

    def _announce(self, mdns: Mdns) -> None:
        from meshq.transport.mdns import MdnsAnnouncer

        candidate = Candidate(
            "mdns",
            self.ack.node.hex(),
            self.ack.name,
            self.ack.host,
            tuple(reachable_addresses(self.host)),
            self._sockets.port,
            self._sockets.control_port,
            mesh_hash(self._settings.mesh),
            fingerprint(self._key) if self._key is not None else "",
            str(self.ack.version),
        )
        self._announcer = MdnsAnnouncer(candidate, self.host, mdns)
        self._announcer.start()

    # ------------------------------------------------------------------ out

    def send(self, client: bytes, messages: Sequence[Message], lane: str = "work") -> bool:
        """Queue messages for a client; return whether it is connected. ``flush`` sends them."""
        route = self._callers.route(client, lane)
        if route is not None:
            self._routes.send(route, messages)
        return route is not None

    def flush(self) -> bool:
        """Send what waits; return whether something still does."""
        routes = self._routes
        if routes.dirty or routes.retry_at is not None:
            routes.flush(self._sockets)
        return routes.retry_at is not None

    @property
    def retry_at(self) -> float | None:
        """When ``flush`` is due for what the sockets did not take, None where that is nothing."""
        return self._routes.retry_at

    def forget(self, client: bytes) -> None:
        """Forget a client that has left, and its connections as soon as what it is told has been sent."""
        self._labels.pop(client, None)
        for route in self._callers.forget(client):
            self._routes.leave(route)

    def _on_gone(self, route: bytes) -> None:
        caller = self._callers.drop(route)
        if caller is not None and caller.lane == "work":
            self._on_lost(caller.client)

    # ------------------------------------------------------------------ in

    def _on_frames(self, route: bytes, frames: list[bytes], user: str) -> None:
        incoming = self._routes.decode(route, frames)
        if incoming is None:
            return
        header, messages, _ = incoming
        first = messages[0] if messages else None
        if type(first) is Hello:
            self._greet(route, user, first)
            return
        caller = self._callers.who(route)
        if caller is None or header.destination != self._node or header.incarnation != self._incarnation:
            if self._ready:
                self._routes.send(route, [Refused("stale", "greet this node first: it is not the one you knew")])
            return
        moved = self._callers.use(route)
        if caller.lane == "control":
            self._on_control(caller, messages)
            return
        if moved:
            # What was said over the other connection may be lost.
            self._on_greeted(caller.client, *self._labels[caller.client])
        self._on_work(caller.client, messages)

    def _greet(self, route: bytes, user: str, hello: Hello) -> None:
        if not self._ready:
            if route in self._early or len(self._early) < MAX_EARLY:
                self._early[route] = (user, hello)
            return
        if not self._routes.has_room(route):
            log.warning("ignored a client on %s: there are as many connections as this node takes", hello.host)
            return
        refusal = self._callers.greet(route, user, hello)
        if refusal is not None:
            log.info("refused a client on %s: %s", hello.host, refusal.text)
            self._routes.send(route, [refusal])
            return
        version = agreed(hello)
        assert version is not None  # else it was refused
        self._routes.speak(route, version)
        self._routes.send(route, [self.ack._replace(version=version, greeting=hello.greeting)])
        if hello.lane == "work":
            self._labels[hello.client] = hello.role, _label(hello)
            self._on_greeted(hello.client, *self._labels[hello.client])

    def _on_control(self, caller: Caller, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Command) and message.client == caller.client:
                self._on_command(message)

    def _on_broadcast(self, frames: list[bytes]) -> None:
        try:
            incoming = decode(frames, Joiner())
        except RemoteProtocolError as error:
            log.warning("dropped a control broadcast: %s", error)
            return
        for message in incoming.messages:
            if isinstance(message, Command):
                self._on_command(message)


def _label(hello: Hello) -> str:
    """Return a name for a client that people can make something of; its host may be any text."""
    host = hello.host[:_LONGEST_HOST]
    return f"pid {hello.pid} on {host}" if host.isprintable() else f"pid {hello.pid}"


def identity(settings: Settings, name: str, host: str, key: MeshKey | None, node: bytes) -> HelloAck:
    """Return what the node says of itself before its functions are known."""
    serializers = ["msgpack", "json", "raw"]
    if settings.allow_pickle:
        if key is None:
            raise ConfigError("--allow-pickle needs a mesh key, as pickle runs whatever it is sent: meshq key new")
        serializers.append("pickle")
    incarnation = int.from_bytes(os.urandom(7), "big") + 1
    return HelloAck(
        node, incarnation, PROTOCOL_VERSION, name, host, settings.slots, {}, serializers, list(settings.tags), [],
        key is not None,
    )  # fmt: skip
