"""When the addresses of this host change: told by the system where it can, so that nobody need look.

Linux sends a message over netlink for each address that comes or goes (``man 7 rtnetlink``, RTMGRP_IPV4_IFADDR).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from types import TracebackType

logger = logging.getLogger("meshq.discovery")

_IPV4_ADDRESSES, _IPV6_ADDRESSES = 0x10, 0x100  # RTMGRP_*_IFADDR of <linux/rtnetlink.h>
_ONE_MESSAGE = 65536
_GATHER_S = 0.2
"""Changes come several at once, and are looked at once."""


class AddressChanges:
    """Waits for the next change; ``are_told`` is False where the system says nothing. Use it in one event loop."""

    def __init__(self) -> None:
        self._told = _open()

    def __enter__(self) -> AddressChanges:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._close()

    @property
    def are_told(self) -> bool:
        """Whether the system tells of changes; else there is nothing but to look."""
        return self._told is not None

    async def wait(self, at_most_s: float) -> bool:
        """Return True soon after an address has come or gone, and False after ``at_most_s`` seconds."""
        if self._told is None:
            await asyncio.sleep(at_most_s)
            return False
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._told, _ONE_MESSAGE), at_most_s)
            await asyncio.sleep(_GATHER_S)
            while self._told.recv(_ONE_MESSAGE):
                pass
        except TimeoutError:
            return False
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # which says that there were more changes than it keeps
                logger.debug("the system tells no more when addresses change: %s", error)
                self._close()
        return True

    def _close(self) -> None:
        if self._told is not None:
            self._told.close()
            self._told = None


def _open() -> socket.socket | None:
    if sys.platform != "linux":
        return None
    try:
        with contextlib.ExitStack() as unfinished:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            opened = unfinished.enter_context(socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE))
            opened.bind((0, _IPV4_ADDRESSES | _IPV6_ADDRESSES))
            unfinished.pop_all()
            return opened
    except OSError as error:
        logger.debug("the system does not tell when addresses change: %s", error)
        return None
