"""What membership is told and asks for, its settings, and a node as others may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from meshq.core.candidates import Candidate, Dial, DialSettings, Hangup
from meshq.protocol.messages import HelloAck


class CandidateSeen(NamedTuple):
    """Event: discovery has a hint, new or changed."""

    candidate: Candidate


class CandidateGone(NamedTuple):
    """Event: discovery no longer has this hint. It never removes a node that answers."""

    instance: str


class CandidateDropped(NamedTuple):
    """Event: nothing is wanted of this candidate any more, not even if its node answers."""

    instance: str


class LinkUp(NamedTuple):
    """Event: the transport's handshake succeeded, for the first time or again."""

    link: int


class LinkDown(NamedTuple):
    """Event: the connection broke; the transport tries to make it anew."""

    link: int


class LinkRefused(NamedTuple):
    """Event: nobody listens at the link's endpoint."""

    link: int


class LinkAuthFailed(NamedTuple):
    """Event: the other side refused our key."""

    link: int
    text: str


class Heard(NamedTuple):
    """Event: something came over the link; once a batch will do."""

    link: int


class Welcomed(NamedTuple):
    """Event: HELLO was answered."""

    link: int
    ack: HelloAck


class LeaveHeard(NamedTuple):
    """Event: the node finishes what it has, and will end then: it need not be missed."""

    link: int


class Rejected(NamedTuple):
    """Event: HELLO was answered with REFUSED."""

    link: int
    code: str
    text: str


class Greet(NamedTuple):
    """Effect: send HELLO over the link."""

    link: int


class Beat(NamedTuple):
    """Effect: send PING over the link."""

    link: int
    sequence: int


class NodeUp(NamedTuple):
    """Effect: a node is there, and is reached over ``link``."""

    node_id: bytes
    incarnation: int
    link: int
    ack: HelloAck


class NodeChanged(NamedTuple):
    """Effect: the node says something else of itself than before."""

    node_id: bytes
    ack: HelloAck


class NodeSuspect(NamedTuple):
    """Effect: the node is silent; give it no new work."""

    node_id: bytes


class NodeBack(NamedTuple):
    """Effect: the suspect node was heard again."""

    node_id: bytes


class NodeDead(NamedTuple):
    """Effect: the node is gone, with all that it held. It may come up again, as new.

    ``died`` where its process is known to have ended, rather than to be out of reach.
    """

    node_id: bytes
    reason: str
    died: bool


LINK_EVENTS: dict[str, Callable[[int, str], MembershipEvent]] = {
    "connected": lambda link, _: LinkUp(link),
    "disconnected": lambda link, _: LinkDown(link),
    "refused": lambda link, _: LinkRefused(link),
    "auth": LinkAuthFailed,
}
"""What the transport says of a link, with a text → the event; all else that it says has none."""

MembershipEvent: TypeAlias = (
    CandidateSeen | CandidateGone | CandidateDropped | LinkUp | LinkDown | LinkRefused | LinkAuthFailed
    | Heard | Welcomed | LeaveHeard | Rejected
)  # fmt: skip
MembershipEffect: TypeAlias = (
    Dial | Hangup | Greet | Beat | NodeUp | NodeChanged | NodeSuspect | NodeBack | NodeDead
)  # fmt: skip


class MembershipSettings(NamedTuple):
    """Durations in seconds, and factors. ``follow``: whether to dial the nodes that others name."""

    beat_s: float = 0.5
    suspect_s: float = 1.5
    dead_s: float = 3.0
    lag_s: float = 0.5
    """A tick that is later than this was held up."""
    max_stretch: float = 8.0
    together_stretch: float = 2.0
    follow: bool = True
    dial: DialSettings = DialSettings()


class NodeView(NamedTuple):
    """A node as others may see it.

    ``state`` is ``alive`` or ``suspect``; ``heard_at`` when it was last heard; ``left``: it has said that it would
    end, and its connection is lost.
    """

    node_id: bytes
    incarnation: int
    ack: HelloAck
    link: int
    endpoint: str
    state: str
    heard_at: float
    left: bool = False
