"""The connections of a node to its peers, as their client: the heartbeats, and what is said over the work lane."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from meshq.core.membership import (
    Beat,
    Candidate,
    CandidateDropped,
    CandidateGone,
    CandidateSeen,
    Dial,
    DialSettings,
    Greet,
    Hangup,
    Heard,
    LeaveHeard,
    Membership,
    MembershipEvent,
    MembershipSettings,
    NodeBack,
    NodeChanged,
    NodeDead,
    NodeSuspect,
    NodeUp,
    NodeView,
    Rejected,
    Welcomed,
)
from meshq.core.presence import LINK_EVENTS
from meshq.protocol.messages import (
    Bye,
    ByeAck,
    Draining,
    Hello,
    HelloAck,
    Message,
    Ping,
    Refused,
    RevokedDigest,
    RevokedIds,
)
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.links import Links
from meshq.transport.loop import Loop
from meshq.transport.sockets import Context

log = logging.getLogger("meshq.node")

SETTINGS = MembershipSettings(
    beat_s=2.0,
    suspect_s=3.0,
    dead_s=4.0,
    together_stretch=1.0,
    follow=False,
    dial=DialSettings(connect_s=1.0, redial_lost_s=0.5),
)
"""No tasks depend on these beats, which all nodes send all the time; so they are slow. Nothing is lost by giving a
peer up too early, but a peer that was cut off must be told within two seconds of the healing what was revoked
meanwhile: TCP, whose pauses double, would by itself send again too late after more than some four seconds.
"""


class PeerLinks:
    """Keeps connected to the candidates that it is given.

    ``on_greeted(node)`` is called when a peer has answered a greeting, or has been silent and is back;
    ``on_said(node, message)`` for what it says of revoked ids.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        key: MeshKey | None,
        hello: Hello,
        on_greeted: Callable[[bytes], None],
        on_said: Callable[[bytes, RevokedDigest | RevokedIds], None],
    ) -> None:
        own_key = "" if key is None else fingerprint(key)
        self._membership = Membership(SETTINGS, random.Random(), own_key)
        self._links = Links(loop, context, key, hello, self._on_messages, self._on_link_event)
        self._on_greeted = on_greeted
        self._on_said = on_said
        self._link_of: dict[bytes, int] = {}
        self._node_of: dict[int, bytes] = {}
        self._leaving: set[bytes] | None = None
        self.touched = False
        """Whether something has happened since the last ``flush``."""
        self.changed = True
        """Whether a candidate may stand otherwise than before; to be reset by who has looked."""
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            Dial: lambda effect: self._links.dial(effect.link, effect.endpoint),
            Hangup: lambda effect: self._links.hang_up(effect.link),
            Greet: self._greet,
            Beat: lambda effect: self._links.send(effect.link, [Ping(effect.sequence)]),
            NodeUp: self._on_up,
            NodeDead: self._on_dead,
            NodeBack: lambda effect: self._on_greeted(effect.node_id),
            NodeSuspect: lambda _: None,
            NodeChanged: lambda _: None,
        }

    # ------------------------------------------------------------------ whom to be connected to

    def see(self, candidate: Candidate) -> None:
        """Dial a candidate, and dial it again whenever its node is lost."""
        self._handle(CandidateSeen(candidate))

    def lose(self, instance: str) -> None:
        """Take in that a candidate is no longer announced."""
        self._handle(CandidateGone(instance))

    def drop(self, instance: str) -> None:
        """Hang up whatever leads to a candidate."""
        self._handle(CandidateDropped(instance))

    def standing(self, instance: str) -> tuple[bytes | None, str]:
        """Return the node that a candidate has turned out to be, while it answers, and its last problem."""
        return self._membership.standing(instance)

    def nodes(self) -> list[NodeView]:
        """Return the peers that answer."""
        return self._membership.nodes()

    def connected(self) -> list[bytes]:
        """Return the ids of the peers that answer."""
        return list(self._link_of)

    # ------------------------------------------------------------------ what is said

    def say(self, node: bytes, messages: Sequence[Message]) -> None:
        """Tell a peer something, if it answers."""
        link = self._link_of.get(node)
        if link is not None:
            self._links.send(link, messages)
            self.touched = True

    def leave(self) -> None:
        """Say BYE to all peers."""
        self._leaving = set(self._link_of)
        for node in self._link_of:
            self.say(node, [Bye()])
        self._links.flush()

    @property
    def is_leaving(self) -> bool:
        """Whether a peer has not yet answered BYE."""
        return bool(self._leaving)

    def tick(self, now: float) -> None:
        """Do what is due."""
        due = self._membership.next_deadline()
        if due is not None and due <= now:
            self._apply(self._membership.tick(now))

    def flush(self) -> None:
        """Send what waits."""
        self._links.flush()
        self.touched = False

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._membership.next_deadline()

    def close(self) -> None:
        """Close all connections."""
        self._links.close()

    # ------------------------------------------------------------------ what comes in

    def _on_messages(self, link: int, messages: list[Message]) -> None:
        self._handle(Heard(link))
        for message in messages:
            self._on_message(link, message)

    def _on_message(self, link: int, message: Message) -> None:
        node = self._node_of.get(link)
        match message:
            case HelloAck():
                self._links.address(link, message.node, message.incarnation)
                self._handle(Welcomed(link, message))
                if self._node_of.get(link) == message.node:
                    self._on_greeted(message.node)
            case Refused(code, text) if code != "verb":
                self._handle(Rejected(link, code, text))
            case Draining():
                self._handle(LeaveHeard(link))
            case RevokedDigest() | RevokedIds() if node is not None:
                self._on_said(node, message)
            case ByeAck() if node is not None and self._leaving:
                self._leaving.discard(node)

    def _on_link_event(self, link: int, event: str, text: str) -> None:
        make = LINK_EVENTS.get(event)
        if make is not None:
            self._handle(make(link, text))

    def _handle(self, event: MembershipEvent) -> None:
        self.touched = True
        self._apply(self._membership.handle(event, time.monotonic()))

    def _apply(self, effects: Sequence[Any]) -> None:
        for effect in effects:
            self.changed |= type(effect) is not Beat
            self._effects[type(effect)](effect)

    def _greet(self, effect: Greet) -> None:
        if self._leaving is None:  # a HELLO after the BYE would undo it
            self._links.greet(effect.link)

    def _on_up(self, effect: NodeUp) -> None:
        self._link_of[effect.node_id] = effect.link
        self._node_of[effect.link] = effect.node_id
        log.debug("peer %s@%s is there", effect.ack.name, effect.ack.host)

    def _on_dead(self, effect: NodeDead) -> None:
        self._node_of.pop(self._link_of.pop(effect.node_id), None)
        if self._leaving:
            self._leaving.discard(effect.node_id)
        log.debug("peer %s is gone: %s", effect.node_id.hex(), effect.reason)
