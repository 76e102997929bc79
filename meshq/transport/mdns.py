"""mDNS: nodes announce themselves on the local network, and clients listen.

Import this lazily: only what is here and in ``multicast`` imports zeroconf. With cooperating responders an
announcement is seen within milliseconds, and not after the second that probing takes; ids make that safe. A
node that is killed takes no leave, and its records live for some twenty minutes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future

from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from meshq.transport.addresses import is_loopback, reachable_addresses
from meshq.transport.discovery import Candidate, OnCandidate, OnGone, mesh_hash
from meshq.transport.mdns_query import ask_once
from meshq.transport.mdns_records import (
    SERVICE_TYPE,
    decode_candidate,
    encode_properties,
    instance_of,
    service_name_of,
)
from meshq.transport.multicast import Mdns

__all__ = ["Mdns", "MdnsAnnouncer", "MdnsBrowser"]

logger = logging.getLogger("meshq.discovery")

RESOLVE_MS = 3_000
TTL_S = 1_125
"""How long a node that was killed is still announced by what others remember: the least that zeroconf heeds."""
MAX_CANDIDATES = 4_096
"""Kept or being resolved: anybody on the network can announce services without end. A segment carries some
2,000 nodes before zeroconf's own cache overflows."""


class MdnsAnnouncer:
    """Announces one node, with the addresses at which it is reached, and again when those change.

    ``node`` says what is announced; its ``addresses`` are ignored, as they follow from ``bind_host``, the
    host that its sockets are bound to. Without an ``mdns`` to share, it makes one, on loopback alone where
    the node is bound there, and closes it.
    """

    def __init__(self, node: Candidate, bind_host: str, mdns: Mdns | None = None) -> None:
        self._shared = mdns
        self._mdns: Mdns | None = mdns
        self._node = node
        self._bind_host = bind_host
        self._registered: AsyncServiceInfo | None = None
        self._registration: Future[None] | None = None

    def start(self) -> None:
        """Announce, without waiting for it. Set signal handlers before, or a killed process leaves a ghost."""
        if self._mdns is None:
            self._mdns = Mdns(loopback_only=is_loopback(self._bind_host))
        self._registration = self._mdns.spawn(self._register)
        self._mdns.on_interfaces(self._refresh)

    def close(self) -> None:
        """Take leave, which takes 0.25 s; nothing happens the second time."""
        if self._mdns is None:
            return
        if self._registration is not None:
            self._registration.cancel()
        if self._shared is None:
            self._mdns.close()  # takes leave too
        else:
            self._mdns.finish(self._withdraw)
        self._mdns = None

    async def _register(self, zeroconf: Zeroconf) -> None:
        info = self._info()
        announcing = await zeroconf.async_register_service(info, cooperating_responders=True)
        self._registered = info
        await announcing

    async def _refresh(self, zeroconf: Zeroconf) -> None:
        if self._registered is not None:
            self._registered = self._info()
            await zeroconf.async_update_service(self._registered)

    async def _withdraw(self, zeroconf: Zeroconf) -> None:
        info, self._registered = self._registered, None
        if info is not None:
            await (await zeroconf.async_unregister_service(info))

    def _info(self) -> AsyncServiceInfo:
        addresses = [address.partition("%")[0] for address in reachable_addresses(self._bind_host)]
        return AsyncServiceInfo(
            SERVICE_TYPE,
            service_name_of(self._node.instance),
            port=self._node.port,
            properties=encode_properties(self._node),
            server=f"{self._node.instance}.local.",
            parsed_addresses=addresses,
            other_ttl=TTL_S,
        )


