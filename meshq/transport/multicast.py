"""The one zeroconf instance of a process, and the thread in which it lives.

Facts that shape it: an interface that appears later is not noticed by itself. Where multicast is filtered,
nothing is found and nothing is reported, so a list of peers must always be possible too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeAlias

from zeroconf import Error as ZeroconfError
from zeroconf import Zeroconf

from meshq.transport.address_changes import AddressChanges
from meshq.transport.addresses import is_ipv6, multicast_addresses

logger = logging.getLogger("meshq.discovery")

RESCAN_S = 1.0
"""How often the interfaces are compared with those of before where the system tells of no change: a listing costs
0.8 ms, and ten times that when the caches have gone cold meanwhile. So where it does tell, a node sleeps."""
TOLD_RESCAN_S = 60.0
"""The same where the system tells, in case it does not tell all."""
SETTLE_S = 5.0
"""For so long after a change they are tried again: a new IPv6 address can be bound only after a second or two."""
CLOSE_WAIT_S = 0.5

# The first that works: Linux before 5.7 keeps the first for root, and the second is about multicast alone.
_CONFINEMENTS: list[tuple[int, int, bytes | int]] = []
if sys.platform == "linux":
    _IP_MULTICAST_ALL = 49  # from <linux/in.h>; the socket module does not have it
    _CONFINEMENTS += [
        (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0"),
        (socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0),
    ]

Work: TypeAlias = Callable[[Zeroconf], Coroutine[Any, Any, None]]


class Mdns:
    """Owns the zeroconf instance, which the browser and the announcer of a process share.

    ``loopback_only`` sends and joins on 127.0.0.1 alone. Where multicast is not possible, ``available`` is
    False, which has been logged, and everything here does nothing. Close it last, and not from a callback.
    """

    def __init__(self, *, loopback_only: bool = False) -> None:
        self._loopback_only = loopback_only
        self._interfaces = self._wanted_interfaces()
        self._closing = threading.Lock()
        self._closed = False
        self._futures: set[Future[Any]] = set()
        self._refreshers: list[Work] = []
        self.zeroconf = self._open()
        self.spawn(self._watch_interfaces)

    @property
    def available(self) -> bool:
        """Whether anything can be heard and said."""
        return self.zeroconf is not None and not self._closed

    @property
    def interfaces(self) -> list[str]:
        """The addresses of the interfaces that are spoken and heard on."""
        return list(self._interfaces)

    def spawn(self, work: Work) -> Future[None] | None:
        """Run ``work(zeroconf)`` in zeroconf's thread; None where there is no such thread (any more)."""
        with self._closing:
            if self._closed or self.zeroconf is None or self.zeroconf.loop is None:
                return None
            future = asyncio.run_coroutine_threadsafe(work(self.zeroconf), self.zeroconf.loop)
            self._futures.add(future)
        future.add_done_callback(self._done)
        return future

    def finish(self, work: Work) -> None:
        """Run ``work(zeroconf)`` in zeroconf's thread and wait for it, at most half a second."""
        future = self.spawn(work)
        if future is None:
            return
        try:
            future.result(CLOSE_WAIT_S)
        except (FutureTimeout, CancelledError, ZeroconfError) as error:
            logger.debug("mDNS did not finish in time: %r", error)

    def on_interfaces(self, refresh: Work) -> None:
        """Call ``refresh(zeroconf)`` in zeroconf's thread each time the addresses of this host have changed."""
        self._refreshers.append(refresh)

    def close(self) -> None:
        """Take leave for everything announced, which takes 0.25 s, and end the thread."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            pending = list(self._futures)
        for future in pending:
            future.cancel()
        if self.zeroconf is not None:
            try:
                self.zeroconf.close()
            except ZeroconfError as error:
                logger.debug("mDNS did not close in time: %r", error)

    def _open(self) -> Zeroconf | None:
        without_ipv6 = [address for address in self._interfaces if not is_ipv6(address)]
        for interfaces in (self._interfaces, without_ipv6):
            try:
                if interfaces:
                    zeroconf = Zeroconf(interfaces=interfaces, use_asyncio=False)
                    if self._loopback_only:
                        _confine_to_loopback(zeroconf)
                    return zeroconf
            except (OSError, RuntimeError) as error:
                logger.debug("mDNS does not work on %s: %s", interfaces, error)
        logger.warning("no multicast here, so no node is found by itself: name peers, as in tcp://HOST:PORT")
        return None

    def _wanted_interfaces(self) -> list[str]:
        return ["127.0.0.1"] if self._loopback_only else multicast_addresses()

    async def _watch_interfaces(self, zeroconf: Zeroconf) -> None:
        if self._loopback_only:
            return
        settles_at = time.monotonic() + SETTLE_S
        with AddressChanges() as changes:
            while True:
                is_settled = time.monotonic() >= settles_at
                is_told = await changes.wait(TOLD_RESCAN_S if changes.are_told and is_settled else RESCAN_S)
                if await self._has_changed(zeroconf) or is_told:
                    settles_at = time.monotonic() + SETTLE_S
                elif is_settled:
                    continue
                await zeroconf.async_update_interfaces(list(self._interfaces))

    async def _has_changed(self, zeroconf: Zeroconf) -> bool:
        """Compare the interfaces with those of before, and tell whoever wants to know of new ones."""
        found = self._wanted_interfaces()
        if found == self._interfaces or not found:
            return False
        logger.info("the addresses of this host are now %s", ", ".join(found))
        self._interfaces = found
        for refresh in self._refreshers:  # before zeroconf's own, as the new ones are told what is registered
            await refresh(zeroconf)
        return True

    def _done(self, future: Future[Any]) -> None:
        self._futures.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.warning("mDNS failed: %r", error)


def _confine_to_loopback(zeroconf: Zeroconf) -> None:
    """Hear nothing but what comes over loopback.

    A socket that is bound to no address hears each group that any process of this host has joined, on any
    interface; so it would answer the whole network that there is a node here.
    """
    for reader in zeroconf.engine.readers:
        opened = reader.transport.get_extra_info("socket")
        for level, option, value in _CONFINEMENTS:
            try:
                opened.setsockopt(level, option, value)
                break
            except OSError as error:
                logger.debug("mDNS sockets cannot be confined by option %d: %s", option, error)
