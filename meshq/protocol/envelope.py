"""The envelope: messages into frames and back, in batches, within limits.

Frame 0, the *head*, is the magic and version (6 bytes), the length of the header (2 bytes), the header (a msgpack
map: who sends it, to whom) and the batch (one msgpack array of groups ``[verb, item, …]``); frames 1… are the
pieces that the batch's PARTs announce. A head in one, as each frame more takes some µs of all threads on its way.
"""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from math import inf
from typing import Any, NamedTuple

import msgpack

from meshq.errors import LocalProtocolError, RemoteProtocolError
from meshq.protocol.messages import (
    GREETING_VERSION,
    PROTOCOL_VERSION,
    VERB_OF_MESSAGE,
    HelloAck,
    Message,
    Part,
    Refused,
    Reply,
    Result,
    RevokedIds,
    Submit,
)
from meshq.protocol.parts import INLINE_BYTES, PIECE_BYTES, Joiner, cut
from meshq.protocol.payload import Buffer, Payload, join_payload, payload_size
from meshq.protocol.readers import READER_OF_VERB

MAGIC_OF_VERSION = {
    version: b"meshq" + bytes([version]) for version in range(GREETING_VERSION, PROTOCOL_VERSION + 1)
}
MAGIC = MAGIC_OF_VERSION[PROTOCOL_VERSION]
MAGIC_BYTES = len(MAGIC)
_HEADER_AT = MAGIC_BYTES + 2
MAX_HEADER_BYTES = 64 * 1024 - _HEADER_AT
MAX_BATCH_BYTES = 1024 * 1024
MAX_PIECES = 64
# Where a batch is closed; the rest is room for what the estimate of a message's size leaves out.
_FULL_BATCH_BYTES = 768 * 1024
_MESSAGE_OVERHEAD = 80
MAX_BATCH_MESSAGES = 512
"""A batch is closed here too, so that the other side is at work on the first while the next is packed."""

_MANY = 8
"""From so many messages on it is quicker to deal with them together; a round trip has one of each kind."""

_unpackb = msgpack.unpackb  # which takes no keys of maps but text and bytes
_new = tuple.__new__
Frames = list[Buffer]
_Key = tuple[type[Any], bytes, int]


class Header(NamedTuple):
    """Who sends a message, to whom, and which life of the node it is about (0: not known yet)."""

    source: bytes
    destination: bytes = b""
    incarnation: int = 0


class Incoming(NamedTuple):
    """One message from the wire, read. ``unknown`` are the verbs that this version does not know."""

    header: Header
    messages: list[Message]
    unknown: list[int]

    def of(self, known: Header, greeting: int) -> list[Message] | None:
        """Return what counts of it at a client whose link was answered last by the destination of ``known``.

        What another process has said, or an earlier life of that node, and what was overtaken by the answer to a
        newer greeting, is None: only what answers the latest ``greeting`` may come from somebody else.
        """
        source, _, incarnation = self.header
        if not known.destination or (source == known.destination and incarnation == known.incarnation):
            return self.messages
        if any(type(message) is HelloAck and message.greeting in (0, greeting) for message in self.messages):
            return self.messages
        return [message for message in self.messages if type(message) is Refused] or None


class Waiting(NamedTuple):
    """What waits to be sent, in bytes, about."""

    payloads: int
    """Of tasks and results."""
    others: int


class UnsupportedVersion(RemoteProtocolError):
    """A message is of a version of the wire that is not spoken here."""

    def __init__(self, version: int) -> None:
        super().__init__(f"version {version} of the wire is not known here, where it is {PROTOCOL_VERSION}")
        self.version = version


def encode_header(header: Header, version: int = GREETING_VERSION) -> bytes:
    """Return what a head begins with; done once a connection, as it stays the same."""
    packed: bytes = msgpack.packb({"s": header.source, "d": header.destination, "i": header.incarnation})
    return MAGIC_OF_VERSION[version] + len(packed).to_bytes(2, "big") + packed


def weight(message: Message) -> int:
    """Return how many bytes a message takes up, about."""
    if type(message) is Submit or type(message) is Result:
        return _MESSAGE_OVERHEAD + payload_size(message.payload)
    if type(message) is Reply:
        return _MESSAGE_OVERHEAD + len(message.value)
    if type(message) is RevokedIds:
        return _MESSAGE_OVERHEAD * (1 + len(message.ids))
    return _MESSAGE_OVERHEAD


