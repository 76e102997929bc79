"""One question by mDNS from ports of our own, whose answers come straight back.

The browser's first query asks for answers by unicast to port 5353. Where several processes of a host share
that port, such an answer reaches whichever of them the kernel chooses, and the browser's next query comes a
second later. A query from any other port is answered at once, to that port (RFC 6762, section 6.7), whatever
has been multicast in the last second; so it finds in some milliseconds whoever is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Iterable

# Kept importable by zeroconf, though not in its __all__.
from zeroconf import DNSIncoming, DNSOutgoing, DNSQuestion, Zeroconf  # type: ignore[attr-defined]

from meshq.transport.addresses import is_ipv6

logger = logging.getLogger("meshq.discovery")

LISTEN_S = 1.0
"""How long answers are taken; by then the browser has asked again by itself."""
_GROUP = ("224.0.0.251", 5353)
_QUERY, _PTR, _IN = 0, 12, 1
_TTL = 255
"""The rule of RFC 6762, section 11, for all that is multicast."""


async def ask_once(zeroconf: Zeroconf, service_type: str, interfaces: Iterable[str]) -> None:
    """Ask on each IPv4 interface who offers ``service_type``; the answers go into zeroconf's cache.

    Browsers hear of them from there. What cannot be asked is left to the browser's own queries.
    """
    number = random.randrange(1, 1 << 16)
    query = DNSOutgoing(_QUERY, multicast=False, id_=number)
    query.add_question(DNSQuestion(service_type, _PTR, _IN))
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        for address in interfaces:
            if is_ipv6(address):
                continue
            try:
                asker = opened.enter_context(_socket_on(address))
                transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(zeroconf, number), sock=asker)
            except OSError as error:
                logger.debug("mDNS: nobody can be asked on %s: %s", address, error)
                continue
            opened.callback(transport.close)
            for packet in query.packets():
                transport.sendto(packet, _GROUP)
        await asyncio.sleep(LISTEN_S)


def _socket_on(address: str) -> socket.socket:
    """Return a socket at any free port, which multicasts on the interface of ``address``."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
        asker.bind((address, 0))
    except OSError:
        asker.close()
        raise
    return asker


class _Answers(asyncio.DatagramProtocol):
    """Takes the answers that bear the number of the question; anybody may send others here."""

    def __init__(self, zeroconf: Zeroconf, number: int) -> None:
        self._zeroconf = zeroconf
        self._number = number

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand an answer on."""
        message = DNSIncoming(data)
        if message.valid and message.is_response() and message.id == self._number:
            self._zeroconf.record_manager.async_updates_from_response(message)

    def error_received(self, exc: Exception) -> None:
        """Take note of an interface that has gone down meanwhile."""
        logger.debug("mDNS: a question could not be sent: %s", exc)
