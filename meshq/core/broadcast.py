"""One control command sent to many nodes: who was asked, who answered, and why the others are missing.

Publishing is fast but reaches only who has subscribed by then; so the machine first waits until every
expected node is *ready* (subscribed, and its control lane answers HELLO), for at most a part of the timeout.
Whoever missed the publishing, and whoever is silent after half of the time left, gets the same command
directly over its lane. Nodes dedupe by command id, so none carries it out twice. The rules:

1. One deadline bounds the whole: ``Finish`` comes once, at it or before, and nothing after it.
2. A node with a known problem is not waited for before publishing: should it come up, it is sent to directly.
3. A lane that comes up anew may have lost what was sent on the old connection, which is therefore sent again.
4. Who is expected and found to have ended is excused, unless the command is on its way to it by then; who had
   said that it would end, and is gone, is excused in any case, but from a command that ends nodes: that it is
   gone does not tell whether it was by this.
5. While gathering (a caller that does not know yet whom to expect), nothing finishes before the time set
   apart for subscriptions is over, nor, with nobody expected, before the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from meshq.core.timers import earliest

UNREACHABLE = "unreachable"
AUTHENTICATION_REFUSED = "authentication refused"
NOT_SUBSCRIBED = "connected, not subscribed"
NO_REPLY = "no reply in time"
NOT_WAITED_FOR = "not waited for (limit)"

# Subscriptions of 100 nodes took some 110 ms, of 400 some 400 ms.
_SYNC_SHARE = 0.3
_SYNC_MAX_S = 1.0
# The threat: a node that subscribes to, or answers in the name of, node ids without end.
_MAX_NODES = 8_192


class Subscribed(NamedTuple):
    """Event: the node's private topic was seen on the publishing socket."""

    node: bytes


class LaneUp(NamedTuple):
    """Event: the node's control lane has answered HELLO; what is sent directly arrives."""

    node: bytes


class LaneProblem(NamedTuple):
    """Event: the node's control lane is down: ``UNREACHABLE``, ``AUTHENTICATION_REFUSED``, or another reason."""

    node: bytes
    reason: str


class Expected(NamedTuple):
    """Event: another node turned up that should answer. ``name`` is its NAME@HOST."""

    node: bytes
    name: str


class Excused(NamedTuple):
    """Event: the node turned out to be no more. It is waited for no longer, unless the command was sent to it.

    With ``left`` it had said that it would end, and is excused in any case, unless the command ends nodes.
    """

    node: bytes
    left: bool = False


class Answered(NamedTuple):
    """Event: a reply came in. It counts whether or not its node was expected."""

    node: bytes
    name: str
    value: Any


class Publish(NamedTuple):
    """Effect: publish the command to all subscribers."""


class SendDirect(NamedTuple):
    """Effect: send the command over the node's control lane."""

    node: bytes


class Deliver(NamedTuple):
    """Effect: hand this reply to the caller."""

    node: bytes
    name: str
    value: Any


class Finish(NamedTuple):
    """Effect: all is over. ``missing``: NAME@HOST of who was expected and silent → the reason."""

    missing: dict[str, str]


BroadcastEvent: TypeAlias = Subscribed | LaneUp | LaneProblem | Expected | Excused | Answered
BroadcastEffect: TypeAlias = Publish | SendDirect | Deliver | Finish


@dataclass(slots=True)
class _Node:
    """What is known of one node.

    ``name`` is "" until the node is expected. ``reached``: the command is on its way to it; ``sent``: over
    its lane; ``owed``: to be sent over its lane as soon as that is up.
    """

    name: str = ""
    subscribed: bool = False
    lane: bool = False
    problem: str = ""
    reached: bool = False
    sent: bool = False
    owed: bool = False
    answered: bool = False

    def is_ready(self) -> bool:
        return self.answered or bool(self.problem) or (self.subscribed and self.lane)