class Outbox:
    """What waits to be sent over one connection, and its packing into as few messages as possible.

    Small messages keep their order among themselves. One with a large payload follows its pieces, and small
    ones may overtake it. While it waits, a copy of it is dropped: whoever sends again what is not answered in time
    must not make a slow connection slower.
    """

    def __init__(self, header: Header) -> None:
        self._header, self._version = header, GREETING_VERSION
        self._prefix = encode_header(header)
        """What each head begins with."""
        self._small: deque[Message] = deque()
        self._large: deque[tuple[_Key, Iterator[Message]]] = deque()
        self._waiting: set[_Key] = set()
        """The keys of ``_large``."""
        self._large_bytes = 0
        self._parts: list[Message] = []
        self._pieces: list[Buffer] = []
        """What goes out next of large payloads, and its frames; kept where a message beside it cannot be sent."""
        self._transfers = 0
        self._packer = msgpack.Packer(use_bin_type=True)

    def __bool__(self) -> bool:
        return bool(self._small or self._large or self._parts)

    def add(self, message: Message) -> None:
        """Queue a message."""
        self.extend((message,))

    def extend(self, messages: Sequence[Message]) -> None:
        """Queue messages; many together in a third of the time where none of them has a large payload."""
        if len(messages) >= _MANY and not _has_large(messages):
            self._small.extend(messages)
            return
        for message in messages:
            if type(message) is Submit or type(message) is Result:
                payload = message.payload
                if isinstance(payload, list) or (type(payload) is bytes and len(payload) > INLINE_BYTES):
                    outlined = self._outline(message, payload)
                    if outlined is None:
                        continue
                    message = outlined
            self._small.append(message)

    def _outline(self, message: Submit | Result, payload: Payload) -> Message | None:
        """Return the message with its payload inline, or None where it will follow in pieces."""
        if payload_size(payload) <= INLINE_BYTES:
            return message._replace(payload=join_payload(payload))
        key = type(message), message.task, message.attempt
        if key not in self._waiting:
            self._waiting.add(key)
            self._transfers += 1
            self._large_bytes += payload_size(payload)
            self._large.append((key, self._cut(self._transfers, message, payload)))
        return None

    @staticmethod
    def _cut(number: int, message: Submit | Result, payload: Payload) -> Iterator[Message]:
        yield from cut(number, payload)
        yield message._replace(payload=number)  # type: ignore[arg-type]

    def waiting(self) -> Waiting:
        """Return how much waits; it looks at each message that does."""
        tasks = [message for message in self._small if type(message) is Submit or type(message) is Result]
        payloads = sum(len(message.payload) for message in tasks)
        return Waiting(self._large_bytes + payloads, sum(map(weight, self._small)) - payloads)

    def address(self, header: Header) -> None:
        """Put this header on every message from now on."""
        self._header = header
        self._prefix = encode_header(header, self._version)

    def speak(self, version: int) -> None:
        """Send what follows in the version that was agreed; one that is not spoken here never was."""
        if version in MAGIC_OF_VERSION:
            self._version = version
            self._prefix = encode_header(self._header, version)

    def take(self) -> Frames | None:
        """Return the frames of the next message to send, or None where nothing waits.

        Raises ``LocalProtocolError`` for one that can never be sent. That one is dropped; the others still wait.
        """
        if not self._small and not self._large and not self._parts:
            return None
        batch = [self._small.popleft()] if len(self._small) == 1 else self._next_small()
        if self._large and not self._parts:
            self._next_pieces(self._parts, self._pieces)
        frames: Frames = [self._prefix + self._pack(batch, self._parts)]
        if self._parts:
            frames += self._pieces
            self._parts, self._pieces = [], []
        return frames

    def _next_small(self) -> list[Message]:
        small = self._small
        if len(small) < _MANY:
            return self._as_many_as_fit()
        batch = list(islice(small, MAX_BATCH_MESSAGES))
        if _weigh(batch) > _FULL_BATCH_BYTES:
            return self._as_many_as_fit()
        if len(batch) == len(small):
            small.clear()
        else:
            for _ in batch:
                small.popleft()
        return batch

    def _as_many_as_fit(self) -> list[Message]:
        small, room = self._small, _FULL_BATCH_BYTES
        batch: list[Message] = []
        while small and room > 0 and len(batch) < MAX_BATCH_MESSAGES:
            message = small.popleft()
            batch.append(message)
            room -= _MESSAGE_OVERHEAD
            if type(message) is Submit or type(message) is Result:
                room -= len(message.payload)
            elif type(message) is Reply:
                room -= len(message.value)
        return batch

    def _next_pieces(self, batch: list[Message], pieces: list[Buffer]) -> None:
        size = 0
        while self._large and len(pieces) < MAX_PIECES and size < PIECE_BYTES:
            key, following = self._large[0]
            message = next(following, None)
            if message is None:
                self._large.popleft()
                self._waiting.discard(key)
            else:
                batch.append(message)
                if type(message) is Part:
                    pieces.append(message.data)
                    size += len(message.data)
        self._large_bytes -= size

    def _pack(self, batch: list[Message], parts: list[Message]) -> bytes:
        """Pack a batch; what turns out too large is cut in two, and its later half waits.

        ``parts`` stay with it, as their frames do.
        """
        while True:
            packed = self._packed([*batch, *parts] if parts else batch)
            if packed is not None and len(packed) <= MAX_BATCH_BYTES:
                return packed
            if len(batch) <= 1:
                raise self._drop_the_worst(batch, parts)
            half = len(batch) // 2
            self._small.extendleft(reversed(batch[half:]))
            batch = batch[:half]

    def _packed(self, batch: list[Message]) -> bytes | None:
        """Pack a batch; None where something in it cannot be."""
        try:
            packed: bytes = self._packer.pack(_groups(batch))
        except (TypeError, ValueError, OverflowError):  # as a number above 64 bits, or half a surrogate pair
            return None
        return packed

    def _drop_the_worst(self, batch: list[Message], parts: list[Message]) -> LocalProtocolError:
        """Drop the one message that cannot be sent, or is the largest of those; return what to say of it."""

        def size(message: Message) -> float:
            packed = self._packed([message])
            return inf if packed is None else len(packed)

        worst = max([message for message in (*batch, *parts) if type(message) is not Part], key=size)
        if any(message is worst for message in batch):
            batch.clear()
        else:
            parts[:] = [message for message in parts if message is not worst]
        self._small.extendleft(reversed(batch))
        name, length = type(worst).__name__, size(worst)
        fault = "cannot be packed" if length == inf else f"of {length} bytes is over 1 MiB"
        return LocalProtocolError(f"a {name} {fault}")


