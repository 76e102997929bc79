"""Why a connection was not made: libzmq's monitor says that it failed, and not how."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from meshq.transport.loop import Loop


class Probe:
    """One more attempt to connect, by a plain socket, that tells its errno: ``on_result(errno)``, 0 for success.

    It matters, as a refused port says that the process has ended, and an unreachable host says nothing about
    it. Comes at once or later through the loop; never, where no answer comes or ``close`` is called before.
    ``host`` must be numeric, as a look-up would block the loop.
    """

    def __init__(self, loop: Loop, host: str, port: int, on_result: Callable[[int], None]) -> None:
        self._loop = loop
        self._on_result = on_result
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)
        code = self._socket.connect_ex(address)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            loop.register_write(self._socket, self._finished)
        else:
            self._finish(code)

    @property
    def pending(self) -> bool:
        """Whether there is no result yet."""
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """Give up; nothing happens where it has finished."""
        if self.pending:
            self._loop.unregister(self._socket)
            self._socket.close()

    def _finished(self) -> None:
        self._finish(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _finish(self, code: int) -> None:
        self.close()
        self._on_result(code)


def describe(code: int) -> str:
    """Return what an errno says, for people: "no route to host"."""
    text = os.strerror(code)
    return text[:1].lower() + text[1:]
