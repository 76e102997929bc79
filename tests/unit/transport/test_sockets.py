"""What all sockets have in common."""

from __future__ import annotations

import pytest
import zmq

from meshq.transport.sockets import LOOPBACK_SEND_BYTES, open_socket, tune_for


@pytest.mark.parametrize(
    ("address", "size"), [("127.0.0.1", LOOPBACK_SEND_BYTES), ("::1", LOOPBACK_SEND_BYTES), ("10.0.0.5", -1)]
)
def test_only_within_a_host_the_send_buffer_is_fixed(address: str, size: int) -> None:
    """Between hosts the right size depends on the distance, and the system finds it."""
    with zmq.Context() as context, open_socket(context, zmq.DEALER) as socket:
        tune_for(socket, address)
        assert socket.getsockopt(zmq.SNDBUF) == size
