"""Large buffers beside the data that refers to them, so that arrays travel without being copied.

The attached form of a payload is a mark byte, the head's length (4 bytes, big-endian), the head, and then the
*area*: the buffers, each at a multiple of 64 bytes from the payload's start. The head names a buffer by its
offset in the area and its length. The mark is a byte that begins neither a msgpack value nor a pickle.
"""

from __future__ import annotations

from functools import lru_cache

import msgpack

from meshq.errors import RemoteProtocolError
from meshq.protocol.blocks import Gathered
from meshq.protocol.extensions import ATTACHED_BYTES
from meshq.protocol.payload import Buffer, Payload

MARK = b"\xc1"
ATTACH_BYTES = 16 * 1024
"""From this size on a buffer is attached; a payload below it is copied together for the wire anyway."""
_PREFIX_BYTES = 5
_ALIGNMENT = 64
_LONGEST_HEAD = 1024
"""A head above this has other values in it, as a rule, and is not searched."""


def _padding(size: int) -> bytes:
    return bytes(-size % _ALIGNMENT)


class Attachments:
    """Collects the buffers of one payload."""

    __slots__ = ("_size", "buffers")

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        """Those collected, with padding between them."""
        self._size = 0

    def add(self, buffer: memoryview) -> int:
        """Attach a buffer of single bytes, without a copy, and return its offset in the area."""
        padding = _padding(self._size)
        if padding:
            self.buffers.append(padding)
        offset = self._size + len(padding)
        self.buffers.append(buffer)
        self._size = offset + len(buffer)
        return offset

    def take(self, head: bytes) -> Payload:
        """Return the payload, and forget its buffers; without any, the head alone is the payload."""
        if not self.buffers:
            return head
        if len(head) >= 1 << 32:
            raise ValueError("the data beside the arrays is over 4 GiB")
        prefix = MARK + len(head).to_bytes(4, "big")
        payload: list[Buffer] = [b"".join((prefix, head, _padding(len(prefix) + len(head)))), *self.buffers]
        self.buffers, self._size = [], 0
        return payload


def as_one(payload: Payload | Buffer) -> Buffer:
    """Return the payload as one buffer; only a list of several is copied together, into a writable one."""
    if isinstance(payload, list):
        return payload[0] if len(payload) == 1 else bytearray().join(payload)
    return payload


def is_attached(payload: Payload | Buffer) -> bool:
    """Say whether a payload is of the attached form."""
    first = payload[0] if isinstance(payload, list) else payload
    return bytes(first[:1]) == MARK


def is_before_area(piece: Buffer) -> bool:
    """Say whether this is the whole of what a payload of the attached form has before its area."""
    if len(piece) < _PREFIX_BYTES or not is_attached(piece):
        return False
    end = _PREFIX_BYTES + int.from_bytes(piece[1:_PREFIX_BYTES], "big")
    return len(piece) == end + -end % _ALIGNMENT


def is_one_bytes(head: Buffer, area: int) -> bool:
    """Say whether an area of so many bytes is one value, of bytes, by what is before it. It is but a hint."""
    return len(head) <= _LONGEST_HEAD and _name_of_whole(area) in bytes(head)


@lru_cache(maxsize=64)
def _name_of_whole(area: int) -> bytes:
    """Return how a head names bytes that are all of an area; payloads of one length often come in a row."""
    named: bytes = msgpack.packb(msgpack.ExtType(ATTACHED_BYTES, msgpack.packb((0, area))))
    return named


class Area:
    """The buffers of a payload, as they came: in one piece or in several, cut anywhere."""

    def __init__(self, pieces: list[memoryview], is_bytes: bool = False) -> None:
        self._pieces = pieces
        self._is_bytes = is_bytes
        """Whether a view of it would be read-only, though nobody has asked for that."""
        self._size = sum(map(len, pieces))

    def view(self, offset: object, length: object) -> memoryview:
        """Return one buffer, as the head names it: writable, as it was where it came from."""
        found = self._find(offset, length)
        if len(found) == 1 and not self._is_bytes:
            return found[0]
        return memoryview(bytearray().join(found))

    def bytes(self, offset: object, length: object) -> bytes:
        """Return one buffer, as the head names it, as bytes: where it came as such, that."""
        found = self._find(offset, length)
        whole = found[0].obj if len(found) == 1 else None
        if type(whole) is bytes and len(whole) == length:
            return whole
        return b"".join(found)

    def _find(self, offset: object, length: object) -> list[memoryview]:
        size = self._size
        if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length <= size:
            raise RemoteProtocolError(f"a payload refers to {length!r} bytes at {offset!r}, past its end")
        found: list[memoryview] = []
        for piece in self._pieces:
            if offset < len(piece) and length:
                found.append(piece[offset : offset + length])
                length -= len(found[-1])
            offset = max(0, offset - len(piece))
        return found


def split(payload: Payload | Buffer) -> tuple[memoryview, Area]:
    """Return head and area of a payload of the attached form, without a copy of the latter."""
    buffers = payload if isinstance(payload, list) else [payload]
    first, *others = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    end = _PREFIX_BYTES + int.from_bytes(first[1:_PREFIX_BYTES], "big")
    start = end + len(_padding(end))
    if start > len(first) and others:
        first, others = memoryview(bytearray().join([first, *others])), []
    if end > len(first):
        raise RemoteProtocolError(f"a payload of {len(first)} bytes says that its head ends at {end}")
    pieces = [piece for piece in (first[start:], *others) if len(piece)]
    ahead = 1 if type(payload) is Gathered else 0  # in a buffer of its own, of which no array is made
    is_bytes = any(isinstance(buffer, bytes) for buffer in buffers[ahead:])
    return first[_PREFIX_BYTES:end], Area(pieces, is_bytes)
