"""Payloads: arguments and results on their way, which nothing between the two ends looks into.

A payload is ``bytes``, or a list of buffers whose concatenation is the payload. The list form is how
large arrays travel without being copied together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Payload: TypeAlias = bytes | list[Buffer]


def payload_size(payload: Payload) -> int:
    """Return the payload's length in bytes."""
    if isinstance(payload, list):
        return sum(buffer.nbytes if isinstance(buffer, memoryview) else len(buffer) for buffer in payload)
    return len(payload)


def join_payload(payload: Payload) -> bytes:
    """Return the payload as one ``bytes``."""
    if isinstance(payload, list):
        return bytes(payload[0]) if len(payload) == 1 else b"".join(payload)
    return payload


def slice_payload(payload: Payload, offset: int, size: int) -> bytes:
    """Return the ``size`` bytes from ``offset`` on, or as many as there are."""
    parts: list[memoryview] = []
    for buffer in payload if isinstance(payload, list) else [payload]:
        view = memoryview(buffer).cast("B") if len(buffer) else memoryview(b"")
        if offset < view.nbytes and size > 0:
            parts.append(view[offset : offset + size])
            size -= parts[-1].nbytes
        offset = max(0, offset - view.nbytes)
    return b"".join(parts)


def cut_payload(payload: Payload, limit: int) -> Iterator[Buffer]:
    """Yield the payload in pieces of at most ``limit`` bytes, without copying it."""
    for buffer in payload if isinstance(payload, list) else [payload]:
        if not len(buffer):
            continue
        view = memoryview(buffer).cast("B")
        for start in range(0, view.nbytes, limit):
            yield view[start : start + limit]
