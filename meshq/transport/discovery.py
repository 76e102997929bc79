"""Where nodes may be: candidates, from mDNS or from a list.

All of it is hints. A node counts when it has answered; nothing here proves that it exists, is what it says, or
is gone.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from meshq.errors import ConfigError
from meshq.transport.addresses import is_numeric, parse_endpoint, resolve

logger = logging.getLogger("meshq.discovery")

RESOLVE_AGAIN_S = 30.0
"""A name may be unknown now, or stand for another address later."""
CLOSE_WAIT_S = 0.2
"""A look-up cannot be interrupted; the thread that waits for it is left to end by itself."""


class Candidate(NamedTuple):
    """A place to look for a node, and what is said about it; "" and 0 where nothing is said."""

    source: str
    """``"mdns"`` or ``"static"``."""
    instance: str
    """The node's id in 32 hex digits; for a static candidate, the endpoint as it was given."""
    name: str
    host: str
    addresses: tuple[str, ...]
    """Numeric, in the order in which they are worth dialling."""
    port: int
    control_port: int
    mesh: str
    """``mesh_hash`` of the mesh's name."""
    key: str
    """The fingerprint of the mesh's key; "" also where the mesh has none."""
    version: str
    incarnation: int = 0


OnCandidate: TypeAlias = Callable[[Candidate], None]
OnGone: TypeAlias = Callable[[str], None]


class Discovery(Protocol):
    """A source of candidates. Its callbacks may come from any thread, and must not block: post to the loop."""

    def start(self, on_candidate: OnCandidate, on_gone: OnGone) -> None:
        """Begin. ``on_candidate`` says "probe it", again whenever something about it has changed;
        ``on_gone(instance)`` says that it has taken its leave."""

    def close(self) -> None:
        """Stop; no callback begins after this has returned."""


def mesh_hash(mesh: str) -> str:
    """Return 16 hex digits that stand for a mesh's name where everybody can read them."""
    return hashlib.sha256(b"meshq mesh\0" + mesh.encode()).hexdigest()[:16]


class StaticDiscovery:
    """Candidates from a list of endpoints, ``tcp://HOST:PORT``.

    Names are resolved here, in a thread, again every 30 s: libzmq would do it in its I/O thread, where a slow
    name server holds up every connection.
    """

    def __init__(self, peers: Sequence[str]) -> None:
        self._peers = {peer: parse_endpoint(peer) for peer in peers}
        self._known: dict[str, Candidate] = {}
        self._on_candidate: OnCandidate = lambda candidate: None
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, on_candidate: OnCandidate, on_gone: OnGone) -> None:
        """Report each peer: numeric ones before this returns, names when they have been resolved."""
        self._on_candidate = on_candidate
        names = [peer for peer, (host, _) in self._peers.items() if not is_numeric(host)]
        for peer in self._peers.keys() - set(names):
            self._look_up(peer)
        if names:
            self._thread = threading.Thread(target=self._resolve, args=(names,), name="meshq-peers", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop resolving; no callback begins after this has returned."""
        with self._lock:
            self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WAIT_S)

    def _resolve(self, peers: list[str]) -> None:
        while not self._closing.is_set():
            for peer in peers:
                self._look_up(peer)
            self._closing.wait(RESOLVE_AGAIN_S)

    def _look_up(self, peer: str) -> None:
        host, port = self._peers[peer]
        try:
            address = resolve(host)
        except ConfigError as error:
            logger.warning("%s: %s", peer, error)
            return
        # The control port is one further by rule. Where the guess is wrong, commands go over the DEALER.
        control_port = port + 1 if port < 65535 else 0
        candidate = Candidate("static", peer, "", host, (address,), port, control_port, "", "", "")
        with self._lock:
            if self._closing.is_set() or self._known.get(peer) == candidate:
                return
            self._known[peer] = candidate
            self._on_candidate(candidate)
