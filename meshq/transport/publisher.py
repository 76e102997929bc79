"""A controller's broadcasts: one XPUB that dials the SUB of every node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import zmq

from meshq.errors import ConfigError
from meshq.transport.addresses import is_ipv6, parse_endpoint
from meshq.transport.keys import MeshKey
from meshq.transport.loop import Loop
from meshq.transport.sockets import (
    Context,
    Frame,
    drain,
    open_socket,
    secure_client,
    send_frames,
)

OnSubscription: TypeAlias = Callable[[bytes, bool], None]


class Publisher:
    """Broadcasts to the nodes that are subscribed at that moment; which those are, ``on_subscription`` tells.

    ``on_subscription(topic, True)`` comes for each subscription of each node, ``(topic, False)`` when the last
    one to a topic is gone, because it was withdrawn or the connection broke. So a node that also subscribes
    to a topic of its own is known by it. It is a hint: whoever is admitted can send any.
    """

    def __init__(self, loop: Loop, context: Context, key: MeshKey | None, on_subscription: OnSubscription) -> None:
        self._loop = loop
        self._on_subscription = on_subscription
        self._endpoints: set[str] = set()
        self._socket = open_socket(context, zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        # No limit: commands are small and few, and at a limit an XPUB drops them without a word. Nor can they
        # pile up for the dead: with IMMEDIATE a queue goes with its connection, 6 s after a peer's last sign.
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        secure_client(self._socket, key)
        loop.register(self._socket, self._drain)

    def connect(self, endpoint: str) -> None:
        """Dial a node's control port; nothing happens where that was done before.

        libzmq stops dialling an endpoint that refuses the key: ``disconnect`` and ``connect`` to try again.
        """
        host, _ = parse_endpoint(endpoint)
        if endpoint in self._endpoints:
            return
        self._socket.setsockopt(zmq.IPV6, int(is_ipv6(host)))  # holds for the connections made from now on
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise ConfigError(f"{endpoint} cannot be dialled: {error.strerror}") from None
        self._endpoints.add(endpoint)

    def disconnect(self, endpoint: str) -> None:
        """Hang up; nothing happens where it was not connected."""
        if endpoint not in self._endpoints:
            return
        self._endpoints.remove(endpoint)
        try:
            self._socket.disconnect(endpoint)
        except zmq.ZMQError:
            pass  # libzmq has given it up already

    def publish(self, topic: bytes, frames: Sequence[Frame]) -> None:
        """Send one message to every node that is subscribed to a beginning of ``topic``."""
        send_frames(self._socket, (topic, *frames))

    def close(self) -> None:
        """Hang up on all nodes; no callback comes any more."""
        if not self._socket.closed:
            self._loop.unregister(self._socket)
            self._socket.close()

    def _drain(self) -> None:
        for frames in drain(self._socket):
            kind, topic = frames[0][:1], frames[0][1:]
            if kind in (b"\0", b"\1"):
                self._on_subscription(topic, kind == b"\1")
