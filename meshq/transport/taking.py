"""Taking what is to be sent from an outbox, for those who send it from a loop."""

from __future__ import annotations

import logging

from meshq.errors import LocalProtocolError
from meshq.protocol.envelope import Frames, Outbox

log = logging.getLogger("meshq.transport")


def take(outbox: Outbox, peer: str) -> Frames | None:
    """Return the frames of the next message to send to a peer, or None where nothing waits.

    What can never be sent is dropped, and logged. The threat: a peer that has us say what fits into no message,
    which must not end the loop that serves all the others.
    """
    while True:
        try:
            return outbox.take()
        except LocalProtocolError as error:
            log.error("dropped a message to %s: %s", peer, error)
