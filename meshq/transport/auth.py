"""Who may connect: the ZAP handler, which admits the mesh's key and nobody else."""

from __future__ import annotations

import logging
import socket
import threading
import time

import zmq
from zmq.utils import z85

from meshq.transport.keys import ZAP_DOMAIN, MeshKey, fingerprint
from meshq.transport.sockets import Context, Socket

logger = logging.getLogger("meshq.auth")

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
QUIET_S = 10.0
"""A stranger who keeps dialling fills no log: refusals are logged at most this often."""
_VERSION = b"1.0"


class Authenticator:
    """Answers libzmq's question, for each connection to a socket of this context, whether it may come in.

    Make it before any socket binds, one per context. It has a thread of its own, so that a loop which is busy
    or has stalled lets nobody's handshake time out. Where it is missing or has died, nobody comes in. The
    ``User-Id`` of those admitted is the key's fingerprint.
    """

    def __init__(self, context: Context, key: MeshKey) -> None:
        self._public = z85.decode(key.public)
        self._user = fingerprint(key).encode()
        self._quiet_until = 0.0
        self._stop_in, self._stop_out = socket.socketpair()
        handler = context.socket(zmq.REP)
        try:
            handler.setsockopt(zmq.LINGER, 0)
            handler.bind(ZAP_ENDPOINT)
        except BaseException:
            handler.close()
            self._close_pair()
            raise
        self._thread = threading.Thread(target=self._serve, args=(handler,), name="meshq-auth", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; from now on nobody new is admitted."""
        if self._thread.is_alive():
            self._stop_out.send(b"\0")
            self._thread.join()
        self._close_pair()

    def _close_pair(self) -> None:
        self._stop_in.close()
        self._stop_out.close()

    def _serve(self, handler: Socket) -> None:
        poller = zmq.Poller()
        poller.register(handler, zmq.POLLIN)
        poller.register(self._stop_in, zmq.POLLIN)
        with handler:
            try:
                while self._stop_in.fileno() not in dict(poller.poll()):
                    handler.send_multipart(self._answer(handler.recv_multipart()))
                handler.unbind(ZAP_ENDPOINT)  # at once; closing does it a moment later, and questions would hang
            except zmq.ContextTerminated:
                pass  # whoever ends the context first ends the handler too

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """Answer one ZAP request: version, id, domain, address, routing id, mechanism, credentials."""
        admitted = (
            len(request) == 7
            and request[0] == _VERSION
            and request[2] == ZAP_DOMAIN
            and request[5] == b"CURVE"
            and request[6] == self._public
        )
        request_id = request[1] if len(request) > 1 else b""
        if admitted:
            return [_VERSION, request_id, b"200", b"OK", self._user, b""]
        self._log_refusal(request)
        return [_VERSION, request_id, b"400", b"another key", b"", b""]

    def _log_refusal(self, request: list[bytes]) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + QUIET_S
        address = request[3].decode("ascii", "replace") if len(request) > 3 else "an unknown address"
        logger.warning("refused a connection from %s: it does not have the key of this mesh", address)
