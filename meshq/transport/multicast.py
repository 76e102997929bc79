"""The one zeroconf instance of a process, and the thread in which it lives.

Facts that shape it: an interface that appears later is not noticed by itself. Where multicast is filtered,
nothing is found and nothing is reported, so a list of peers must always be possible too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, TypeAlias

from zeroconf import Error as ZeroconfError
from zeroconf import Zeroconf

from meshq.transport.addresses import is_ipv6, local_addresses

logger = logging.getLogger("meshq.discovery")

RESCAN_S = 1.0
"""How often the interfaces are compared with those of before; it costs some 0.2 ms."""
CLOSE_WAIT_S = 0.5

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
                    return Zeroconf(interfaces=interfaces, use_asyncio=False)
            except (OSError, RuntimeError) as error:
                logger.debug("mDNS does not work on %s: %s", interfaces, error)
        logger.warning("no multicast here, so no node is found by itself: name peers, as in tcp://HOST:PORT")
        return None

    def _wanted_interfaces(self) -> list[str]:
        if self._loopback_only:
            return ["127.0.0.1"]
        return [address for address in local_addresses(True) if address != "::1"]  # zeroconf cannot use it

    async def _watch_interfaces(self, zeroconf: Zeroconf) -> None:
        while not self._loopback_only:
            await asyncio.sleep(RESCAN_S)
            found = self._wanted_interfaces()
            if found == self._interfaces or not found:
                continue
            logger.info("the addresses of this host are now %s", ", ".join(found))
            self._interfaces = found
            for refresh in self._refreshers:  # first, as the new interfaces are told what is registered
                await refresh(zeroconf)
            await zeroconf.async_update_interfaces(list(found))

    def _done(self, future: Future[Any]) -> None:
        self._futures.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.warning("mDNS failed: %r", error)
