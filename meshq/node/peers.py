"""A node's peers, without sockets and clock: to whom it is connected, and what they tell each other of revokes.

A node is a client of up to three others. Its session does the talking, for the tasks that are entrusted to it and
for all else; here is decided whom to dial, and what is no owner's business.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from meshq.core.agreeing import Agreeing, Refused
from meshq.core.membership import (
    Candidate,
    CandidateDropped,
    CandidateGone,
    CandidateSeen,
    Dial,
    DialSettings,
    Greet,
    Hangup,
    Membership,
    MembershipEvent,
    MembershipSettings,
    NodeView,
)
from meshq.core.owner import Owner
from meshq.core.session import Goodbye, NodesChanged, SendLink, Session
from meshq.node.entrusted import Entrusted
from meshq.node.peer_choice import PeerChoice
from meshq.protocol.messages import Bye, HelloAck, Message, RevokedDigest, RevokedIds

SETTINGS = MembershipSettings(
    beat_s=1.0,
    suspect_s=2.0,
    dead_s=3.0,
    together_stretch=1.0,
    follow=False,
    dial=DialSettings(connect_s=1.3, redial_lost_s=0.3),
)
"""All nodes send these beats all the time, so they are slow; yet what is at a peer is to go elsewhere 3.5 s after
it froze. A peer that was cut off must be told within two seconds of the healing what was revoked meanwhile: TCP,
whose pauses double, would by itself send again too late after more than some four seconds. A dial takes longer
than the second after which TCP sends its first packet again, which may have been lost just before the healing.
"""
_SAID = frozenset({HelloAck, RevokedDigest, RevokedIds})


def make_session(own: bytes, key: str, now: float, rng: random.Random) -> Session:
    """Return the session of the node with this id, which knows no peers yet; ``key`` is its key's fingerprint."""
    return Session(Membership(SETTINGS, rng, key), Owner(now=now, rng=rng), own)


class LinksPort(Protocol):
    """The connections; ``flush`` is for whoever has made them."""

    def dial(self, number: int, endpoint: str, /) -> None: ...
    def hang_up(self, number: int, /) -> None: ...
    def greet(self, number: int, /) -> None: ...
    def address(self, number: int, ack: HelloAck, /) -> None: ...
    def send(self, number: int, messages: Sequence[Message], /) -> None: ...


