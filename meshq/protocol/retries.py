"""What a worker says of an attempt that asks for another try: the payload of a RESULT of status RETRY."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from meshq.errors import LONGEST_DELAY_S
from meshq.protocol.payload import Payload, join_payload


class RetryAsked(NamedTuple):
    """``failure``: what the task raised, as data, should it get no other try."""

    failure: bytes
    delay: float | None = None
    """The pause in seconds that the task itself has asked for."""
    most: int = 0
    """Retries that it may have, all in all."""
    backoff: float = 0.0
    """The first pause in seconds, where the task has asked for none."""
    jitter: bool = False
    """Whether pauses are to be shortened at random."""


def dump_retry(asked: RetryAsked) -> bytes:
    """Return the payload."""
    data: bytes = msgpack.packb(asked._asdict())
    return data


def load_retry(payload: Payload) -> RetryAsked:
    """Return what a payload says; one that is malformed asks for no other try, and has a malformed failure."""
    try:
        said = msgpack.unpackb(join_payload(payload))
        asked = RetryAsked(**said)
        fits = (
            type(asked.failure) is bytes
            and (asked.delay is None or _is_pause(asked.delay))
            and type(asked.most) is int
            and _is_pause(asked.backoff)
            and type(asked.jitter) is bool
        )
    except (ValueError, TypeError, msgpack.UnpackException):
        fits = False
    return asked if fits else RetryAsked(b"")


def _is_pause(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= LONGEST_DELAY_S
