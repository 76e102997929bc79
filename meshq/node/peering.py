"""A node among its peers: it is a client of a few, and each tells the others which tasks are revoked.

A revoke goes to all nodes at once; who was away, or is only starting, learns of it here. On every greeting, every
ten seconds, and before this node lets anybody in, it compares what is refused here with what its peers refuse.
What is learned anew is passed on at once. It also keeps the list of nodes that clients are told of.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from meshq.client.finding import Finding, named_peers
from meshq.client.runtime import make_hello
from meshq.config import Settings
from meshq.core.hints import MAX_HINTS
from meshq.core.membership import MDNS, Candidate
from meshq.core.relaying import revoked_pages
from meshq.core.telling import Telling
from meshq.core.timers import earliest
from meshq.node.peer_choice import PeerChoice
from meshq.node.peer_links import PeerLinks
from meshq.protocol.messages import HelloAck, RevokedDigest, RevokedIds
from meshq.transport.addresses import is_loopback, parse_endpoint, reachable_addresses
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.loop import Loop
from meshq.transport.sockets import Context

if TYPE_CHECKING:
    from meshq.transport.mdns import Mdns

log = logging.getLogger("meshq.node")

BROWSE_S = 0.06
"""How long mDNS looks for who is there: nodes answer within 3 to 13 ms, those of a busy host too.

