"""The virtual network: connections between clients and nodes, and all that may go wrong with them.

Two kinds of transport. ``tcp`` is what meshq runs on: a connection keeps the order and loses nothing, a cut
holds back what is sent until it heals or, after 6 to 8 s, breaks the connection; of what was on its way then
a part arrives, even after the next connection was made. ``udp`` is harsher than any real transport: on top of
that each message may be lost, doubled or late, and a cut swallows what is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from meshq.protocol.envelope import Header, Incoming, decode
from meshq.protocol.messages import Message
from meshq.testing.agenda import Agenda
from meshq.testing.connection import Connection, Direction, Lane, Packet, Port
from meshq.testing.process import Process

Transport = Literal["tcp", "udp"]

# ZMTP heartbeats notice a silent peer between these.
_BREAK_S = (6.0, 8.0)
_RECONNECT_S = 0.2
_RECONNECT_MAX_S = 5.0
_RETRANSMIT_S = 0.05


@dataclass
class Rough:
    """Probabilities of what ``udp`` does to a message, and the seconds by which one may be late."""

    loss: float = 0.02
    duplicate: float = 0.02
    late: float = 0.02
    late_s: float = 2.0


class Network:
    """Carries packets between processes. Faults: ``cut``, ``heal``, ``break_all``, ``power_off``, ``rough``."""

    def __init__(self, agenda: Agenda, seed: int, transport: Transport, encode: bool) -> None:
        self._agenda = agenda
        self._seed = seed
        self._transport = transport
        self._encode = encode
        self.rough = Rough()
        self.delay_s = (0.0001, 0.005)
        self.spike = 0.002
        """The probability of a delay of up to a quarter of a second."""
        self._rngs: dict[tuple[str, str], Random] = {}
        self._ports: dict[str, Port] = {}
        self._dark: set[str] = set()
        self._cuts: dict[tuple[str, str], float] = {}
        self._connections: dict[bytes, Connection] = {}
        self._last_route = 0

    # ------------------------------------------------------------------ faults

    def cut(self, sender: str, receiver: str) -> None:
        """Let nothing through this way, until ``heal``."""
        if (sender, receiver) in self._cuts:
            return
        since = self._cuts[sender, receiver] = self._agenda.now
        wait = self._rng(sender, receiver).uniform(*_BREAK_S)
        self._agenda.later(wait, lambda: self._break_if_cut(sender, receiver, since))

    def heal(self) -> None:
        """End all cuts; what was held back arrives."""
        self._cuts.clear()
        for connection in list(self._connections.values()):
            for direction in (connection.up, connection.down):
                held, direction.held = direction.held, []
                for packet in held:
                    self._fly(connection, direction, packet, _RETRANSMIT_S)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether something is cut between two hosts, either way."""
        return (one, other) in self._cuts or (other, one) in self._cuts

    def break_all(self, process: Process) -> None:
        """Break the connections of a process, as a router that forgets them does; they are made anew."""
        for connection in list(self._connections.values()):
            if process in (connection.lane.owner, connection.node):
                self._break(connection)

    def break_if_frozen(self, process: Process) -> None:
        """Break the connections of a process that has been frozen, if it still is when heartbeats notice."""

        def check() -> None:
            if process.frozen and process.alive:
                self.break_all(process)

        self._agenda.later(self._rng(process.host, process.host).uniform(*_BREAK_S), check)

    def power_off(self, host: str) -> None:
        """Take a host off the network: it refuses nothing any more, it is just silent."""
        self._dark.add(host)

    # ------------------------------------------------------------------ ends

    def listen(self, endpoint: str, port: Port) -> None:
        """Let a node be found at an endpoint."""
        self._ports[endpoint] = port
        self._dark.discard(port.host)

    def leave(self, process: Process, *, silent: bool = False) -> None:
        """Take a process off the network; unless ``silent``, its peers are told that connections are closed."""
        for connection in list(self._connections.values()):
            if process not in (connection.lane.owner, connection.node):
                continue
            if silent:
                wait = self._rng(process.host, process.host).uniform(*_BREAK_S)
                self._agenda.later(wait, lambda c=connection: self._break(c))  # type: ignore[misc]
            else:
                self._break(connection)

    def dial(self, lane: Lane, failures: int = 0) -> None:
        """Connect a lane, again and again until that works or it is closed."""
        port = self._ports.get(lane.endpoint)
        host = lane.endpoint.rpartition(":")[0]
        rng = self._rng(lane.owner.host, host)
        if lane.closed or not lane.owner.alive:
            return
        pause = min(_RECONNECT_S * 2.0**failures, _RECONNECT_MAX_S)
        blocked = self.is_cut(lane.owner.host, host) or host in self._dark
        if not blocked and port is not None and port.alive and not port.frozen:
            self._agenda.later(2 * rng.uniform(*self.delay_s), lambda: self._connect(lane, port, failures))
            return
        if not blocked and (port is None or not port.alive):
            self._agenda.later(rng.uniform(*self.delay_s), lambda: lane.owner.post(lane.on_refused))
        self._agenda.later(pause, lambda: self.dial(lane, failures + 1))

    def _connect(self, lane: Lane, port: Port, failures: int) -> None:
        if lane.closed or not lane.owner.alive:
            return
        if not port.alive or self.is_cut(lane.owner.host, port.host):
            self.dial(lane, failures + 1)
            return
        self._last_route += 1
        route = self._last_route.to_bytes(5, "big")
        connection = self._connections[route] = Connection(route, lane, port)
        lane.owner.post(lambda: None if lane.closed or not connection.open else lane.on_up(connection))

    def hang_up(self, connection: Connection) -> None:
        """Close a connection from the client's side: nothing more comes down, a part of what was sent goes up."""
        self._break(connection, notify=False)

    # ------------------------------------------------------------------ packets

    def send_up(self, connection: Connection, header: Header, messages: list[Message]) -> None:
        """Send from the client to the node."""
        self._send(connection, connection.up, header, messages)

    def send_down(self, connection: Connection, header: Header, messages: list[Message]) -> None:
        """Send from the node to the client."""
        self._send(connection, connection.down, header, messages)

    def _send(self, connection: Connection, direction: Direction, header: Header, messages: list[Message]) -> None:
        for wait, group in self._fates(direction, messages):
            for content in self._pack(direction, header, group):
                direction.sent += 1
                packet = Packet(direction.sent, content)
                if direction.path not in self._cuts:
                    self._fly(connection, direction, packet, wait)
                elif self._transport == "tcp":
                    direction.held.append(packet)

    def _fates(self, direction: Direction, messages: list[Message]) -> Iterator[tuple[float, list[Message]]]:
        """Yield what becomes of messages sent together: the extra seconds they take, and which of them."""
        if self._transport == "tcp":
            yield 0.0, messages
            return
        rough, rng = self.rough, self._rng(*direction.path)
        together: list[Message] = []
        for message in messages:
            fate = rng.random()
            if fate < rough.loss:
                continue
            if fate < rough.loss + rough.late:
                yield rng.uniform(0.0, rough.late_s), [message]
                continue
            together.append(message)
            if fate < rough.loss + rough.late + rough.duplicate:
                yield rng.uniform(0.0, rough.late_s), [message]
        if together:
            yield 0.0, together

    def _pack(self, direction: Direction, header: Header, messages: list[Message]) -> Iterator[Any]:
        if not self._encode:
            yield Incoming(header, messages, [])
            return
        direction.outbox.address(header)
        for message in messages:
            direction.outbox.add(message)
        while (frames := direction.outbox.take()) is not None:
            yield [bytes(frame) for frame in frames]

    def _fly(self, connection: Connection, direction: Direction, packet: Packet, wait: float) -> None:
        rng = self._rng(*direction.path)
        wait += rng.uniform(*self.delay_s)
        if rng.random() < self.spike:
            wait += rng.uniform(0.0, 0.25)
        at = self._agenda.now + wait
        if self._transport == "tcp":
            at = direction.last_at = max(at, direction.last_at)
        self._agenda.at(at, lambda: self._arrive(connection, direction, packet))

    def _arrive(self, connection: Connection, direction: Direction, packet: Packet) -> None:
        if direction.survivors is not None and packet.number > direction.survivors:
            return
        direction.arrived += 1
        content = packet.content
        incoming = content if isinstance(content, Incoming) else decode(content, direction.joiner)
        if not incoming.messages:
            return  # a piece of a large payload
        if direction is connection.up:
            connection.node.post(lambda: connection.node.on_packet(connection, incoming))
        else:
            lane = connection.lane
            lane.owner.post(lambda: None if lane.closed else lane.on_packet(incoming))

    # ------------------------------------------------------------------ breaking

    def _break_if_cut(self, sender: str, receiver: str, since: float) -> None:
        if self._cuts.get((sender, receiver)) != since:
            return
        for connection in list(self._connections.values()):
            if {connection.lane.owner.host, connection.node.host} == {sender, receiver}:
                self._break(connection)

    def _break(self, connection: Connection, notify: bool = True) -> None:
        if self._connections.pop(connection.route, None) is None:
            return
        connection.open = False
        lane = connection.lane
        rng = self._rng(lane.owner.host, connection.node.host)
        for direction in (connection.up, connection.down):
            flown = direction.sent - len(direction.held)
            direction.survivors = rng.randint(min(direction.arrived, flown), flown)
            direction.held.clear()
        if notify and not lane.closed:
            lane.owner.post(lambda: None if lane.closed else lane.on_down(connection))
            self._agenda.later(_RECONNECT_S, lambda: self.dial(lane))

    def _rng(self, sender: str, receiver: str) -> Random:
        # One for each way, so that the order in which a process serves its peers changes nothing.
        rng = self._rngs.get((sender, receiver))
        if rng is None:
            rng = self._rngs[sender, receiver] = Random(f"{self._seed}:{sender}>{receiver}")
        return rng