class Broadcast:
    """One running control command.

    ``expected`` maps node id to NAME@HOST; ``timeout`` is in seconds, from ``now``; ``limit``, at least 1, is
    the number of replies after which it finishes; ``ends`` says that the command ends nodes. Without ``reply`` it
    finishes once the command is on its way to all expected nodes, and ``missing`` names those that it could not
    be sent to. The caller goes by ``next_deadline`` from the start: with nobody to ask, the first ``tick``
    finishes.
    """

    def __init__(
        self, command: bytes, expected: Mapping[bytes, str], *, now: float, timeout: float,
        limit: int | None = None, reply: bool = True, gather: bool = False,
        ends: bool = False,
    ) -> None:  # fmt: skip
        self.command = command
        self._limit = limit
        self._reply = reply
        self._gather = gather
        self._ends = ends
        self._deadline_at = now + timeout
        sync_s = min(_SYNC_SHARE * timeout, _SYNC_MAX_S) if expected or gather else 0.0
        self._sync_at: float | None = now + sync_s
        self._remind_at: float | None = None
        self._published = False
        self._finished = False
        self._replies = 0
        self._nodes = {node_id: _Node(name) for node_id, name in expected.items()}
        self._asked = len(self._nodes)
        # Ids of expected nodes only; kept, so that an event costs the same however many nodes there are.
        self._unready = set(self._nodes)
        self._open = dict.fromkeys(self._nodes)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due, or None after the end."""
        return None if self._finished else earliest(self._sync_at, self._remind_at, self._deadline_at)

    @property
    def silent(self) -> list[str]:
        """NAME@HOST of who has still to answer; without ``reply``, of who could not be sent the command yet."""
        return [node.name for node in self._silent()]

    def tick(self, now: float) -> list[BroadcastEffect]:
        """Do what is due at ``now``."""
        return [] if self._finished else self._review(now)

    def handle(self, event: BroadcastEvent, now: float) -> list[BroadcastEffect]:
        """Take in one event."""
        node = self._find(event.node)
        if self._finished or node is None:
            return []
        effects: list[BroadcastEffect] = []
        match event:
            case Subscribed():
                node.subscribed = True
            case LaneUp():
                node.lane, node.problem = True, ""
                node.owed |= node.sent and not node.answered
            case LaneProblem():
                node.lane, node.problem = False, event.reason
            case Expected():
                self._expect(node, event)
            case Excused():
                self._excuse(event, node)
            case _:
                effects += self._answer(node, event)
        self._note_ready(event.node, node)
        effects += self._send_owed(event.node, node)
        return effects + self._review(now)

    def _find(self, node_id: bytes) -> _Node | None:
        node = self._nodes.get(node_id)
        if node is None and len(self._nodes) < _MAX_NODES:
            node = self._nodes[node_id] = _Node()
        return node

    def _expect(self, node: _Node, event: Expected) -> None:
        if node.name:
            return
        node.name = event.name
        self._asked += 1
        if self._reply or not node.reached:
            self._open[event.node] = None
        node.owed = self._published and not node.reached

    def _excuse(self, event: Excused, node: _Node) -> None:
        if node.name and not node.answered and (not node.reached or (event.left and not self._ends)):
            node.name, node.owed = "", False
            self._asked -= 1
            self._open.pop(event.node, None)

    def _answer(self, node: _Node, event: Answered) -> list[BroadcastEffect]:
        if node.answered or not self._reply:
            return []
        node.answered, node.owed = True, False
        if not node.name:
            node.name = event.name
            self._asked += 1
        self._open.pop(event.node, None)
        self._replies += 1
        return [Deliver(event.node, event.name, event.value)]

    def _note_ready(self, node_id: bytes, node: _Node) -> None:
        if node.name and not node.is_ready():
            self._unready.add(node_id)
        else:
            self._unready.discard(node_id)

    def _send_owed(self, node_id: bytes, node: _Node) -> list[BroadcastEffect]:
        if not (node.owed and node.lane):
            return []
        node.owed = False
        node.sent = node.reached = True
        if not self._reply:
            self._open.pop(node_id, None)
        return [SendDirect(node_id)]

    def _review(self, now: float) -> list[BroadcastEffect]:
        effects: list[BroadcastEffect] = []
        synced = self._sync_at is not None and now >= self._sync_at
        if not self._published and self._may_publish(synced):
            effects += self._publish(now)
        if synced or (self._published and not self._gather):
            self._sync_at = None
        if self._remind_at is not None and self._remind_at <= now < self._deadline_at:
            effects += self._remind()
        if self._is_over(now):
            effects.append(self._finish())
        return effects

    def _may_publish(self, synced: bool) -> bool:
        if synced:
            return self._asked > 0 or self._gather
        return self._asked > 0 and not self._unready

    def _publish(self, now: float) -> list[BroadcastEffect]:
        self._published = True
        if self._reply:
            self._remind_at = now + (self._deadline_at - now) / 2
        effects: list[BroadcastEffect] = [Publish()]
        for node_id, node in self._nodes.items():
            node.reached = node.subscribed
            node.owed = bool(node.name) and not node.subscribed
            if node.reached and not self._reply:
                self._open.pop(node_id, None)
            effects += self._send_owed(node_id, node)
        return effects

    def _remind(self) -> list[BroadcastEffect]:
        self._remind_at = None
        effects: list[BroadcastEffect] = []
        for node_id in self._open:
            node = self._nodes[node_id]
            node.owed |= not node.sent
            effects += self._send_owed(node_id, node)
        return effects

    def _is_over(self, now: float) -> bool:
        if now >= self._deadline_at or self._has_enough():
            return True
        if self._gather and (self._sync_at is not None or not self._asked):
            return False
        return not self._open and (self._published or not self._asked)

    def _has_enough(self) -> bool:
        return self._limit is not None and self._replies >= self._limit

    def _finish(self) -> Finish:
        self._finished = True
        return Finish({node.name: self._reason(node) for node in self._silent()})

    def _silent(self) -> list[_Node]:
        # A node that was started anew answers under its old name with a new id: nobody misses the old one.
        answered = {node.name for node in self._nodes.values() if node.answered}
        silent = (self._nodes[node_id] for node_id in self._open)
        return [node for node in silent if node.name not in answered]

    def _reason(self, node: _Node) -> str:
        if node.problem:
            return node.problem
        if self._has_enough():
            return NOT_WAITED_FOR
        if not node.reached:
            return UNREACHABLE
        return NO_REPLY if node.subscribed else NOT_SUBSCRIBED
