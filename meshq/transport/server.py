"""The two sockets that a node binds: a ROUTER for its clients, and a SUB for what is broadcast to all nodes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import zmq

from meshq.errors import ConfigError
from meshq.transport.addresses import endpoint, is_ipv6, parse_endpoint, resolve
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.loop import Loop
from meshq.transport.monitor import AcceptMonitor
from meshq.transport.sockets import (
    Context,
    Frame,
    Socket,
    drain,
    open_socket,
    secure_server,
    send_frames,
    tune_for,
)

Sent: TypeAlias = Literal["sent", "gone", "full"]
OnFrames: TypeAlias = Callable[[bytes, list[bytes], str], None]
OnControl: TypeAlias = Callable[[list[bytes]], None]


class NodeSockets:
    """Binds at ``port`` for work and ``port + 1`` for control, or at two free ports where ``port`` is None.

    ``on_frames(route, frames, user_id)`` gets each message of a client; ``route`` answers it, until the client
    reconnects. ``user_id`` is the fingerprint of the key that the connection has proved, "" without a key.
    ``on_control(frames)`` gets each broadcast, without its topic. With a key, the context's ``Authenticator``
    must exist before; without it, nobody comes in.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        host: str,
        port: int | None,
        key: MeshKey | None,
        on_frames: OnFrames,
        on_control: OnControl,
    ) -> None:
        if port is not None and not 1 <= port <= 65534:
            raise ConfigError(f"port {port} cannot be used: give one from 1 to 65534 (the next one is used too)")
        address = resolve(host)
        self._loop = loop
        self._on_frames = on_frames
        self._on_control = on_control
        # Only who has proved the key comes in, and there is one key; so this is each connection's user.
        self._user = "" if key is None else fingerprint(key)
        self._router = open_socket(context, zmq.ROUTER, ipv6=is_ipv6(address))
        self._sub = open_socket(context, zmq.SUB, ipv6=is_ipv6(address))
        # A message to a client that has gone is an error, and not dropped in silence.
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        tune_for(self._router, address)
        try:
            self.port = _bind(self._router, address, port, key)
            self.control_port = _bind(self._sub, address, None if port is None else port + 1, key)
            self._accepted = AcceptMonitor(loop, context, self._router)
        except BaseException:
            self._router.close()
            self._sub.close()
            raise
        loop.register(self._router, self._drain_router)
        loop.register(self._sub, self._drain_sub)

    def subscribe(self, topic: bytes) -> None:
        """Receive what is broadcast to topics that begin with ``topic``."""
        self._sub.setsockopt(zmq.SUBSCRIBE, topic)

    def send(self, route: bytes, frames: Sequence[Frame]) -> Sent:
        """Send one message: ``"sent"``, ``"gone"`` (that connection is over) or ``"full"`` (try again later).

        A ROUTER cannot tell when one client has room again, so that later is a matter of time. Large
        buffers travel without a copy: do not change them afterwards.
        """
        try:
            send_frames(self._router, (route, *frames))
        except zmq.Again:
            return "full"
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return "gone"
        return "sent"

    def close(self, linger_s: float = 0.0) -> None:
        """Unbind; no callback comes any more. What ``send`` took may still go out for ``linger_s`` seconds.

        That is while the context is being ended, which waits for it; what is left then is dropped.
        """
        self._accepted.close()
        if not self._router.closed:
            self._router.setsockopt(zmq.LINGER, int(linger_s * 1000))
        for socket in (self._router, self._sub):
            if not socket.closed:
                self._loop.unregister(socket)
                socket.close()

    def _drain_router(self) -> None:
        for frames in drain(self._router, is_routed=True, is_alone=self._loop.saw_it_come):
            route = frames.pop(0)
            self._on_frames(route, frames, self._user)

    def _drain_sub(self) -> None:
        for frames in drain(self._sub):
            del frames[0]  # the topic
            self._on_control(frames)


def _bind(socket: Socket, address: str, port: int | None, key: MeshKey | None) -> int:
    """Bind and return the port; ConfigError where that cannot be."""
    secure_server(socket, key)
    try:
        socket.bind(endpoint(address, port or 0))
    except zmq.ZMQError as error:
        raise ConfigError(_why_not(address, port, error)) from None
    bound = socket.get_string(zmq.LAST_ENDPOINT)
    return parse_endpoint(bound)[1]


def _why_not(address: str, port: int | None, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {address} is in use: stop what uses it, give another port, or none for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} of {address} needs privileges: give one above 1023, or none for a free one"
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"no interface of this host has the address {address}: bind one that it has, or 0.0.0.0 for all"
    return f"cannot bind {address}, port {port or 'any'}: {error.strerror}"
