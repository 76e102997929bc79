"""A client's connection to one node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import zmq

from meshq.errors import ConfigError
from meshq.transport.addresses import is_ipv6, parse_endpoint
from meshq.transport.keys import MeshKey
from meshq.transport.loop import Loop
from meshq.transport.monitor import AUTH, ConnectionMonitor
from meshq.transport.sockets import (
    Context,
    Frame,
    drain,
    open_socket,
    secure_client,
    send_frames,
    tune_for,
)

OnFrames: TypeAlias = "Callable[[Dealer, list[bytes]], None]"
OnEvent: TypeAlias = "Callable[[Dealer, str, str], None]"


class Dealer:
    """One DEALER that dials one endpoint of one node; a socket with several would deal to them blindly in turn.

    ``on_event(dealer, word, text)`` tells of the connection; unless it says otherwise, it is dialled again:

    - ``"connected"``: also after each reconnection; from here on ``send`` works. Nothing sent before survives.
    - ``"disconnected"``: it broke. Messages that had arrived before are dropped, but for those that the loop has
      read; with ``keeps`` they are all delivered after this, or by ``take_in``.
    - ``"refused"``: the host answers and nothing listens at the port, so what listened before has ended.
    - ``"unreachable"``: no answer, no route, or a peer that accepts and stays silent; it may well live.
    - ``"auth"``: the keys do not match. This dealer dials no more: close it, and make another one later.

    Raises ``ConfigError`` where the endpoint cannot be dialled, ``zmq.ZMQError`` where no more sockets can be had.
    ``endpoint`` should hold a numeric address: libzmq resolves names in its I/O thread, where a slow name
    server holds up all other connections.

    With ``keeps``, what is sent while there is no connection waits for the next one, as what has arrived does for
    the loop: for lanes that send only what whoever takes over the port would refuse.
    """

    def __init__(
        self,
        loop: Loop,
        context: Context,
        endpoint: str,
        key: MeshKey | None,
        on_frames: OnFrames,
        on_event: OnEvent,
        *,
        keeps: bool = False,
    ) -> None:
        host, _ = parse_endpoint(endpoint)
        self.endpoint = endpoint
        self._loop = loop
        self._on_frames = on_frames
        self._on_event = on_event
        self._socket = open_socket(context, zmq.DEALER, ipv6=is_ipv6(host))
        # Refuses what cannot be sent now, instead of keeping it for whoever takes over the port. But with this
        # libzmq also drops what came over a connection that breaks, as far as it has not been read by then.
        self._socket.setsockopt(zmq.IMMEDIATE, int(not keeps))
        tune_for(self._socket, host)
        secure_client(self._socket, key)
        try:
            self._monitor = ConnectionMonitor(loop, context, self._socket, endpoint, key is not None, self._event)
        except zmq.ZMQError:  # no more sockets for this process; the context waits for all that are open
            self._socket.close()
            raise
        loop.register(self._socket, self.take_in)
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"{endpoint} cannot be dialled: {error.strerror}") from None

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send one message; False where it cannot go out now (not connected, or full), and then nothing has.

        Large buffers travel without a copy: do not change them afterwards.
        """
        try:
            send_frames(self._socket, frames)
        except zmq.Again:
            return False
        return True

    def want_write(self, callback: Callable[[Dealer], None]) -> None:
        """Call ``callback(dealer)`` once, as soon as a message can be sent; a later call replaces an earlier."""
        self._loop.register_write(self._socket, partial(self._writable, callback))

    def take_in(self) -> None:
        """Deliver what has arrived, all of it: what is left unread is lost when the connection breaks."""
        for frames in drain(self._socket):
            self._on_frames(self, frames)

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called."""
        return bool(self._socket.closed)

    def close(self) -> None:
        """Hang up; what has not been sent is dropped, and no callback comes any more."""
        if self.closed:
            return
        self._monitor.close()
        self._loop.unregister(self._socket)
        self._socket.close()

    def _writable(self, callback: Callable[[Dealer], None]) -> None:
        self._loop.unregister_write(self._socket)
        callback(self)

    def _event(self, word: str, text: str) -> None:
        if word == AUTH:
            self._give_up()
        self._on_event(self, word, text)

    def _give_up(self) -> None:
        """Dial no more: by some of the failures libzmq has given up itself, by others it hammers on at 5/s."""
        self._monitor.close()
        try:
            self._socket.disconnect(self.endpoint)
        except zmq.ZMQError:
            pass  # it had given up
