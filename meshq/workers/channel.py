"""The two ends of a stream socket between a node and a worker: one that waits, and one that never does."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

from meshq.protocol.payload import Buffer
from meshq.workers.framing import Message, Packer, Reader
from meshq.workers.reentrant import Reentrant

_READS_A_TURN = 16  # so that one talkative worker does not hold up the node's loop
_BUFFERS_A_WRITE = 256  # well below IOV_MAX (1024)


class _Sender:
    """The sending half: buffers wait in order until the socket has taken them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffers: deque[Buffer] = deque()

    def _write(self) -> bool:
        """Write what waits; return False where the socket takes no more for now."""
        buffers = self._buffers
        while buffers:
            try:
                if len(buffers) == 1:  # as a rule, and then it takes half the time
                    sent = self._sock.send(buffers[0])
                else:
                    sent = self._sock.sendmsg(list(islice(buffers, _BUFFERS_A_WRITE)))
            except BlockingIOError:
                return False
            while buffers and sent >= len(buffers[0]):
                sent -= len(buffers.popleft())
            if sent:
                buffers[0] = memoryview(buffers[0])[sent:]
        return True


class BlockingChannel(_Sender):
    """The worker's end: reads and writes wait. Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._reader = Reader(takes_bytes=True)
        self._flush = Reentrant(self._buffers, self._write)
        self._packers: list[Packer] = []
        """Those that no thread is using. Taking from and adding to a list's end is safe between threads."""

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._sock.fileno()

    def receive(self, wait: bool = True) -> list[Message] | None:
        """Return the messages that come next (without ``wait``: that are there already); None at the end."""
        reader = self._reader
        messages: list[Message] = []
        while not messages:
            if reader.awaited and not wait:
                break  # bytes come whole only to who waits for them
            # Woken once for all that is missing, not for each 32 KiB of it.
            waiting = socket.MSG_WAITALL if reader.missing else 0
            try:
                if reader.awaited:
                    content = self._sock.recv(reader.awaited, waiting)
                    count = len(content)
                else:
                    count = self._sock.recv_into(reader.target(), 0, waiting if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                return None
            if count == 0:
                return None
            messages = reader.take(content) if reader.awaited else reader.received(count)
        return messages

    def send(self, kind: int, items: Sequence[Any], field: int | None = None) -> None:
        """Send one message, and wait until the socket has taken it; raises OSError when the node is gone."""
        try:
            packer = self._packers.pop()
        except IndexError:
            packer = Packer()
        self._buffers.extend(packer.pack(kind, items, field))
        self._packers.append(packer)
        self._flush.run()

    def close(self) -> None:
        """Close this process's end."""
        self._sock.close()


class PeerChannel(_Sender):
    """The node's end: nothing waits.

    ``eof`` is True once the other side has closed, ``dry`` when the last ``feed`` took all that was there.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self._packer = Packer()
        self._reader = Reader()
        self.eof = False
        self.dry = False

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._sock.fileno()

    def put(self, kind: int, items: Sequence[Any], field: int | None = None) -> None:
        """Add a message to those that wait to be written."""
        self._buffers.extend(self._packer.pack(kind, items, field))

    def flush(self) -> bool:
        """Write what the socket takes; return True when nothing waits. What nobody will read is dropped."""
        try:
            return self._write()
        except OSError:  # the worker is gone, which is noticed where its messages are read
            self._buffers.clear()
            return True

    def feed(self) -> list[Message]:
        """Return the messages that have come; raises RemoteProtocolError on rubbish."""
        messages: list[Message] = []
        reader, reads = self._reader, 0
        self.dry = self.eof
        while not self.dry and reads < _READS_A_TURN:
            reads += 1
            target = reader.target()
            try:
                count = self._sock.recv_into(target)
            except BlockingIOError:
                self.dry = True
                break
            except ConnectionResetError:  # the worker died with messages unread, after all that it wrote
                count = 0
            if count == 0:
                self.eof = self.dry = True
            else:
                messages += reader.received(count)
                # A short read has taken all there was; to ask once more would cost an exception each time.
                self.dry = count < len(target)
        return messages

    def finish(self) -> None:
        """Drop what is unwritten, and let the worker see the end of its messages."""
        self._buffers.clear()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        """Close this process's end."""
        self._buffers.clear()
        self._sock.close()
