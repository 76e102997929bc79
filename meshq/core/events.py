"""Events and effects that the owner and the holder share."""

from __future__ import annotations

from typing import NamedTuple

from meshq.protocol.messages import Message


class Received(NamedTuple):
    """Event: messages came from a peer (at the owner a node, at the holder a client), in this order."""

    peer: bytes
    messages: list[Message]


class Send(NamedTuple):
    """Effect: send these messages to the peer, in this order. They may be lost with the connection."""

    peer: bytes
    messages: list[Message]
