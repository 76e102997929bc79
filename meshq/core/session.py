"""A client's two machines as one: membership says who is there, the owner decides what goes where.

The shell speaks of links, the owner of nodes; the session translates, so that the simulator and the real
client are wired by the same code. The client that a node is itself has that node at hand: it is reached over the
link ``HOME``, which nobody dials and membership knows nothing of.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple, TypeAlias

from meshq.core.accounts import Bond, NodeJoined
from meshq.core.events import Received, Send
from meshq.core.membership import (
    Beat,
    Dial,
    Greet,
    Hangup,
    Heard,
    LeaveHeard,
    Membership,
    MembershipEffect,
    MembershipEvent,
    NodeBack,
    NodeChanged,
    NodeDead,
    NodeSuspect,
    NodeUp,
    Rejected,
    Welcomed,
)
from meshq.core.owner import (
    NodeLost,
    NodeReturned,
    NodeSuspected,
    Owner,
    OwnerEffect,
    OwnerEvent,
    PurgeAnswered,
    RetryPlanned,
    Settle,
    WithdrawAnswered,
)
from meshq.core.owning import HandedOver
from meshq.core.timers import earliest
from meshq.protocol.messages import ByeAck, Draining, HelloAck, Message, Ping, Pong, Refused

_new = tuple.__new__
HEARD_S = 0.1
"""How often a link's traffic is told to membership as a sign of life: often enough for its verdicts."""

HOME = 0
"""The link to the node whose own client this is; those that are dialled count from 1."""

_OF_THE_NODE = frozenset({HelloAck, Refused, ByeAck, Draining, Pong})
"""Messages in which a node speaks of itself; all others are the owner's."""


class SendLink(NamedTuple):
    """Effect: send these messages over the link, in this order."""

    link: int
    messages: list[Message]


class Goodbye(NamedTuple):
    """Effect: the node has taken leave of this client."""

    node: bytes


class NodesChanged(NamedTuple):
    """Effect: a node has come or gone, or says something else of itself.

    ``returned`` is the one that had been silent and was heard again, if it is that.
    """

    returned: bytes | None = None


SessionEffect: TypeAlias = (
    Dial
    | Hangup
    | Greet
    | SendLink
    | Settle
    | WithdrawAnswered
    | PurgeAnswered
    | RetryPlanned
    | HandedOver
    | Goodbye
    | NodesChanged
)