class Peers:
    """Keeps a node connected to a few of the candidates that it is told of, and in agreement with them.

    ``own`` is the node's id; ``refuse(ids)`` is called with what a peer refuses, and has refused it on return.
    """

    def __init__(
        self,
        entrusted: Entrusted,
        own: bytes,
        links: LinksPort,
        refused: Refused,
        rng: random.Random,
        refuse: Callable[[Sequence[Sequence[Any]]], None],
    ) -> None:
        self.choice = PeerChoice(own, rng, entrusted.session.owner.is_busy)
        self.touched = False
        """Whether something waits to be sent, or ``tick`` has something to do before it is due."""
        self._entrusted = entrusted
        self._membership = entrusted.session.membership
        self._links = links
        self._now = 0.0
        """The time of what is being dealt with."""
        self._agreeing = Agreeing(refused, rng, self._say, refuse)
        self._changed = True
        """Whether a candidate may stand otherwise than when the choice was last reviewed."""
        self._leaving: set[bytes] | None = None
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            Dial: lambda effect: links.dial(effect.link, effect.endpoint),
            Hangup: lambda effect: links.hang_up(effect.link),
            Greet: self._greet,
            SendLink: lambda effect: links.send(effect.link, effect.messages),
            NodesChanged: self._on_nodes_changed,
            Goodbye: self._on_goodbye,
        }
        entrusted.connect(self._carry_out)

    # ------------------------------------------------------------------ whom it is connected to

    def see(self, candidate: Candidate, now: float) -> None:
        """Take in a candidate, new or changed or announced anew."""
        self.choice.see(candidate)
        if candidate.instance in self.choice.chosen:
            self._entrusted.notice(CandidateSeen(candidate), now)
        self.touched = self._changed = True

    def lose(self, instance: str, now: float) -> None:
        """Take in that a candidate is no longer announced."""
        self.choice.lose(instance)
        self._entrusted.notice(CandidateGone(instance), now)
        self.touched = self._changed = True

    def connected(self) -> list[bytes]:
        """Return the ids of the peers that answer."""
        return self._entrusted.session.linked()

    def nodes(self) -> list[NodeView]:
        """Return the peers that answer."""
        return self._membership.nodes()

    def agree(self, found: bool) -> bool:
        """Tell whether all peers have told what they refuse; or, where all are ``found``, that there are none."""
        standing = [self._membership.standing(instance) for instance in self.choice.chosen]
        if any(node is None and not code for node, code in standing):
            return False
        nodes = {node for node, _ in standing if node is not None}
        return self._agreeing.have_told(nodes) and (bool(nodes) or found)

    def opened(self, now: float) -> None:
        """Note that this node lets others in."""
        self._now = now
        self._agreeing.opened(self.connected(), now)
        self.touched = True

    def tell(self, ids: Sequence[tuple[bytes, float]], now: float) -> None:
        """Tell all peers, but for the one that told them, of ids that are refused as of now."""
        self._now = now
        self._agreeing.tell(ids, self.connected())

    def leave(self, now: float) -> None:
        """Say BYE to all peers."""
        self._leaving = set(self.connected())
        for node in self._leaving.copy():
            self._entrusted.say(node, [Bye()], now)

    @property
    def is_leaving(self) -> bool:
        """Whether a peer has not yet answered BYE."""
        return bool(self._leaving)

    # ------------------------------------------------------------------ turns

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._agreeing.next_deadline()

    def tick(self, now: float) -> bool:
        """Do what is due, but for sending; return whether candidates may stand otherwise than before."""
        self._now = now
        # Where it has compared, one that failed a while ago may be tried again.
        changed = self._agreeing.tick(self.connected(), now) or self._changed
        if changed:
            self._review(now)
        self.touched = self._changed = False
        return changed

    def _review(self, now: float) -> None:
        """Connect to other peers where that is needed."""
        change = self.choice.review(self._membership.standing, now)
        for instance in change.drop:
            self._entrusted.notice(CandidateDropped(instance), now)
        for candidate in change.dial:
            self._entrusted.notice(CandidateSeen(candidate), now)

    # ------------------------------------------------------------------ what links say

    def notice(self, event: MembershipEvent, now: float) -> None:
        """Take an event of a link."""
        self._entrusted.notice(event, now)

    def receive(self, link: int, messages: list[Message], now: float) -> None:
        """Take the messages of a link."""
        said = [message for message in messages if type(message) in _SAID]
        for message in said:
            if type(message) is HelloAck:
                self._links.address(link, message)
                self.touched = True
        self._entrusted.receive(link, messages, now)
        node = self._entrusted.session.node_of(link)
        self._now = now
        for message in said if node is not None else ():
            assert node is not None
            if isinstance(message, RevokedDigest | RevokedIds):
                self._agreeing.on_said(node, message, now)
            elif isinstance(message, HelloAck) and message.node == node:
                self._agreeing.greeted(node, now)

    # ------------------------------------------------------------------ what is to be carried out

    def _carry_out(self, effect: Any, now: float) -> None:
        self._now = now
        self.touched = True
        self._changed |= type(effect) is not SendLink
        self._effects[type(effect)](effect)

    def _say(self, node: bytes, messages: list[Message]) -> None:
        self._entrusted.say(node, messages, self._now)

    def _greet(self, effect: Greet) -> None:
        if self._leaving is None:  # a HELLO after the BYE would undo it
            self._links.greet(effect.link)

    def _on_nodes_changed(self, effect: NodesChanged) -> None:
        if self._leaving:
            self._leaving.intersection_update(self.connected())
        if effect.returned is not None:
            self._agreeing.compare(effect.returned, self._now)

    def _on_goodbye(self, effect: Goodbye) -> None:
        if self._leaving:
            self._leaving.discard(effect.node)
