"""A node among its peers: how it finds them, the sockets to them, and whom of them clients are told of.

A revoke goes to all nodes at once; who was away, or is only starting, learns of it from its peers, before it lets
anybody in.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshq.client.finding import Finding, named_peers
from meshq.config import Settings
from meshq.core.agreeing import Refused
from meshq.core.hints import MAX_HINTS
from meshq.core.membership import MDNS, Candidate
from meshq.core.presence import LINK_EVENTS
from meshq.core.timers import earliest
from meshq.node.entrusted import Entrusted
from meshq.node.peers import Peers
from meshq.protocol.messages import Hello, HelloAck, Message
from meshq.transport.addresses import is_loopback, parse_endpoint, reachable_addresses
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.links import Links
from meshq.transport.loop import Loop
from meshq.transport.sockets import Context

if TYPE_CHECKING:
    from meshq.transport.mdns import Mdns

BROWSE_S = 0.06
"""How long mDNS looks for who is there: nodes answer within 3 to 13 ms, those of a busy host too.

Who is found later is asked then.
"""
AGREE_S = 0.3
"""How long a node that could start to work waits at most for its peers to tell what is revoked."""


class Peering:
    """The peers of one node, on the node's loop: those of the client ``entrusted``, which greets with ``hello``.

    ``refuse(ids)`` is called with what a peer refuses, before anything else is asked of ``refused``.
    ``on_known(peers)`` gets the nodes that clients are to be told of, ``on_air(mdns)`` what to announce by.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        settings: Settings,
        key: MeshKey | None,
        hello: Hello,
        own: HelloAck,
        address: tuple[str, int],
        entrusted: Entrusted,
        refused: Refused,
        *,
        refuse: Callable[[Sequence[Sequence[Any]]], None],
        on_known: Callable[[list[list[Any]]], None],
        on_air: Callable[[Mdns], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._own_key = "" if key is None else fingerprint(key)
        self._own = own
        self._host, self._port = address
        self._on_known = on_known
        self._on_air = on_air
        self._links = Links(loop, context, key, hello, self._on_messages, self._on_link_event)
        self.peers = Peers(entrusted, own.node, self._links, refused, random.Random(), refuse)
        self._finding = Finding(settings, key, loop.post, self._see, self._lose)
        self._known: list[list[Any]] = []
        self._found_at: float | None = None
        """When who is there will have been found."""
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
        self.peers.touched = True

    def agrees(self, now: float) -> bool:
        """Tell whether the peers found so far have told what they refuse, so that this node may let others in."""
        return self.peers.agree(self._found_at is not None and now >= self._found_at)

    # ------------------------------------------------------------------ turns

    @property
    def due(self) -> float | None:
        """When ``step`` has something to do."""
        return self._due

    def step(self) -> None:
        """Do what is due, and send what waits."""
        now = time.monotonic()
        if self.peers.tick(now):
            self._review()
        self._links.flush()
        waits_for = self._found_at if self._found_at is not None and now < self._found_at else None
        self._due = earliest(self.peers.next_deadline(), waits_for)

    def leave(self) -> None:
        """Take leave of the peers."""
        self.peers.leave(time.monotonic())
        self._links.flush()

    def _on_messages(self, link: int, messages: list[Message]) -> None:
        self.peers.receive(link, messages, time.monotonic())

    def _on_link_event(self, link: int, event: str, text: str) -> None:
        make = LINK_EVENTS.get(event)
        if make is not None:
            self.peers.notice(make(link, text), time.monotonic())

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
        self.peers.see(candidate, time.monotonic())

    def _lose(self, instance: str) -> None:
        self.peers.lose(instance, time.monotonic())

    def _is_own(self, candidate: Candidate) -> bool:
        """Tell whether this node is meant, which may well be in the list of peers that all nodes get."""
        host, port = parse_endpoint(candidate.endpoints[0])
        own = port == self._port and candidate.source != MDNS
        return own and (is_loopback(host) or host in reachable_addresses(self._host))

    def _review(self) -> None:
        """Bring up to date whom clients are told of."""
        known = self._list()
        if known != self._known:
            self._known = known
            self._on_known(known)

    def _list(self) -> list[list[Any]]:
        """Return id, NAME@HOST and endpoint of each peer, and of others that were announced."""
        peers = {view.node_id: [view.node_id, f"{view.ack.name}@{view.ack.host}", view.endpoint]
                 for view in self.peers.nodes()}  # fmt: skip
        for instance, candidate in self.peers.choice.known.items():
            where = candidate.endpoints[0]
            ours = candidate.source == MDNS and candidate.key == self._own_key and "%" not in where
            if ours and instance not in self.peers.choice.ended and len(peers) < MAX_HINTS:
                node = bytes.fromhex(instance)
                peers.setdefault(node, [node, candidate.label, where])
        return list(peers.values())