class Session:
    """Membership and owner of one client. Every call returns effects, to be applied in order.

    ``home`` is the id of the node whose own client this is, b"" of any other client.
    """

    def __init__(self, membership: Membership, owner: Owner, home: bytes = b"") -> None:
        self.membership = membership
        self.owner = owner
        self.home = home
        self._link_of_node: dict[bytes, int] = {home: HOME} if home else {}
        self._node_of_link: dict[int, bytes] = {HOME: home} if home else {}
        self._heard_at: dict[int, float] = {}
        self._membership_due: float | None = None
        self._is_stale = True
        """Whether membership has been at work since it was last asked for its deadline."""

    def notice(self, event: MembershipEvent, now: float) -> list[SessionEffect]:
        """Take an event of a link or a candidate."""
        return self._apply(self.membership.handle(event, now), now)

    def join_home(self, ack: HelloAck, now: float) -> list[SessionEffect]:
        """Take in what the node says of itself whose own client this is."""
        return self.handle(joined(ack, Bond.HOME), now)

    def node_of(self, link: int) -> bytes | None:
        """Return the node that answers over a link."""
        return self._node_of_link.get(link)

    def linked(self) -> list[bytes]:
        """Return the nodes that answer over links that were dialled, those that came up first first."""
        return [node for node in self._link_of_node if node != self.home]

    def say(self, node: bytes, messages: list[Message]) -> list[SessionEffect]:
        """Tell a node something that is not the owner's, if it answers."""
        link = self._link_of_node.get(node)
        return [] if link is None else [SendLink(link, messages)]

    def receive(self, link: int, messages: list[Message], now: float) -> list[SessionEffect]:
        """Take the messages of a link, in their order."""
        if link == HOME:
            return self.handle(Received(self.home, messages), now)
        effects: list[SessionEffect] = []
        if now - self._heard_at.get(link, -inf) >= HEARD_S:
            self._heard_at[link] = now
            effects = self._apply(self.membership.handle(Heard(link), now), now)
        work = messages
        if not _OF_THE_NODE.isdisjoint(map(type, messages)):
            work = []
            for message in messages:
                if type(message) not in _OF_THE_NODE:
                    work.append(message)
                    continue
                effects += self._on_answer(link, message, now)
                if type(message) is Draining:
                    work.append(message)  # which the owner must know as well
        node = self._node_of_link.get(link)
        if not work or node is None:
            return effects
        out = self._send(self.owner.handle(_new(Received, (node, work)), now))
        return effects + out if effects else out

    def handle(self, event: OwnerEvent, now: float) -> list[SessionEffect]:
        """Take an event of the owner's."""
        return self._send(self.owner.handle(event, now))

    def tick(self, now: float) -> list[SessionEffect]:
        """Do what has become due."""
        effects = self._apply(self.membership.tick(now), now)
        due = self.owner.next_deadline()
        return effects if due is None or due > now else effects + self._send(self.owner.tick(now))

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        if self._is_stale:
            self._is_stale = False
            self._membership_due = self.membership.next_deadline()
        return earliest(self._membership_due, self.owner.next_deadline())

    def _on_answer(self, link: int, message: Message, now: float) -> list[SessionEffect]:
        if isinstance(message, HelloAck):
            return self.notice(Welcomed(link, message), now)
        if isinstance(message, Refused):
            if message.code == "verb":
                return []  # an older node does not know all that we say; it answers the rest
            return self.notice(Rejected(link, message.code, message.text), now)
        if isinstance(message, Draining):
            return self.notice(LeaveHeard(link), now)
        node = self._node_of_link.get(link)
        return [Goodbye(node)] if node is not None and isinstance(message, ByeAck) else []

    def _apply(self, verdicts: list[MembershipEffect], now: float) -> list[SessionEffect]:
        self._is_stale = True
        effects: list[SessionEffect] = []
        for verdict in verdicts:
            match verdict:
                case Hangup(link):
                    self._heard_at.pop(link, None)
                    effects.append(verdict)
                case Dial() | Greet():
                    effects.append(verdict)
                case Beat(link, sequence):
                    effects.append(SendLink(link, [Ping(sequence)]))
                case _:
                    effects += self._tell_owner(verdict, now)
        return effects

    def _tell_owner(
        self, verdict: NodeUp | NodeChanged | NodeSuspect | NodeBack | NodeDead, now: float
    ) -> list[SessionEffect]:
        if self.home and verdict.node_id == self.home:
            return [NodesChanged()]  # it was found at an address of its own, which whoever dialled it will give up
        event: OwnerEvent
        match verdict:
            case NodeUp(node, _, link, ack):
                self._link_of_node[node] = link
                self._node_of_link[link] = node
                event = joined(ack, self._bond)
            case NodeChanged(node, ack):
                event = joined(ack, self._bond)
            case NodeSuspect(node):
                event = NodeSuspected(node)
            case NodeBack(node):
                return [NodesChanged(node), *self.handle(NodeReturned(node), now)]
            case _:
                self._node_of_link.pop(self._link_of_node.pop(verdict.node_id), None)
                event = NodeLost(*verdict)
        return [NodesChanged(), *self.handle(event, now)]

    @property
    def _bond(self) -> Bond:
        return Bond.PEER if self.home else Bond.NONE

    def _send(self, effects: list[OwnerEffect]) -> list[SessionEffect]:
        out: list[SessionEffect] = []
        for effect in effects:
            if not isinstance(effect, Send):
                out.append(effect)
                continue
            node, messages = effect
            link = self._link_of_node.get(node)
            if link is not None:
                out.append(_new(SendLink, (link, messages)))
        return out


def joined(ack: HelloAck, bond: Bond = Bond.NONE) -> NodeJoined:
    """Return what a HELLO-ACK means to the owner."""
    name = f"{ack.name}@{ack.host}"
    return NodeJoined(
        ack.node, ack.incarnation, name, ack.slots, ack.functions, ack.serializers, ack.tags, ack.draining,
        ack.once, bond,
    )  # fmt: skip
