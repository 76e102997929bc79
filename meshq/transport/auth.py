"""Who may connect: the ZAP handler, which admits the mesh's key and nobody else."""

from __future__ import annotations

import logging
import socket
import threading

import zmq
from zmq.utils import z85

from meshq.transport.keys import ZAP_DOMAIN, MeshKey, fingerprint
from meshq.transport.sockets import Context, Socket

logger = logging.getLogger("meshq.auth")

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
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
            while (ready := dict(poller.poll())).keys() == {handler}:
                handler.send_multipart(self._answer(handler.recv_multipart()))
        logger.debug("the handler stopped: %s", ready)

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
        logger.warning("refused a connection with another key from %s", _address(request))
        return [_VERSION, request_id, b"400", b"another key", b"", b""]


def _address(request: list[bytes]) -> str:
    return request[3].decode("ascii", "replace") if len(request) > 3 else "an unknown address"
