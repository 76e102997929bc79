"""What all sockets have in common."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import sys
from collections.abc import Iterator

import pytest
import zmq
from transport_harness import HOST, Net

from meshq.transport.sockets import LOOPBACK_SEND_BYTES, open_socket, tune_connection, tune_for

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems offer no choice of how to send")


@pytest.mark.parametrize(
    ("address", "size"), [("127.0.0.1", LOOPBACK_SEND_BYTES), ("::1", LOOPBACK_SEND_BYTES), ("10.0.0.5", -1)]
)
def test_only_within_a_host_the_send_buffer_is_fixed(address: str, size: int) -> None:
    """Between hosts the right size depends on the distance, and the system finds it."""
    with zmq.Context() as context, open_socket(context, zmq.DEALER) as socket:
        tune_for(socket, address)
        assert socket.getsockopt(zmq.SNDBUF) == size


@contextlib.contextmanager
def _connection(to: str, source: str) -> Iterator[sockets.socket]:
    """Connect to one address of this host from another; yield the end that dials."""
    with sockets.create_server((to, 0)) as server:
        connection = sockets.create_connection(server.getsockname(), source_address=(source, 0))
        with connection:
            yield connection


def _send_bytes(connection: sockets.socket) -> int:
    return connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF)


def _sends_by(connection: sockets.socket) -> bytes:
    return connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_CONGESTION, 16).rstrip(b"\0")


@needs_linux
def test_a_connection_from_an_address_to_itself_is_not_paced() -> None:
    """There is no network that others need, too."""
    with _connection(HOST, HOST) as connection:
        before = _send_bytes(connection)
        tune_connection(connection.fileno())
        assert _sends_by(connection) == b"reno"
        assert _send_bytes(connection) != before


@needs_linux
def test_other_connections_stay_as_the_system_has_made_them() -> None:
    """What is best between hosts, the system knows."""
    with _connection(HOST, "127.0.0.2") as connection:
        before = _send_bytes(connection), _sends_by(connection)
        tune_connection(connection.fileno())
        assert (_send_bytes(connection), _sends_by(connection)) == before


def test_a_descriptor_that_is_something_else_by_now_stays_as_it_is() -> None:
    """A connection may be gone before somebody looks at it, and its number be another's."""
    near, far = sockets.socketpair()
    with near, far, open(os.devnull) as file:
        before = _send_bytes(near)
        for fd in (near.fileno(), file.fileno()):
            files = len(os.listdir("/dev/fd"))
            tune_connection(fd)
            assert len(os.listdir("/dev/fd")) == files
        assert _send_bytes(near) == before
    tune_connection(near.fileno())


@needs_linux
@pytest.mark.parametrize("bound", [HOST, "0.0.0.0"])
def test_both_ends_within_a_host_are_tuned(net: Net, bound: str) -> None:
    """Whatever address the node is bound to."""
    node = net.node(host=bound)
    client = net.client(f"tcp://{HOST}:{node.sockets.port}")
    net.until(lambda: client.words == ["connected"])
    net.until(lambda: _ways(node.sockets.port) == [b"reno", b"reno"])


def _ways(port: int) -> list[bytes]:
    """Return how the connections of this process send that have one end at this port."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with (
            contextlib.suppress(OSError, IndexError),
            sockets.fromfd(fd, sockets.AF_INET, sockets.SOCK_STREAM) as end,
        ):
            if port in (end.getsockname()[1], end.getpeername()[1]):
                found.append(_sends_by(end))
    return found