Who is found later is asked then.
"""
AGREE_S = 0.3
"""How long a node that could start to work waits at most for its peers to tell what is revoked."""
SOON_S = 1.0
EVERY_S = 10.0
AT_ONCE = 2
"""After its start, and then so often, a node compares what is refused with this many of its peers."""


class Refused(Protocol):
    """The books of what this node refuses."""

    def revoked(self, now: float) -> list[tuple[bytes, float]]: ...
    def revoked_digest(self, now: float) -> bytes: ...


class Peering:
    """The peers of one node, on the node's loop.

    ``refuse(ids)`` is called with what a peer refuses, before anything else is asked of ``refused``.
    ``on_known(peers)`` gets the nodes that clients are to be told of, ``on_air(mdns)`` what to announce by.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        settings: Settings,
        key: MeshKey | None,
        own: HelloAck,
        address: tuple[str, int],
        refused: Refused,
        *,
        refuse: Callable[[Sequence[Sequence[Any]]], None],
        on_known: Callable[[list[list[Any]]], None],
        on_air: Callable[[Mdns], None],
    ) -> None:
        hello = make_hello(settings.mesh, "node")
        self._loop = loop
        self._settings = settings
        self._own_key = "" if key is None else fingerprint(key)
        self._own = own
        self._host, self._port = address
        self._refused = refused
        self._refuse = refuse
        self._on_known = on_known
        self._on_air = on_air
        self._rng = random.Random()
        self._links = PeerLinks(loop, context, key, hello, self._compare, self._on_said)
        self._choice = PeerChoice(own.node, self._rng)
        self._finding = Finding(settings, key, loop.post, self._see, self._lose)
        self._told: set[bytes] = set()
        """Peers that have told all that they refuse."""
        self._tellings: dict[bytes, Telling] = {}
        """Of all ids, by peer."""
        self._source: bytes | None = None
        self._known: list[list[Any]] = []
        self._found_at: float | None = None
        """When who is there will have been found."""
        self._compare_at: float | None = None
        self._again: set[bytes] = set()
        """Peers to compare with next, besides any others."""
        self._due: float | None = None
        self._mdns: Mdns | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._discoverer = threading.Thread(target=self._discover, name="meshq-discovery", daemon=True)

    # ------------------------------------------------------------------ the start

    def start(self) -> None:
        """Begin to look for peers."""
        self._discoverer.start()

    def _discover(self) -> None:
        """Start the discoveries, apart: the import of zeroconf takes longer than a worker takes to load."""
        self._finding.start(named_peers(self._settings))
        if self._settings.mdns:
            from meshq.transport.mdns import Mdns, MdnsBrowser

            mdns = Mdns(loopback_only=is_loopback(self._host))
            with self._closing:
                if self._closed:
                    mdns.close()
                    return
                self._mdns = mdns
            self._finding.start([MdnsBrowser(self._settings.mesh, mdns)])
        self._loop.post(self._begun)

    def _begun(self) -> None:
        self._found_at = time.monotonic()
        if self._mdns is not None:
            self._on_air(self._mdns)
            if self._mdns.available:
                self._found_at += BROWSE_S
        self._links.touched = True

    def agrees(self, now: float) -> bool:
        """Tell whether the peers found so far have told what they refuse, so that this node may let others in."""
        standing = [self._links.standing(instance) for instance in self._choice.chosen]
        if any(node is None and not code for node, code in standing):
            return False
        nodes = {node for node, _ in standing if node is not None}
        return nodes <= self._told and (bool(nodes) or (self._found_at is not None and now >= self._found_at))

    def opened(self, now: float) -> None:
        """Note that this node lets others in: what was said elsewhere meanwhile is to be heard soon."""
        for node in self._links.connected():
            self._compare(node)
            self._again.add(node)
        self._compare_at = now + SOON_S
        self._links.touched = True

    # ------------------------------------------------------------------ turns

    @property
    def is_touched(self) -> bool:
        """Whether ``step`` has something to do before it is due."""
        return self._links.touched

    @property
    def due(self) -> float | None:
        """When ``step`` has something to do."""
        return self._due

    def step(self) -> None:
        """Do what is due, and send what waits."""
        now = time.monotonic()
        self._links.tick(now)
        if self._compare_at is not None and self._compare_at <= now:
            self._compare_at = now + EVERY_S * self._rng.uniform(0.9, 1.1)
            self._compare_with_some()
        if self._links.changed:
            self._review(now)
            self._links.changed = False
        self._links.flush()
        waits_for = self._found_at if self._found_at is not None and now < self._found_at else None
        self._due = earliest(self._links.next_deadline(), self._compare_at, waits_for)

    def leave(self) -> None:
        """Take leave of the peers."""
        self._links.leave()

    @property
    def is_leaving(self) -> bool:
        """Whether a peer has yet to hear of the leave."""
        return self._links.is_leaving

    def close(self) -> None:
        """End the connections and the looking for peers; whatever is announced must have been withdrawn."""
        with self._closing:
            self._closed = True
        self._links.close()
        self._finding.close()
        if self._discoverer.is_alive():
            self._discoverer.join(1.0)
        if self._mdns is not None:
            self._mdns.close()

    # ------------------------------------------------------------------ whom it knows

    def _see(self, candidate: Candidate) -> None:
        if candidate.instance == self._own.node.hex() or self._is_own(candidate):
            return
        self._choice.see(candidate)
        if candidate.instance in self._choice.chosen:
            self._links.see(candidate)
        self._links.touched = self._links.changed = True

    def _lose(self, instance: str) -> None:
        self._choice.lose(instance)
        self._links.lose(instance)
        self._links.touched = self._links.changed = True

    def _is_own(self, candidate: Candidate) -> bool:
        """Tell whether this node is meant, which may well be in the list of peers that all nodes get."""
        host, port = parse_endpoint(candidate.endpoints[0])
        own = port == self._port and candidate.source != MDNS
        return own and (is_loopback(host) or host in reachable_addresses(self._host))

    def _review(self, now: float) -> None:
        """Connect to other peers where that is needed, and bring up to date whom clients are told of."""
        change = self._choice.review(self._links.standing, now)
        for instance in change.drop:
            self._links.drop(instance)
        for candidate in change.dial:
            self._links.see(candidate)
        known = self._list()
        if known != self._known:
            self._known = known
            self._on_known(known)

    def _list(self) -> list[list[Any]]:
        """Return id, NAME@HOST and endpoint of each peer, and of others that were announced."""
        peers = {view.node_id: [view.node_id, f"{view.ack.name}@{view.ack.host}", view.endpoint]
                 for view in self._links.nodes()}  # fmt: skip
        for instance, candidate in self._choice.known.items():
            where = candidate.endpoints[0]
            ours = candidate.source == MDNS and candidate.key == self._own_key and "%" not in where
            if ours and instance not in self._choice.ended and len(peers) < MAX_HINTS:
                node = bytes.fromhex(instance)
                peers.setdefault(node, [node, candidate.label, where])
        return list(peers.values())

    # ------------------------------------------------------------------ what is revoked

    def tell(self, ids: Sequence[tuple[bytes, float]]) -> None:
        """Tell all peers, but for the one that told them, of ids that are refused as of now."""
        pages = list(revoked_pages(ids))
        for node in self._links.connected():
            if node != self._source:
                self._links.say(node, pages)

    def _compare(self, node: bytes) -> None:
        """Begin to compare with a peer what is refused."""
        self._links.say(node, [RevokedDigest(self._refused.revoked_digest(time.monotonic()))])

    def _compare_with_some(self) -> None:
        """Compare with some peers, and with those with whom there was reason to do so again."""
        self._links.changed = True  # one that failed a while ago may be tried again
        nodes = self._links.connected()
        for node in {*self._rng.sample(nodes, min(AT_ONCE, len(nodes))), *self._again}:
            self._compare(node)
        self._again.clear()
        self._told.intersection_update(nodes)
        self._tellings = {node: self._tellings[node] for node in nodes if node in self._tellings}

    def _on_said(self, node: bytes, message: RevokedDigest | RevokedIds) -> None:
        if isinstance(message, RevokedIds):
            self._source = node
            try:
                self._refuse(message.ids)
            finally:
                self._source = None
            return
        self._told.add(node)
        now = time.monotonic()
        digest = self._refused.revoked_digest(now)
        if digest == message.digest or not self._tellings.setdefault(node, Telling()).begin(digest, now):
            return
        self._links.say(node, list(revoked_pages(self._refused.revoked(now))))
        # A peer that has told its ids a moment ago does not do so again yet.
        self._again.add(node)
        self._compare_at = now + SOON_S if self._compare_at is None else min(self._compare_at, now + SOON_S)
