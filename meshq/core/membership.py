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
6. A node names the others that it knows. They are dialled too, and so are found where their announcements are
   not heard; who was named, announced or there within ten minutes and does not answer is *absent*.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from meshq.core.candidates import MDNS, Absent, Candidate, Dial, DialSettings, Hangup, Problem, Rng
from meshq.core.dialling import Dialling
from meshq.core.hints import MayFollow, follow_all, hints_of
from meshq.core.presence import (
    Beat,
    CandidateDropped,
    CandidateGone,
    CandidateSeen,
    Greet,
    Heard,
    LeaveHeard,
    LinkAuthFailed,
    LinkDown,
    LinkRefused,
    LinkUp,
    MembershipEffect,
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
from meshq.core.timers import Timers, earliest
from meshq.protocol.messages import HelloAck

__all__ = [
    "MDNS", "Absent", "Beat", "Candidate", "CandidateDropped", "CandidateGone", "CandidateSeen", "Dial",
    "DialSettings", "Greet", "Hangup", "Heard", "LeaveHeard", "LinkAuthFailed", "LinkDown", "LinkRefused",
    "LinkUp", "Membership", "MembershipEffect", "MembershipEvent", "MembershipSettings", "NodeBack", "NodeChanged",
    "NodeDead", "NodeSuspect", "NodeUp", "NodeView", "Problem", "Rejected", "Welcomed",
]  # fmt: skip


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
    leaving: bool = False
    beats: int = 0

    @property
    def name(self) -> str:
        return f"{self.ack.name}@{self.ack.host}"

    @property
    def leaves(self) -> bool:
        return self.leaving or self.ack.draining


class Membership:
    """All nodes that answer, and the candidates that may be nodes.

    ``key`` is the fingerprint of our own mesh key, "" for none; ``may_follow(endpoint, via)`` says whether to dial
    what the node at ``via`` names. The caller applies the effects in order, and goes by ``next_deadline``, from
    whose lateness the machine learns that the loop was held up.
    """

    def __init__(
        self, settings: MembershipSettings, rng: Rng, key: str = "", may_follow: MayFollow = follow_all
    ) -> None:
        self._settings = settings
        self._rng = rng
        self._may_follow = may_follow
        self._dialling = Dialling(settings.dial, rng, key)
        self._nodes: dict[bytes, _Node] = {}
        self._by_link: dict[int, _Node] = {}
        self._by_endpoint: dict[str, _Node] = {}
        self._suspects = 0
        self._beats: Timers[int] = Timers()
        self._silence: Timers[int] = Timers()
        self._stretch = 1.0
        self._calm_at = -inf
        self._admitted = self._losses = 0

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
                left=node.leaves and not node.connected,
            )
            for node_id, node in self._nodes.items()
        ]

    def problems(self) -> list[Problem]:
        """Return why candidates do not count as nodes: the last problem of each."""
        return self._dialling.problems()

    @property
    def changes(self) -> int:
        """A number that grows whenever ``absent``, or ``left`` of a node, may be something else."""
        return self._dialling.changes + self._admitted + self._losses

    def absent(self, now: float) -> list[Absent]:
        """Return who does not answer, and should; each node once, and none that has come back under its name."""
        names = {node.name for node in self._nodes.values()}
        absent = {each.node: each for each in self._dialling.absent(now)}
        return [each for each in absent.values() if each.node not in self._nodes and each.name not in names]

    def standing(self, instance: str) -> tuple[bytes | None, str]:
        """Return the id of the node that a candidate is, or None while none answers, and its last problem."""
        for node_id, node in self._nodes.items():
            if instance in node.instances:
                return node_id, ""
        return None, self._dialling.problem(instance) or ""

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
            case CandidateDropped(instance):
                return self._drop(instance, now)
            case LinkUp(link):
                return self._connected(link, now)
            case LinkDown(link):
                if link in self._by_link:
                    self._by_link[link].connected = False
                    self._losses += 1
                return []
            case Welcomed(link, ack):
                return self._welcome(link, ack, now)
            case LeaveHeard(link):
                if link in self._by_link:
                    self._by_link[link].leaving = True
                return []
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
        instance, endpoint, won = self._dialling.win(link, now)
        admitted = self._admit(_Node(ack, link, endpoint, now, [instance]), now)
        return [*won, *admitted, *self._follow(ack, endpoint, now)]

    def _welcome_again(self, node: _Node, ack: HelloAck, now: float) -> list[MembershipEffect]:
        if (ack.node, ack.incarnation) != (node.ack.node, node.ack.incarnation):
            # The link leads to the successor now, and is kept: the break emptied it of what was waiting.
            self._remove(node)
            dead = NodeDead(node.ack.node, f"another process answers at {node.endpoint}", died=True)
            admitted = self._admit(_Node(ack, node.link, node.endpoint, now, node.instances), now)
            return [dead, *admitted, *self._follow(ack, node.endpoint, now)]
        effects = self._hear(node, now)
        before, node.ack = node.ack, ack
        if ack != before._replace(greeting=ack.greeting):
            effects.append(NodeChanged(ack.node, ack))
        return effects + self._follow(ack, node.endpoint, now)

    def _follow(self, ack: HelloAck, endpoint: str, now: float) -> list[MembershipEffect]:
        """Dial those that a node names and that are not known."""
        effects: list[MembershipEffect] = []
        if self._settings.follow:
            known = {node_id.hex() for node_id in self._nodes}
            for candidate in hints_of(ack, endpoint, self._may_follow):
                if candidate.instance not in known:
                    effects += self._dialling.hint(candidate, now)
        return effects

    def _drop(self, instance: str, now: float) -> list[MembershipEffect]:
        """Forget a candidate, and its node unless another leads there too."""
        effects: list[MembershipEffect] = []
        for node in list(self._nodes.values()):
            if node.instances == [instance]:
                self._remove(node)
                effects = [NodeDead(node.ack.node, "no longer wanted", died=False), Hangup(node.link)]
            elif instance in node.instances:
                node.instances.remove(instance)
        return [*effects, *self._dialling.drop(instance, now)]

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
        self._admitted += 1
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
        lost = Absent(node.ack.node, node.name, code)
        ended = node.leaves or code == "refused"
        for instance in node.instances:
            self._dialling.lose(instance, lost, node.endpoint, text, ended, now)
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