class MdnsBrowser:
    """Candidates of one mesh by mDNS. Its callbacks come from zeroconf's thread.

    A node of the same mesh that has another key is reported too, so that a client can say why it is not in.
    Without an ``mdns`` to share, it makes one when it starts, and closes it.
    """

    def __init__(self, mesh: str, mdns: Mdns | None = None, *, loopback_only: bool = False) -> None:
        self._shared = mdns
        self._mdns: Mdns | None = mdns
        self._loopback_only = loopback_only
        self._mesh = mesh_hash(mesh)
        self._known: dict[str, Candidate | None] = {}  # by service name; None: of another mesh, or garbage
        self._resolving: dict[str, asyncio.Task[None]] = {}
        self._browser: AsyncServiceBrowser | None = None
        self._on_candidate: OnCandidate = lambda candidate: None
        self._on_gone: OnGone = lambda instance: None
        self._closing = threading.Lock()
        self._closed = False

    def start(self, on_candidate: OnCandidate, on_gone: OnGone) -> None:
        """Begin to listen; what has been announced before is heard within some 100 ms."""
        self._on_candidate, self._on_gone = on_candidate, on_gone
        mdns = self._shared or Mdns(loopback_only=self._loopback_only)
        with self._closing:
            if not self._closed:
                self._mdns = mdns
                mdns.spawn(self._browse)
                return
        if self._shared is None:  # it was closed meanwhile, by another thread
            mdns.close()

    def close(self) -> None:
        """Stop listening; no callback begins after this has returned."""
        with self._closing:  # of several threads one stops it: zeroconf takes a second time ill
            self._closed = True
            mdns, self._mdns = self._mdns, None
        if mdns is None:
            return
        mdns.finish(self._stop)
        if self._shared is None:
            mdns.close()

    async def _browse(self, zeroconf: Zeroconf) -> None:
        self._browser = AsyncServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._changed])
        if self._mdns is not None:
            await ask_once(zeroconf, SERVICE_TYPE, self._mdns.interfaces)

    async def _stop(self, zeroconf: Zeroconf) -> None:
        if self._browser is not None:
            await self._browser.async_cancel()
        for task in self._resolving.values():
            task.cancel()

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Added and Updated both mean "probe it": a node that was killed and comes back is an update."""
        if state_change is ServiceStateChange.Removed:
            self._remove(name)
            return
        info = AsyncServiceInfo(service_type, name)
        if info.load_from_cache(zeroconf):
            self._resolved(name, info)
        elif name not in self._resolving and self._has_room(name):
            self._resolving[name] = asyncio.ensure_future(self._resolve(zeroconf, name, info))

    async def _resolve(self, zeroconf: Zeroconf, name: str, info: AsyncServiceInfo) -> None:
        try:
            if await info.async_request(zeroconf, RESOLVE_MS):
                self._resolved(name, info)
        except ZeroconfError as error:
            logger.debug("%s was not resolved: %r", name, error)
        finally:
            if self._resolving.get(name) is asyncio.current_task():
                del self._resolving[name]

    def _resolved(self, name: str, info: AsyncServiceInfo) -> None:
        if not self._has_room(name):
            return
        candidate = self._read(name, info)
        self._known[name] = candidate
        if candidate is not None and not self._closed:
            self._on_candidate(candidate)

    def _read(self, name: str, info: AsyncServiceInfo) -> Candidate | None:
        try:
            candidate = decode_candidate(
                name, info.port, info.parsed_scoped_addresses(IPVersion.All), info.properties
            )
        except ValueError as error:
            logger.debug("ignored the announcement of %r: %s", name, error)
            return None
        return candidate if candidate.mesh == self._mesh else None

    def _remove(self, name: str) -> None:
        if (task := self._resolving.pop(name, None)) is not None:
            task.cancel()
        if self._known.pop(name, None) is not None and not self._closed:
            self._on_gone(instance_of(name))

    def _has_room(self, name: str) -> bool:
        if (
            name in self._known
            or name in self._resolving
            or len(self._known) + len(self._resolving) < MAX_CANDIDATES
        ):
            return True
        logger.debug("ignored %r: %d services are known already", name, MAX_CANDIDATES)
        return False
