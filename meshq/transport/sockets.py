"""What every socket has in common: its limits and timers, its key, and how messages go in and out."""

from __future__ import annotations

import os
import socket as sockets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import zmq
from zmq import zmq_poll

from meshq.transport.addresses import is_loopback
from meshq.transport.keys import ZAP_DOMAIN, MeshKey

Context: TypeAlias = "zmq.Context[zmq.Socket[bytes]]"
Socket: TypeAlias = "zmq.Socket[bytes]"
Frame: TypeAlias = "bytes | bytearray | memoryview"

MAX_FRAME_BYTES = 1024 * 1024 + 64 * 1024
"""The largest head, a batch of 1 MiB behind a header of 64 KiB; a piece of a payload has 1 MiB. Without it, a peer
that has not even a key makes us buffer what it sends during the handshake. It holds for each frame; only a key
guards the sum."""
HANDSHAKE_MS = 5_000
"""libzmq waits 30 s: too long to hold thousands of half-open connections for."""
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 2_000, 6_000
"""Clears away half-open connections. The I/O thread answers, so it says nothing about the process: whether a
node lives is decided by messages of its own."""
RECONNECT_MS, RECONNECT_MAX_MS = 200, 5_000
"""libzmq tries each dead endpoint ten times a second, for ever."""
CONNECT_TIMEOUT_MS = 2_000
BACKLOG = 4_096
"""800 clients that dial at once need 1.1 s with the default of 100, and 0.06 s with this."""
WORK_SEND_HWM = 64
"""Messages, and a message is a batch of up to 1 MiB: a stalled peer costs at most some 64 MiB here, and more
than that only delays the news that it has stalled."""
WORK_RECEIVE_HWM = 1_000
"""Messages for us, most of them small; credit bounds what peers may send, so that this is only a backstop."""
DRAIN_LIMIT = 256
"""Messages that one source may deliver in one turn of the loop; the others get theirs before it goes on."""
COPY_BELOW = 256 * 1024
"""Bytes. Handing a buffer to the I/O thread uncopied costs the loop some 10 µs, at any size; copying 64 KiB costs
it 3 µs, 256 KiB 8 µs, 1 MiB 80 µs. What it saves is memory: a full queue of whole pieces is not held twice."""

_send: Callable[..., object] = zmq.backend.Socket.send
_receive: Callable[..., Any] = zmq.backend.Socket.recv
"""What ``zmq.Socket`` calls for a message without extras; to send so takes a third of the time."""

LOOPBACK_SEND_BYTES = 1024 * 1024
"""By itself Linux finds the right size of a connection's buffer anew after each pause, and until then hardly any
sending overlaps with receiving: 8 MB in pieces take 3.4 ms between two bare sockets, with this 1.6 ms. Only
within a host: between hosts the right size depends on the distance, and the system finds it."""

_CONGESTION: int | None = getattr(sockets, "TCP_CONGESTION", None)
_UNPACED = b"reno"
"""Where the system paces what it sends (BBR), its timers cost a quarter of the rate within a host: bare sockets
echo 1,100 MB/s with them, 1,400 without. Every Linux has this one, and everybody may use it."""

_NOBLOCK = int(zmq.NOBLOCK)
_POLLIN = int(zmq.POLLIN)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def open_socket(context: Context, kind: zmq.SocketType, *, ipv6: bool = False) -> Socket:
    """Make a socket of this kind with the limits and timers that all sockets have."""
    socket = context.socket(kind)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.MAXMSGSIZE, MAX_FRAME_BYTES),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.HEARTBEAT_IVL, HEARTBEAT_MS),
        (zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS),
        (zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS),
        (zmq.RECONNECT_IVL, RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS),
        (zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS),
        (zmq.BACKLOG, BACKLOG),
        (zmq.SNDHWM, WORK_SEND_HWM),
        (zmq.RCVHWM, WORK_RECEIVE_HWM),
        (zmq.IPV6, int(ipv6)),
    ):
        socket.setsockopt(option, value)
    return socket


def tune_for(socket: Socket, address: str) -> None:
    """Make the most of a socket, before it binds or connects, all of whose peers are on this host."""
    if is_loopback(address):
        socket.setsockopt(zmq.SNDBUF, LOOPBACK_SEND_BYTES)


def tune_connection(fd: int) -> None:
    """Make the most of a TCP connection, by its descriptor, if both its ends are at one address, so on one host.

    It may have been closed since somebody told of it, and even be another by now: that does no harm.
    """
    try:
        with _shared(fd) as connection:
            if connection.getsockname()[0] != connection.getpeername()[0]:
                return
            if _CONGESTION is not None:
                connection.setsockopt(sockets.IPPROTO_TCP, _CONGESTION, _UNPACED)
            connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, LOOPBACK_SEND_BYTES)
    except (OSError, IndexError):
        pass


def _shared(fd: int) -> sockets.socket:
    """Return a connection by a descriptor of our own, which can be closed. Raises OSError where it is none."""
    own = os.dup(fd)
    try:
        return sockets.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def secure_server(socket: Socket, key: MeshKey | None) -> None:
    """Have this socket, before it binds, admit only who has the mesh's key; without a key, anybody.

    An enforced, non-empty ZAP domain is what makes it fail closed: with either of the two left out, a
    stranger who knows the public key comes in while no handler runs, or even while one does.
    """
    if key is None:
        return
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)


def secure_client(socket: Socket, key: MeshKey | None) -> None:
    """Have this socket, before it connects, prove the mesh's key and demand the same of the node."""
    if key is None:
        return
    socket.setsockopt(zmq.CURVE_SERVERKEY, key.public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)


def send_frames(socket: Socket, frames: Sequence[Frame]) -> None:
    """Send one message without blocking; ``zmq.Again`` where it cannot go out now, and then nothing has.

    Buffers of ``COPY_BELOW`` bytes and more are not copied: nobody may change them afterwards.
    """
    left = len(frames)
    for frame in frames:
        left -= 1
        size = len(frame) if type(frame) is bytes else memoryview(frame).nbytes
        _send(socket, frame, _MORE if left else _NOBLOCK, size < COPY_BELOW)


def drain(socket: Socket, *, is_routed: bool = False, is_alone: bool = False) -> Iterator[list[Any]]:
    """Yield the messages that wait, ``DRAIN_LIMIT`` at most; it ends when the socket is closed meanwhile.

    One that ``is_routed`` is a ROUTER, which puts a frame of its own before each message. Of one that
    ``is_alone``, as far as can be told, the next are left to the loop's next turn, as to look after them takes
    3 µs of a round trip. Not for sockets with IMMEDIATE: what is unread is lost with the connection.

    A frame of ``COPY_BELOW`` bytes and more is a memoryview of what libzmq has received, others are bytes.
    """
    for _ in range(DRAIN_LIMIT):
        frames: list[Any] = []
        try:
            if is_routed:
                frames.append(_receive(socket, _NOBLOCK))
            # As Frame objects, which know whether another follows: to ask the socket costs more than to receive.
            frame = _receive(socket, _NOBLOCK, False)
        except zmq.Again:
            return
        frames.append(frame.bytes if len(frame) < COPY_BELOW else frame.buffer)
        while frame.more:
            frame = _receive(socket, _NOBLOCK, False)
            frames.append(frame.bytes if len(frame) < COPY_BELOW else frame.buffer)
        yield frames
        # Looking costs less than the exception that would say "nothing there".
        if is_alone or socket.closed or not zmq_poll(((socket, _POLLIN),), 0):
            return
