"""A controller's sockets: one XPUB to all nodes, a DEALER to each for the replies, and the commands under way.

Both are opened when the first command is given, and kept. Commands are published; who is listening is known
from the subscriptions that come in, and whoever is not gets the command over its DEALER.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, assert_never

import msgpack
import zmq

from meshq.control.matching import matches
from meshq.core.broadcast import (
    AUTHENTICATION_REFUSED,
    UNREACHABLE,
    Answered,
    Broadcast,
    BroadcastEffect,
    BroadcastEvent,
    Deliver,
    Excused,
    Expected,
    Finish,
    LaneProblem,
    LaneUp,
    Publish,
    SendDirect,
    Subscribed,
)
from meshq.core.candidates import Absent
from meshq.core.timers import earliest
from meshq.errors import ConfigError
from meshq.protocol.envelope import Header, Outbox
from meshq.protocol.messages import Command, Hello, HelloAck, Message, Refused, Reply
from meshq.transport.keys import MeshKey
from meshq.transport.links import Links
from meshq.transport.loop import Loop
from meshq.transport.publisher import Publisher

log = logging.getLogger("meshq.control")

TOPIC_ALL = b"all"
_TOPIC_NODE = b"n:"
_CLOSED = "the mesh was closed"
_UNKNOWN = -1
"""What ``changes`` never is."""
ENDING = "shutdown"
"""The command after which nodes are gone."""

MAX_ABSENT = 1_000
"""The threat: a spoofer who announces nodes that are not there, each of which a command would wait for."""


def topic_of(node: bytes) -> bytes:
    """Return the topic that only this node subscribes to."""
    return _TOPIC_NODE + node


class Reach(NamedTuple):
    """How a node is reached: where its ROUTER answers, and the port of its SUB on the same host.

    ``left``: it has said that it would end, and is reached no more.
    """

    node: bytes
    incarnation: int
    name: str
    endpoint: str
    control_port: int
    left: bool = False


class Whom(Protocol):
    """Whom a controller knows; for the loop's thread."""

    @property
    def changes(self) -> int:
        """A number that grows whenever ``absent`` or ``reaches`` may have something else to say."""

    def reaches(self) -> list[Reach]:
        """Return the nodes that answer."""

    def absent(self) -> list[Absent]:
        """Return the nodes that should be there and do not answer."""


class _Running(NamedTuple):
    command: Command
    machine: Broadcast
    on_reply: Callable[[str, Any], None]
    on_finish: Callable[[dict[str, str]], None]


