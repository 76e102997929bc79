"""The default serializer: msgpack with extension types, large arrays attached."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from meshq.errors import EncodingError, MeshqError, RemoteProtocolError
from meshq.protocol.arrays import decode_array, decode_attached_array, decode_scalar, encode_numpy
from meshq.protocol.attachments import ATTACH_BYTES, Area, Attachments, as_one, is_attached, split
from meshq.protocol.extensions import (
    ARRAY,
    ATTACHED_ARRAY,
    ATTACHED_BYTES,
    ENCODERS,
    MARKS,
    SCALAR,
    Mark,
    decode_extension,
)
from meshq.protocol.payload import Buffer, Payload
from meshq.protocol.serializer import Serializer
from meshq.protocol.unfit import type_of

_PACKER_BYTES = 16 * 1024
# A packer keeps its largest buffer for ever; one that has grown beyond this is not used again.
_MAX_KEPT_BYTES = 1024 * 1024


class _Large:
    """Bytes that are worth attaching."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _Encoder:
    """A packer and the attachments of the payload that it is packing; serves one thread at a time."""

    __slots__ = ("attachments", "pack")

    def __init__(self) -> None:
        self.attachments = Attachments()
        packer = msgpack.Packer(default=self._extend, strict_types=True, buf_size=_PACKER_BYTES)
        self.pack: Callable[[object], bytes] = packer.pack

    def _extend(self, value: object) -> object:
        encode = ENCODERS.get(type(value))
        if encode is not None:
            return encode(value)
        if type(value) is _Large:
            place = self.attachments.add(memoryview(value.data)), len(value.data)
            return msgpack.ExtType(ATTACHED_BYTES, msgpack.packb(place))
        packed = encode_numpy(value, self.attachments)
        if packed is None:
            raise EncodingError(type_of(value))
        return packed


# Encoders that no thread is using. Taking from and adding to a list's end is safe between threads.
_idle: list[_Encoder] = []


class MsgpackSerializer(Serializer):
    """Carries plain data, the types of ``extensions``, and numpy arrays.

    bytearray and memoryview arrive as bytes. An array that is large is not copied: it must stay as it is
    until its task is done.
    """

    name = "msgpack"

    def encode(self, value: object) -> Payload:
        """Return the value's payload; raises anything where it does not fit."""
        if type(value) is bytes and len(value) >= ATTACH_BYTES:
            value = _Large(value)
        try:
            encoder = _idle.pop()
        except IndexError:
            encoder = _Encoder()
        try:
            head = encoder.pack(value)
            payload = encoder.attachments.take(head) if encoder.attachments.buffers else head
        except BaseException:
            del encoder.pack
            raise
        if len(head) <= _MAX_KEPT_BYTES:
            _idle.append(encoder)
        else:
            del encoder.pack  # else its buffer stays until the collector finds that they refer to each other
        return payload

    def dumps_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        """Return the payload of a call's arguments. Raises EncodingError, which names the argument."""
        for argument in args:
            if type(argument) is bytes and len(argument) >= ATTACH_BYTES:
                args = tuple(map(_outlined, args))
                break
        if kwargs:
            kwargs = {name: _outlined(value) for name, value in kwargs.items()}
        return Serializer.dumps_call(self, args, kwargs)  # super() would take a tenth of it all

    def loads(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value. Raises as any serializer."""
        if type(payload) is bytes:
            try:
                return _unpack(payload)  # at half the cost of the full way
            except Exception:  # which tells what it is
                pass
        return Serializer.loads(self, payload)

    def decode(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value; raises anything where it is malformed."""
        if isinstance(payload, list):
            if len(payload) > 1:
                return _Decoder().decode(payload)
            payload = payload[0]
        try:
            return _unpack(payload)
        except MeshqError:
            raise
        except Exception:  # marks, attachments or garbage: the full decoder tells them apart
            pass
        return _Decoder().decode(payload)


def _outlined(value: object) -> object:
    return _Large(value) if type(value) is bytes and len(value) >= ATTACH_BYTES else value


class _MarkFound(Exception):
    """A payload has containers that take the full decoder."""


def _decode_plain(code: int, data: bytes) -> object:
    if code in MARKS:
        raise _MarkFound
    if code == SCALAR:
        return decode_scalar(data)
    if code == ARRAY:
        return decode_array(data)
    return decode_extension(code, data)


_unpack = partial(msgpack.unpackb, strict_map_key=False, ext_hook=_decode_plain)
"""Decodes a payload without a tuple or set, as most are: no function need be called for each list."""


class _Decoder:
    """Decodes one payload, marks and attachments included."""

    def __init__(self) -> None:
        self._area = Area([])
        self._open_marks = 0

    def decode(self, payload: Payload | Buffer) -> Any:
        head: Buffer
        if is_attached(payload):
            head, self._area = split(payload)
        else:
            head = as_one(payload)
        value = msgpack.unpackb(
            head, strict_map_key=False, ext_hook=self._decode_extension, list_hook=self._close_mark
        )
        if self._open_marks:
            raise RemoteProtocolError("a payload has a mark that is not at the head of an array")
        return value

    def _decode_extension(self, code: int, data: bytes) -> object:
        mark = MARKS.get(code)
        if mark is not None:
            self._open_marks += 1
            return mark
        if code == ATTACHED_ARRAY:
            return decode_attached_array(data, self._area)
        if code == ATTACHED_BYTES:
            return self._area.bytes(*msgpack.unpackb(data))
        return _decode_plain(code, data)

    def _close_mark(self, items: list[Any]) -> object:
        if not items or type(items[0]) is not Mark:
            return items
        self._open_marks -= 1
        build = items[0].build
        del items[0]
        return build(items)
