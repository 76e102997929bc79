"""Messages as bytes of the stream between a node and a worker; no sockets here.

A message on the stream is a header (u32 length of the head, u64 length of the bulk), the head (msgpack:
``[kind, items, bulk]``) and the bulk: payloads above 16 KiB, one after the other. ``bulk`` lists
``[item, field, size, ahead]`` of each; ``ahead`` is the length of what comes before its area, 0 where it has none.
The reader gives each of them, and each area, memory of its own, so that arrays are decoded in place, writable, and
a small result does not keep a large neighbour in memory. At a worker, where payloads end, an area that is one
value of bytes is received as such.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from meshq.errors import LocalProtocolError, RemoteProtocolError
from meshq.protocol.attachments import is_before_area, is_one_bytes
from meshq.protocol.blocks import Gathered, block
from meshq.protocol.payload import Buffer, Payload, cut_payload, join_payload, payload_size

HEADER = struct.Struct("<IQ")
_HEADER_BYTES = HEADER.size
INLINE_BYTES = 16 * 1024
# The largest payload of the wire (4 GiB) in a batch of its own, and no more: user code in a child may write
# rubbish into its socket, and the node must not believe any length.
MAX_MESSAGE_BYTES = 4 * 2**30 + 2**26
_READ_BYTES = 64 * 1024
_PIECE_BYTES = 2**30
_new = tuple.__new__  # what Message(…) calls, as a function of its own
_unpackb = msgpack.unpackb


class Message(NamedTuple):
    """One message: its kind (see ``link``) and its items."""

    kind: int
    items: list[Any]


class Packer:
    """Turns messages into the buffers that make them up. Not safe for several threads."""

    def __init__(self) -> None:
        self._pack = msgpack.Packer(autoreset=True).pack

    def pack(self, kind: int, items: Sequence[Any], field: int | None = None) -> list[Buffer]:
        """Return the message as buffers; ``field`` is the index of the payload within each item, if any."""
        bulk: list[Buffer] = []
        places: list[tuple[int, int, int, int]] = []
        if field is not None:
            for item in items:
                if type(item[field]) is not bytes or len(item[field]) > INLINE_BYTES:
                    items = [_outline(each, index, field, places, bulk) for index, each in enumerate(items)]
                    break
        head = self._pack((kind, items, places))
        size = sum(place[2] for place in places) if places else 0
        if _HEADER_BYTES + len(head) + size > MAX_MESSAGE_BYTES:
            raise LocalProtocolError(f"a message of {size} bytes is above {MAX_MESSAGE_BYTES}: send less at once")
        return [HEADER.pack(len(head), size) + head, *bulk]


def _outline(
    item: Sequence[Any], index: int, field: int, places: list[tuple[int, int, int, int]], bulk: list[Buffer]
) -> list[Any]:
    """Return ``item`` with its payload moved into ``bulk``, or joined where it is small."""
    payload = item[field]
    size = payload_size(payload)
    inline = join_payload(payload) if size <= INLINE_BYTES else None
    if inline is None:
        places.append((index, field, size, _ahead(payload)))
        bulk.extend(cut_payload(payload, _PIECE_BYTES))
    return [*item[:field], inline, *item[field + 1 :]]


def _ahead(payload: Payload) -> int:
    """Return the length of the first buffer of a payload whose area is the others; else 0."""
    return len(payload[0]) if isinstance(payload, list) and is_before_area(payload[0]) else 0


class _Area(NamedTuple):
    """An area for which there is no room yet: what is before it has not come."""

    payload: Gathered
    size: int


class Reader:
    """Cuts a stream into messages: read into ``target()``, then tell ``received()`` how much came.

    One that ``takes_bytes`` may want bytes instead, which are then the value itself: where ``awaited`` is not 0,
    so many are to be given to ``take``. For that it must not have read the beginning of them together with what
    is before them, so behind a large payload it asks for the parts of a message one by one; that takes some µs.
    """

    def __init__(self, takes_bytes: bool = False) -> None:
        self._view = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0
        self._need = _HEADER_BYTES
        """How many bytes from ``_start`` on it takes to go on."""
        self._message: Message | None = None
        self.missing: deque[memoryview | _Area] = deque()
        """What is missing of the bulk, all of which it takes for there to be a message. The first one is room for
        it, or what is awaited."""
        self._takes_bytes = takes_bytes
        self._in_gulps = True
        self.awaited = 0

    def target(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        part = self.missing[0] if self.missing else None
        if part is None:
            if not self._in_gulps:
                return self._view[self._end : self._start + self._need]
            return self._view[self._end :] if self._end else self._view
        assert type(part) is memoryview, "bytes are awaited"
        return part

    def received(self, count: int) -> list[Message]:
        """Take note of ``count`` new bytes; return the messages that they completed."""
        if self.missing:
            self._fill(count)
            return self._completed()
        self._end = end = self._end + count
        messages: list[Message] = []
        need = _HEADER_BYTES
        while end - (start := self._start) >= need:
            head, bulk = HEADER.unpack_from(self._view, start)
            if _HEADER_BYTES + head + bulk > MAX_MESSAGE_BYTES:
                raise RemoteProtocolError(f"a message of {head + bulk} bytes is above {MAX_MESSAGE_BYTES}")
            if end - start < _HEADER_BYTES + head:
                need = _HEADER_BYTES + head
                break
            messages += self._open(start + _HEADER_BYTES, head, bulk)
        if start == end and len(self._view) == _READ_BYTES:  # as a rule
            self._start, self._end, self._need = 0, 0, need
        else:
            self._make_room(need)
        return messages

    def take(self, content: bytes) -> list[Message]:
        """Take what was awaited, or the beginning of it; return the message if that is complete."""
        area = self.missing.popleft()
        assert type(area) is _Area
        self.awaited = 0
        if len(content) == area.size:
            area.payload.append(content)
            self._make_area()
        else:
            self._give_room(area)
            self.target()[: len(content)] = content
            self._fill(len(content))
        return self._completed()

    def _fill(self, count: int) -> None:
        """Mark the first ``count`` bytes of the bulk part in hand as filled."""
        part = self.target()
        self.missing.popleft()
        if count < len(part):
            self.missing.appendleft(part[count:])
        else:
            self._make_area()

    def _make_area(self) -> None:
        """Make room for an area that is next, unless it is awaited as bytes."""
        area = self.missing[0] if self.missing else None
        if type(area) is not _Area:
            return
        nothing_read = self._start == self._end
        if (
            self._takes_bytes
            and nothing_read
            and area.size <= _PIECE_BYTES
            and is_one_bytes(area.payload[0], area.size)
        ):
            self.awaited = area.size
        else:
            self.missing.popleft()
            self._give_room(area)

    def _give_room(self, area: _Area) -> None:
        room = memoryview(block(area.size))
        area.payload.append(room)
        self.missing.appendleft(room)

    def _completed(self) -> list[Message]:
        message = self._message
        if self.missing or message is None:
            return []
        self._message = None
        return [message]

    def _open(self, start: int, head: int, bulk: int) -> list[Message]:
        """Unpack the head at ``start``, and take what has come of the bulk behind it; return what is complete."""
        self._start = end = start + head
        try:
            kind, items, places = _unpackb(self._view[start:end], strict_map_key=False)
            self._in_gulps = not self._takes_bytes or not bulk
            if places == [] and not bulk:  # as a rule; the rest would take twice as long as this
                return [_new(Message, (kind, items))]
            if sum(place[2] for place in places) != bulk:
                raise ValueError("its bulk is not as long as its head says")
            parts: list[memoryview | _Area] = []
            for item, field, size, ahead in places:
                items[item][field] = _room_for(size, ahead, parts)
        except (ValueError, TypeError, LookupError) as error:
            raise RemoteProtocolError(f"a message cannot be read: {error}") from error
        self._message = Message(kind, items)
        self.missing.extend(parts)
        while self.missing and self._start < self._end:
            room = self.target()
            count = min(len(room), self._end - self._start)
            room[:count] = self._view[self._start : self._start + count]
            self._start += count
            self._fill(count)
        return self._completed()

    def _make_room(self, need: int) -> None:
        """Move what is unread to the front of a buffer that holds ``need`` bytes."""
        self._need = need
        unread = self._view[self._start : self._end]
        if len(self._view) < need or (len(self._view) > _READ_BYTES >= need):
            self._view = memoryview(bytearray(max(need, _READ_BYTES)))
        elif self._start == 0:
            return
        self._view[: len(unread)] = bytes(unread)
        self._start, self._end = 0, len(unread)


def _room_for(size: int, ahead: int, parts: list[memoryview | _Area]) -> list[Buffer]:
    """Return the memory of a payload, and add to ``parts`` what is to be filled of it.

    The ``ahead`` bytes before its area are apart, and the area is made when they are known.
    """
    if type(size) is not int or type(ahead) is not int or not 0 <= ahead <= size:
        raise ValueError(f"a payload of {size!r} bytes with {ahead!r} before its area")
    room = memoryview(bytearray(ahead) if ahead else block(size))
    if room:
        parts.append(room)
    if not ahead:
        return [room]
    payload = Gathered((room,))
    if size > ahead:
        parts.append(_Area(payload, size - ahead))
    else:
        payload.append(b"")
    return payload
