"""What a socket monitor tells of one connection, in five words.

What the connecting side sees, found by experiment with libzmq 4.3.5 (C: CONNECTED, S: HANDSHAKE_SUCCEEDED,
D: DISCONNECTED, R: CONNECT_RETRIED, P: FAILED_PROTOCOL, N: FAILED_NO_DETAIL, A: FAILED_AUTH):

    the node refuses our key (ZAP says 400)     C A D       and libzmq never dials again
    no key, the node wants one                  C P D       mechanism mismatch; never dials again
    a key, the node has none                    C P D       the same
    the node holds another mesh's key           C N D R …   EPIPE: it cannot read our first message and hangs up
    the node has no ZAP handler                 C N D R …   EPIPE
    nothing listens there                       CLOSED R …  with growing pauses
    no answer (firewall, wrong host)            CLOSED R …  after CONNECT_TIMEOUT
    it accepts and stays silent (frozen)        C N D R …   EAGAIN, after HANDSHAKE_IVL
"""

from __future__ import annotations

import errno
import itertools
import struct
from collections.abc import Callable, Iterator

import zmq

from meshq.transport.addresses import is_numeric, parse_endpoint, resolve
from meshq.transport.loop import Loop
from meshq.transport.probe import Probe, describe
from meshq.transport.sockets import HANDSHAKE_MS, Context, Socket, drain, tune_connection

CONNECTED, DISCONNECTED, REFUSED, UNREACHABLE, AUTH = "connected", "disconnected", "refused", "unreachable", "auth"
_FAILED = "failed"  # refused or unreachable, to be found out

HANGUPS_THAT_MEAN_AUTH = 3
"""A node that restarts may hang up on one handshake, or two; one that holds another key does it each time."""

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)
_HANGUPS = (errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED)
_unique = itertools.count()


def _monitor(context: Context, socket: Socket, events: int) -> Socket:
    """Return the socket at which these events of another one are read."""
    # Not get_monitor_socket(), which names the address after a file descriptor, and those come back.
    address = f"inproc://meshq.monitor.{next(_unique)}"
    socket.monitor(address, events)
    reader = context.socket(zmq.PAIR)
    reader.setsockopt(zmq.LINGER, 0)
    # As many as come. With a limit, once 2,000 wait, the I/O thread would stop until they are read, and closing
    # would wait for it for good: a peer that connects again and again could see to that.
    reader.setsockopt(zmq.RCVHWM, 0)
    reader.connect(address)
    return reader


def _events(reader: Socket) -> Iterator[tuple[int, int]]:
    """Yield the events that wait, each with its value."""
    for frames in drain(reader):
        # zmq.utils.monitor would parse it too, but imports zmq.asyncio.
        event, value = struct.unpack("=HI", frames[0])
        yield event, value


class ConnectionStory:
    """Turns the raw events of one connection, fed in order, into what has happened to it."""

    def __init__(self, keyed: bool) -> None:
        self._keyed = keyed
        self._up = False
        self._failed = False
        self._hangups = 0

    def feed(self, event: int, value: int) -> tuple[str, str] | None:
        """Take one event; return its word and a text for people, or None where it says nothing (yet)."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._up, self._hangups = True, 0
            return CONNECTED, "connected"
        if event == zmq.EVENT_CLOSED:
            return _FAILED, "no connection was made"
        if event == zmq.EVENT_DISCONNECTED:
            return self._disconnected()
        self._failed = True
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return AUTH, "the node refuses this key: it belongs to a mesh with another one"
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return AUTH, self._mismatch(value)
        if value in _HANGUPS:
            return self._hung_up()
        return UNREACHABLE, f"it accepts connections, but has not answered within {HANDSHAKE_MS / 1000:g} s"

    def _disconnected(self) -> tuple[str, str] | None:
        up, failed = self._up, self._failed
        self._up = self._failed = False
        if up:
            return DISCONNECTED, "the connection broke"
        return None if failed else self._hung_up()  # the failure has been counted already

    def _mismatch(self, code: int) -> str:
        if code != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            return f"it does not speak this protocol (ZMTP error {code:#x})"
        return "the node runs without a key" if self._keyed else "the node wants the key of its mesh"

    def _hung_up(self) -> tuple[str, str] | None:
        self._hangups += 1
        if self._hangups < HANGUPS_THAT_MEAN_AUTH:
            return None  # libzmq dials again, RECONNECT_MS later
        return AUTH, "it hangs up on each handshake: it holds another key, or is no node"


class ConnectionMonitor:
    """Watches one socket that dials one endpoint, through the loop; make it before the socket connects."""

    def __init__(
        self,
        loop: Loop,
        context: Context,
        socket: Socket,
        endpoint: str,
        keyed: bool,
        on_event: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._watched = socket
        self._host, self._port = parse_endpoint(endpoint)
        self._on_event = on_event
        self._story = ConnectionStory(keyed)
        self._probe: Probe | None = None
        self._reader = _monitor(context, socket, _EVENTS)
        loop.register(self._reader, self._read)

    def close(self) -> None:
        """Stop watching; call it before the watched socket is closed."""
        if self._reader.closed:
            return
        if self._probe is not None:
            self._probe.close()
        self._loop.unregister(self._reader)
        self._watched.disable_monitor()
        self._reader.close()

    def _read(self) -> None:
        for event, value in _events(self._reader):
            if event == zmq.EVENT_CONNECTED:  # no more than TCP's part of it
                tune_connection(value)
            elif (told := self._story.feed(event, value)) is not None:
                word, text = told
                if word == _FAILED:
                    self._find_out_why()
                else:
                    self._on_event(word, text)

    def _find_out_why(self) -> None:
        if self._probe is not None and self._probe.pending:
            self._on_event(UNREACHABLE, "no answer from there: is the host up, and the port open?")
        elif is_numeric(self._host):
            self._probe = Probe(self._loop, resolve(self._host), self._port, self._found_out)
        else:
            self._on_event(UNREACHABLE, "no connection was made")

    def _found_out(self, code: int) -> None:
        if code == errno.ECONNREFUSED:
            self._on_event(REFUSED, "nothing listens there")
        elif code:
            self._on_event(UNREACHABLE, describe(code))


class AcceptMonitor:
    """Tunes each connection that a socket which is bound accepts."""

    def __init__(self, loop: Loop, context: Context, socket: Socket) -> None:
        self._loop = loop
        self._watched = socket
        self._reader = _monitor(context, socket, zmq.EVENT_ACCEPTED)
        loop.register(self._reader, self._read)

    def close(self) -> None:
        """Stop watching; call it before the watched socket is closed."""
        if not self._reader.closed:
            self._loop.unregister(self._reader)
            self._watched.disable_monitor()
            self._reader.close()

    def _read(self) -> None:
        for _, fd in _events(self._reader):
            tune_connection(fd)