def _payloads(messages: Sequence[Message]) -> list[Payload]:
    """Return the payloads of tasks and results."""
    return [message.payload for message in messages if type(message) is Submit or type(message) is Result]


def _has_large(messages: Sequence[Message]) -> bool:
    payloads = _payloads(messages)
    return bool(payloads) and (set(map(type, payloads)) != {bytes} or max(map(len, payloads)) > INLINE_BYTES)


def _weigh(batch: Sequence[Message]) -> int:
    """Return how many bytes small messages take up, about."""
    kinds, size = set(map(type, batch)), _MESSAGE_OVERHEAD * len(batch)
    if Submit in kinds or Result in kinds:
        size += sum(map(len, _payloads(batch)))
    if Reply in kinds:
        size += sum([len(message.value) for message in batch if type(message) is Reply])
    return size


def _groups(batch: Sequence[Message]) -> list[list[Any]]:
    """Return ``[verb, item, …]`` for each stretch of messages of one kind."""
    if len(batch) == 1 and type(batch[0]) is not Part:
        return [[VERB_OF_MESSAGE[type(batch[0])], batch[0]]]
    return [
        [VERB_OF_MESSAGE[kind], *(messages if kind is not Part else [message[:-1] for message in messages])]
        for kind, messages in groupby(batch, type)
    ]