class ControlLanes:
    """The control side of a client, on the client's own loop; for the loop's thread alone."""

    def __init__(
        self,
        loop: Loop,
        context: zmq.Context[zmq.Socket[bytes]],
        key: MeshKey | None,
        hello: Hello,
        whom: Whom,
    ) -> None:
        self._hello = hello._replace(lane="control")
        self._whom = whom
        self._links = Links(loop, context, key, self._hello, self._on_messages, self._on_link_event, keeps=True)
        self._publisher = Publisher(loop, context, key, self._on_subscription)
        self._numbers = itertools.count(1)
        self._reach_of: dict[int, Reach] = {}
        self._link_of: dict[bytes, int] = {}
        self._broken: set[bytes] = set()
        """Nodes whose lane could not be opened; ``refresh`` tries again."""
        self._up: set[bytes] = set()
        self._subscribed: set[bytes] = set()
        self._absent: dict[bytes, Absent] = {}
        self._changes = _UNKNOWN
        self._running: dict[bytes, _Running] = {}

    def begin(
        self,
        command: Command,
        *,
        timeout: float,
        limit: int | None,
        gather: bool,
        on_reply: Callable[[str, Any], None],
        on_finish: Callable[[dict[str, str]], None],
    ) -> None:
        """Give a command; ``on_finish`` is called once, with the missing, after the last ``on_reply``."""
        self.refresh()
        known = {each.node: each.name for each in self._absent.values()}
        known |= {reach.node: reach.name for reach in self._reach_of.values() if not reach.left}
        expected = {node: name for node, name in known.items() if _is_meant(name, command)}
        machine = Broadcast(
            command.command, expected, now=time.monotonic(), timeout=timeout, limit=limit,
            reply=command.reply, gather=gather, ends=command.name == ENDING,
        )  # fmt: skip
        self._running[command.command] = running = _Running(command, machine, on_reply, on_finish)
        for node in self._subscribed:
            self._tell(running, Subscribed(node))
        for node in self._up:
            self._tell(running, LaneUp(node))
        for node in self._broken:
            self._tell(running, LaneProblem(node, UNREACHABLE))
        for absent in self._absent.values():
            self._tell(running, LaneProblem(absent.node, _reason(absent)))

    def refresh(self) -> None:
        """Open lanes to nodes that have come, and close those to nodes that are gone."""
        reaches = {reach.node: reach for reach in self._whom.reaches()}
        for node, number in self._link_of.items():
            if node in reaches:
                self._reach_of[number] = self._reach_of[number]._replace(left=reaches[node].left)
        left = {reach.node for reach in self._reach_of.values() if reach.left}
        # Who has left may still have an answer on its way, until its lane has broken as well.
        gone = [node for node in self._link_of if node not in reaches or (node in left and node not in self._up)]
        for node in [*gone, *self._broken & (reaches.keys() - gone)]:
            self._close_lane(node)
        for node, reach in reaches.items():
            if node not in self._link_of and not reach.left:
                self._open_lane(reach)
        self._look_for_absent()
        for node in gone:
            if node in left or node not in self._absent:  # who is absent is missed
                self._tell_all(Excused(node, node in left))

    def step(self) -> None:
        """Do what is due, and send what waits; to be called after each turn of the loop."""
        if self._running and self._changes != self._whom.changes:
            self.refresh()
        now = time.monotonic()
        for running in list(self._running.values()):
            due = running.machine.next_deadline()
            if due is not None and due <= now:
                self._apply(running, running.machine.tick(now))
        self._links.flush()

    def timeout(self) -> float | None:
        """Return how long the next turn of the loop may last, in seconds."""
        due = earliest(*(running.machine.next_deadline() for running in self._running.values()))
        return None if due is None else max(0.0, due - time.monotonic())

    def close(self) -> None:
        """Close all sockets; commands under way end, and miss who has not answered."""
        for running in list(self._running.values()):
            running.on_finish(dict.fromkeys(running.machine.silent, _CLOSED))
        self._running.clear()
        self._links.close()
        self._publisher.close()

    # ------------------------------------------------------------------ lanes

    def _look_for_absent(self) -> None:
        """Expect an answer of those too who should be there, and of nobody who is known to be no more."""
        self._changes = self._whom.changes
        before = self._absent
        absent = [each for each in self._whom.absent() if each.node not in self._link_of]
        self._absent = {each.node: each for each in absent[:MAX_ABSENT]}
        for each in self._absent.values():
            if before.get(each.node) != each:
                self._expect(each.node, each.name)
                self._tell_all(LaneProblem(each.node, _reason(each)))
        for node in before.keys() - self._absent.keys() - self._link_of.keys():
            self._tell_all(Excused(node))

    def _expect(self, node: bytes, name: str) -> None:
        for running in list(self._running.values()):
            if _is_meant(name, running.command):
                self._tell(running, Expected(node, name))

    def _open_lane(self, reach: Reach) -> None:
        number = next(self._numbers)
        self._reach_of[number] = reach
        self._link_of[reach.node] = number
        self._expect(reach.node, reach.name)
        try:
            self._links.dial(number, reach.endpoint)
            self._publisher.connect(_control_endpoint(reach))
        except ConfigError as error:
            log.warning("no control lane to %s: %s", reach.name, error)
            self._break_lane(reach.node, UNREACHABLE)

    def _break_lane(self, node: bytes, reason: str) -> None:
        self._broken.add(node)
        self._tell_all(LaneProblem(node, reason))

    def _close_lane(self, node: bytes) -> None:
        self._links.catch_up(self._link_of[node])  # a last answer may have come in this very turn
        number = self._link_of.pop(node)
        reach = self._reach_of.pop(number)
        self._up.discard(node)
        self._broken.discard(node)
        self._subscribed.discard(node)
        self._links.hang_up(number)
        self._publisher.disconnect(_control_endpoint(reach))
        self._tell_all(LaneProblem(node, UNREACHABLE))

    def _on_link_event(self, number: int, event: str, text: str) -> None:
        reach = self._reach_of.get(number)
        if reach is None:
            return
        if event == "connected":
            self._links.greet(number)
        elif not self._links.is_dialled(number):
            self._break_lane(reach.node, UNREACHABLE)
        else:
            self._up.discard(reach.node)
            self._changes = _UNKNOWN  # if it has left, it is gone now
            reason = AUTHENTICATION_REFUSED if event == "auth" else UNREACHABLE
            self._tell_all(LaneProblem(reach.node, reason))

    def _on_messages(self, number: int, messages: list[Message]) -> None:
        reach = self._reach_of.get(number)
        if reach is None:
            return
        for message in messages:
            if isinstance(message, HelloAck) and message.node == reach.node:
                self._links.address(number, message)
                self._up.add(message.node)
                self._broken.discard(message.node)
                self._tell_all(LaneUp(message.node))
            elif isinstance(message, Reply) and message.node == reach.node:  # no node answers for another
                self._on_reply(message, reach.name)
            elif isinstance(message, Refused) and message.code == "stale" and reach.node in self._up:
                self._up.discard(reach.node)  # it has forgotten us; its answer to the greeting brings the lane up
                self._links.greet(number)

    def _on_reply(self, reply: Reply, name: str) -> None:
        running = self._running.get(reply.command)
        if running is not None:
            try:
                value = msgpack.unpackb(reply.value, strict_map_key=False)
            except (ValueError, TypeError, msgpack.UnpackException) as error:  # a key that is a list
                value = {"error": f"the reply cannot be read: {error}"}
            self._tell(running, Answered(reply.node, name, value))

    def _on_subscription(self, topic: bytes, subscribed: bool) -> None:
        if not topic.startswith(_TOPIC_NODE):
            return
        node = topic[len(_TOPIC_NODE) :]
        if subscribed:
            self._subscribed.add(node)
            self._tell_all(Subscribed(node))
        else:
            self._subscribed.discard(node)

    # ------------------------------------------------------------------ commands

    def _tell_all(self, event: BroadcastEvent) -> None:
        for running in list(self._running.values()):
            self._tell(running, event)

    def _tell(self, running: _Running, event: BroadcastEvent) -> None:
        self._apply(running, running.machine.handle(event, time.monotonic()))

    def _apply(self, running: _Running, effects: list[BroadcastEffect]) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(running.command)
                case SendDirect(node):
                    self._links.send(self._link_of[node], [running.command])
                case Deliver(_, name, value):
                    running.on_reply(name, value)
                case Finish(missing):
                    del self._running[running.command.command]
                    running.on_finish(missing)
                case _:
                    assert_never(effect)

    def _publish(self, command: Command) -> None:
        outbox = Outbox(Header(self._hello.client))
        outbox.add(command)
        frames = outbox.take()
        assert frames is not None
        self._publisher.publish(TOPIC_ALL, frames)


def _is_meant(name: str, command: Command) -> bool:
    return matches(name, command.destination, command.pattern)


def _reason(absent: Absent) -> str:
    return absent.text or (AUTHENTICATION_REFUSED if absent.code == "auth" else UNREACHABLE)


def _control_endpoint(reach: Reach) -> str:
    address, _, _ = reach.endpoint.rpartition(":")
    return f"{address}:{reach.control_port}"
