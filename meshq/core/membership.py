"""The client's view of the nodes: who is there, who has fallen silent, who is dead.

Hints never count: a node is there once it has answered HELLO, and until it is silent for too long. The rules:

1. Whatever a node sends is a sign of life. Each is sent PING every 0.5 s; silent for 1.5 s it is *suspect*
   (the owner gives it no new work), silent for 3 s it is *dead* (the owner re-sends its tasks elsewhere).
2. When our own loop was held up for more than 0.5 s it was we who were deaf: the time is not held against
   the nodes, and while such lags go on the thresholds double with each, up to eightfold.
3. When more than half of three or more nodes are silent together, it is more likely our network than they:
   death waits for twice the time. Hence a cut of most of a mesh is noticed after 6 s rather than 3.
4. A connection that is lost proves nothing, since it is made anew: HELLO is then sent again. But one that is
   refused, or is answered by another process, proves the death of the process that was there.
5. A dead node's link is hung up, for it could deliver to a successor what was meant for the dead. Its
   candidate stays and is dialled again. A node welcomed over a second link keeps the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from meshq.core.dialling import MDNS, Candidate, Dial, Dialling, DialSettings, Hangup, Problem, Rng
from meshq.core.timers import Timers, earliest
from meshq.protocol.messages import HelloAck

__all__ = [
    "MDNS", "Beat", "Candidate", "CandidateGone", "CandidateSeen", "Dial", "DialSettings", "Greet", "Hangup",
    "Heard", "LinkAuthFailed", "LinkDown", "LinkRefused", "LinkUp", "Membership", "MembershipEffect",
    "MembershipEvent", "MembershipSettings", "NodeBack", "NodeChanged", "NodeDead", "NodeSuspect", "NodeUp",
    "NodeView", "Problem", "Rejected", "Welcomed",
]  # fmt: skip


class CandidateSeen(NamedTuple):
    """Event: discovery has a hint, new or changed."""

    candidate: Candidate


class CandidateGone(NamedTuple):
    """Event: discovery no longer has this hint. It never removes a node that answers."""

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


MembershipEvent: TypeAlias = (
    CandidateSeen | CandidateGone | LinkUp | LinkDown | LinkRefused | LinkAuthFailed
    | Heard | Welcomed | Rejected
)  # fmt: skip
MembershipEffect: TypeAlias = (
    Dial | Hangup | Greet | Beat | NodeUp | NodeChanged | NodeSuspect | NodeBack | NodeDead
)  # fmt: skip


class MembershipSettings(NamedTuple):
    """Durations in seconds, and factors."""

    beat_s: float = 0.5
    suspect_s: float = 1.5
    dead_s: float = 3.0
    lag_s: float = 0.5
    """A tick that is later than this was held up."""
    max_stretch: float = 8.0
    together_stretch: float = 2.0
    dial: DialSettings = DialSettings()


class NodeView(NamedTuple):
    """A node as others may see it. ``state`` is ``alive`` or ``suspect``; ``heard_at`` when it was last heard."""

    node_id: bytes
    incarnation: int
    ack: HelloAck
    link: int
    endpoint: str
    state: str
    heard_at: float


@dataclass(slots=True)
class _Node:
    """``instances`` are all candidates that turned out to be this node."""

    ack: HelloAck
    link: int
    endpoint: str
    heard_at: float
    instances: list[str]
    connected: bool = True
    suspect: bool = False
    beats: int = 0


class Membership:
    """All nodes that answer, and the candidates that may be nodes.

    ``key`` is the fingerprint of our own mesh key, "" for none. The caller applies the effects in order, and
    goes by ``next_deadline``, from whose lateness the machine learns that the loop was held up.
    """

    def __init__(self, settings: MembershipSettings, rng: Rng, key: str = "") -> None:
        self._settings = settings
        self._rng = rng
        self._dialling = Dialling(settings.dial, rng, key)
        self._nodes: dict[bytes, _Node] = {}
        self._by_link: dict[int, _Node] = {}
        self._by_endpoint: dict[str, _Node] = {}
        self._suspects = 0
        self._beats: Timers[int] = Timers()
        self._silence: Timers[int] = Timers()
        self._stretch = 1.0
        self._calm_at = 0.0

    def nodes(self) -> list[NodeView]:
        """Return the nodes that answer, those that came up first first."""
        return [
            NodeView(
                node_id=node_id,
                incarnation=node.ack.incarnation,
                ack=node.ack,
                link=node.link,
                endpoint=node.endpoint,
                state="suspect" if node.suspect else "alive",
                heard_at=node.heard_at,
            )
            for node_id, node in self._nodes.items()
        ]

    def problems(self) -> list[Problem]:
        """Return why candidates do not count as nodes: the last problem of each."""
        return self._dialling.problems()

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None while there is nothing to wait for."""
        return earliest(self._beats.next_deadline(), self._silence.next_deadline(), self._dialling.next_deadline())

    def handle(self, event: MembershipEvent, now: float) -> list[MembershipEffect]:
        """Take in one event; those of links that were hung up have no effect."""
        match event:
            case Heard(link):
                node = self._by_link.get(link)
                return [] if node is None else self._hear(node, now)
            case CandidateSeen(candidate):
                return [*self._dialling.see(candidate, now)]
            case CandidateGone(instance):
                self._dialling.leave(instance, now)
                return []
            case LinkUp(link):
                return self._connected(link, now)
            case LinkDown(link):
                if link in self._by_link:
                    self._by_link[link].connected = False
                return []
            case Welcomed(link, ack):
                return self._welcome(link, ack, now)
            case LinkRefused(link):
                return self._fail(link, "refused", "the connection was refused: nothing listens there", now)
            case LinkAuthFailed(link, text):
                return self._fail(link, "auth", text, now)
            case _:
                return self._fail(event.link, event.code, event.text, now)

    def tick(self, now: float) -> list[MembershipEffect]:
        """Do what is due at ``now``."""
        self._notice_lag(now)
        effects: list[MembershipEffect] = []
        for link in self._beats.pop_due(now):
            effects += self._beat(self._by_link[link], now)
        for link in self._silence.pop_due(now):
            effects += self._judge(self._by_link[link], now)
        return [*effects, *self._dialling.tick(now)]

    def _connected(self, link: int, now: float) -> list[MembershipEffect]:
        if link in self._by_link:
            self._by_link[link].connected = True
            return [Greet(link)]
        if self._dialling.is_tried(link):
            self._dialling.connected(link, now)
            return [Greet(link)]
        return []

    def _fail(self, link: int, code: str, text: str, now: float) -> list[MembershipEffect]:
        if link in self._by_link:
            return self._bury(self._by_link[link], code, text, now)
        return [*self._dialling.fail(link, code, text, now)] if self._dialling.is_tried(link) else []

    def _welcome(self, link: int, ack: HelloAck, now: float) -> list[MembershipEffect]:
        node = self._by_link.get(link)
        if node is not None:
            return self._welcome_again(node, ack, now)
        if not self._dialling.is_tried(link):
            return []
        instance, endpoint, effects = self._dialling.win(link, now)
        return [*effects, *self._admit(_Node(ack, link, endpoint, now, [instance]), now)]

    def _welcome_again(self, node: _Node, ack: HelloAck, now: float) -> list[MembershipEffect]:
        if (ack.node, ack.incarnation) != (node.ack.node, node.ack.incarnation):
            # The link leads to the successor now, and is kept: the break emptied it of what was waiting.
            self._remove(node)
            dead = NodeDead(node.ack.node, f"another process answers at {node.endpoint}", died=True)
            return [dead, *self._admit(_Node(ack, node.link, node.endpoint, now, node.instances), now)]
        effects = self._hear(node, now)
        if ack != node.ack:
            node.ack = ack
            effects.append(NodeChanged(ack.node, ack))
        return effects

    def _admit(self, node: _Node, now: float) -> list[MembershipEffect]:
        """Take a node in, unless it is there already; whatever it replaces is dead."""
        effects: list[MembershipEffect] = []
        known = self._nodes.get(node.ack.node)
        if known is not None and known.ack.incarnation == node.ack.incarnation:
            known.instances += node.instances
            return [Hangup(node.link)]
        for old in (known, self._by_endpoint.get(node.endpoint)):
            if old is not None and old.link in self._by_link:
                text = f"another process answers at {node.endpoint}"
                effects += self._bury(old, "refused", text, now)
        self._nodes[node.ack.node] = self._by_link[node.link] = self._by_endpoint[node.endpoint] = node
        self._beats.set(node.link, now + self._beat_s())
        self._silence.set(node.link, now + self._settings.suspect_s)
        return [*effects, NodeUp(node.ack.node, node.ack.incarnation, node.link, node.ack)]

    def _remove(self, node: _Node) -> None:
        del self._nodes[node.ack.node], self._by_link[node.link], self._by_endpoint[node.endpoint]
        self._suspects -= node.suspect
        self._beats.cancel(node.link)
        self._silence.cancel(node.link)

    def _bury(self, node: _Node, code: str, text: str, now: float) -> list[MembershipEffect]:
        self._remove(node)
        for instance in node.instances:
            self._dialling.lose(instance, node.endpoint, code, text, now)
        return [NodeDead(node.ack.node, text, died=code == "refused"), Hangup(node.link)]

    def _hear(self, node: _Node, now: float) -> list[MembershipEffect]:
        node.heard_at = now
        if not node.suspect:
            return []
        node.suspect = False
        self._suspects -= 1
        return [NodeBack(node.ack.node)]

    def _beat_s(self) -> float:
        # Jittered, lest the beats to a thousand nodes come in step.
        return self._settings.beat_s * self._rng.uniform(0.9, 1.1)

    def _beat(self, node: _Node, now: float) -> list[MembershipEffect]:
        self._beats.set(node.link, now + self._beat_s())
        if not node.connected:
            return []
        node.beats += 1
        return [Beat(node.link, node.beats)]

    def _judge(self, node: _Node, now: float) -> list[MembershipEffect]:
        """Decide on a node that may have been silent for too long, and when to look again."""
        effects: list[MembershipEffect] = []
        if not node.suspect and now >= node.heard_at + self._settings.suspect_s * self._stretch:
            node.suspect = True
            self._suspects += 1
            effects.append(NodeSuspect(node.ack.node))
        factor = self._patience() if node.suspect else self._stretch
        limit_s = self._settings.dead_s if node.suspect else self._settings.suspect_s
        at = node.heard_at + limit_s * factor
        if now >= at:
            silent_s = now - node.heard_at
            return effects + self._bury(node, "silent", f"nothing heard for {silent_s:.1f} s", now)
        if node.suspect or factor > 1.0:
            # The factors may fall before that.
            at = min(at, now + self._settings.beat_s)
        self._silence.set(node.link, at)
        return effects

    def _patience(self) -> float:
        together = len(self._nodes) >= 3 and 2 * self._suspects > len(self._nodes)
        return max(self._stretch, self._settings.together_stretch if together else 1.0)

    def _notice_lag(self, now: float) -> None:
        due = self.next_deadline()
        lag_s = 0.0 if due is None else now - due
        if lag_s > self._settings.lag_s:
            self._stretch = min(2 * self._stretch, self._settings.max_stretch)
            self._calm_at = now + self._settings.dead_s
            self._dialling.forgive(lag_s)
            for node in self._nodes.values():
                node.heard_at = min(now, node.heard_at + lag_s)
        elif now >= self._calm_at:
            self._stretch = 1.0