def decode(frames: Sequence[Buffer], joiner: Joiner) -> Incoming:
    """Read a message; ``joiner`` keeps the pieces of unfinished payloads of its connection.

    Raises RemoteProtocolError, and nothing else, on whatever is wrong with it.
    """
    if not 1 <= len(frames) <= 1 + MAX_PIECES:
        raise RemoteProtocolError(f"a message of {len(frames)} frames is not one of meshq's")
    head = frames[0]
    start = _HEADER_AT
    if len(head) > start:
        start += head[MAGIC_BYTES] << 8 | head[MAGIC_BYTES + 1]
    prefix = head[:start] if type(head) is bytes else bytes(head[:start])
    header = _headers.get(prefix) or _read_header(prefix, start)
    messages: list[Message] = []
    unknown: list[int] = []
    pieces: Iterator[Buffer] | None = None
    for group in _unpack("batch", head[start:], MAX_BATCH_BYTES, list):
        if type(group) is not list or not group or type(group[0]) is not int:
            raise RemoteProtocolError("a batch is not made of groups that begin with a verb")
        verb = group.pop(0)
        reader = READER_OF_VERB.get(verb)
        if reader is None:
            unknown.append(verb)
            continue
        read = reader.read_all(group)
        group.clear()  # or the garbage collector would look at what nobody needs any more
        if verb == _PART or (verb in _PAYLOAD_AT and _has_transfer(read, _PAYLOAD_AT[verb])):
            pieces = iter(frames[1:]) if pieces is None else pieces
            _read_payloads(read, pieces, joiner, messages)
        else:
            messages += read
    return _new(Incoming, (header, messages, unknown))


_PART = VERB_OF_MESSAGE[Part]
_PAYLOAD_AT = {VERB_OF_MESSAGE[kind]: kind._fields.index("payload") for kind in (Submit, Result)}
"""Where messages that have a payload have it; it may be the number of a transfer."""


def _has_transfer(messages: Iterable[Any], payload_at: int) -> bool:
    for message in messages:  # noqa: SIM110 - one message takes any() five times as long, and many no less
        if type(message[payload_at]) is int:
            return True
    return False


def _read_payloads(
    group: Iterable[Any], pieces: Iterator[Buffer], joiner: Joiner, messages: list[Message]
) -> None:
    """Gather the pieces of large payloads; a message that refers to pieces which are lost is lost with them."""
    for message in group:
        if type(message) is Part:
            piece = next(pieces, None)
            if piece is None:
                raise RemoteProtocolError("a part came without its frame")
            joiner.feed(message._replace(data=piece))
        elif type(message.payload) is int:
            payload = joiner.take(message.payload)
            if payload is not None:
                messages.append(message._replace(payload=payload))
        else:
            messages.append(message)


_headers: dict[bytes, Header] = {}
_MAX_HEADERS = 1024
"""What heads begin with repeats for the life of a connection; beyond this many peers it is read anew each time."""


def _read_header(prefix: bytes, size: int) -> Header:
    """Read what a head begins with, of which there should be so many bytes."""
    magic = prefix[:MAGIC_BYTES]
    if magic not in MAGIC_OF_VERSION.values():
        if magic[:-1] == MAGIC[:-1]:
            raise UnsupportedVersion(magic[-1])
        raise RemoteProtocolError(f"a message that begins with {prefix[:16]!r} is not one of meshq's")
    if len(prefix) < size:
        raise RemoteProtocolError(f"a head ends after {len(prefix)} bytes, within its header")
    fields = _unpack("header", prefix[_HEADER_AT:], MAX_HEADER_BYTES, dict)
    header = Header(fields.get("s", b""), fields.get("d", b""), fields.get("i", 0))
    if tuple(map(type, header)) != (bytes, bytes, int):
        raise RemoteProtocolError(f"a header has the wrong shape: {reprlib.repr(fields)}")
    if len(_headers) < _MAX_HEADERS and size < 256:
        _headers[prefix] = header
    return header


def _unpack(what: str, packed: Buffer, limit: int, kind: type[Any]) -> Any:
    if len(packed) > limit:
        raise RemoteProtocolError(f"a {what} of {len(packed)} bytes is over its limit of {limit}")
    try:
        value = _unpackb(packed)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"a {what} is not msgpack: {error}") from error
    if type(value) is not kind:
        raise RemoteProtocolError(f"a {what} is a {type(value).__name__}, where a {kind.__name__} belongs")
    return value
