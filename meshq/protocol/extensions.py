"""What msgpack carries beyond its own types, as extension types.

A container (tuple, set, frozenset) is an array whose first element is a *mark*, an extension without data:
so it costs no buffer of its own and nests as deep as a list. All else is an extension with data. Each type is
carried exactly; a class derived from it is not, as what it adds would be lost. No extension ever leads to
pickle.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, NoReturn
from uuid import UUID

from msgpack import ExtType

from meshq.errors import EncodingError, RemoteProtocolError

TUPLE, SET, FROZENSET = 1, 2, 3
BIG_INT, COMPLEX, DECIMAL, UUID_, DATETIME, DATE, TIME, TIMEDELTA, PATH = range(4, 13)
SCALAR, ARRAY, ATTACHED_ARRAY = 13, 14, 15
ATTACHED_BYTES = 16
"""The extension codes; fixed for ever. 13 to 15 are numpy's."""

_TUPLE, _SET, _FROZENSET = ExtType(TUPLE, b""), ExtType(SET, b""), ExtType(FROZENSET, b"")
_COMPLEX = struct.Struct(">dd")
_TIMEDELTA = struct.Struct(">iii")  # days, seconds, microseconds: as timedelta keeps them
_FOLDS = (b"0", b"1")

_PATH_KINDS: dict[type[PurePath], bytes] = {
    PurePosixPath: b"p", PureWindowsPath: b"w", PosixPath: b"P", WindowsPath: b"W",
}  # fmt: skip
# A concrete path of the other system's kind can only be a pure one here.
_PATH_TYPES: dict[bytes, type[PurePath]] = {
    b"p": PurePosixPath, b"w": PureWindowsPath, b"P": PurePosixPath, b"W": PureWindowsPath,
    _PATH_KINDS[type(Path())]: Path,
}  # fmt: skip


def _encode_big_int(value: int) -> ExtType:
    return ExtType(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _iso(code: int, value: datetime | time) -> ExtType:
    """Pack the text of a datetime or time; of its zone, the offset is kept."""
    if value.tzinfo is not None and value.utcoffset() is None:
        raise EncodingError(f"a {type(value).__name__} whose time zone gives it no offset")
    return ExtType(code, _FOLDS[value.fold] + value.isoformat().encode())


def _encode_timedelta(value: timedelta) -> ExtType:
    return ExtType(TIMEDELTA, _TIMEDELTA.pack(value.days, value.seconds, value.microseconds))


def _encode_path(value: PurePath) -> ExtType:
    # A file's name need not be text; surrogates stand for its odd bytes.
    return ExtType(PATH, _PATH_KINDS[type(value)] + str(value).encode("utf-8", "surrogatepass"))


ENCODERS: dict[type, Callable[[Any], object]] = {
    tuple: lambda value: [_TUPLE, *value],
    set: lambda value: [_SET, *value],
    frozenset: lambda value: [_FROZENSET, *value],
    int: _encode_big_int,
    complex: lambda value: ExtType(COMPLEX, _COMPLEX.pack(value.real, value.imag)),
    Decimal: lambda value: ExtType(DECIMAL, str(value).encode()),
    UUID: lambda value: ExtType(UUID_, value.bytes),
    datetime: lambda value: _iso(DATETIME, value),
    date: lambda value: ExtType(DATE, value.isoformat().encode()),
    time: lambda value: _iso(TIME, value),
    timedelta: _encode_timedelta,
    **dict.fromkeys(_PATH_KINDS, _encode_path),
}
"""How each exact type is packed."""


class Mark:
    """What stands at the head of an array until it has become a container of another kind."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Any]], object]) -> None:
        self.build = build


MARKS = {TUPLE: Mark(tuple), SET: Mark(set), FROZENSET: Mark(frozenset)}


def _decode_datetime(data: bytes) -> datetime:
    return datetime.fromisoformat(data[1:].decode()).replace(fold=_FOLDS.index(data[:1]))


def _decode_time(data: bytes) -> time:
    return time.fromisoformat(data[1:].decode()).replace(fold=_FOLDS.index(data[:1]))


def _decode_path(data: bytes) -> PurePath:
    return _PATH_TYPES[data[:1]](data[1:].decode("utf-8", "surrogatepass"))


_DECODERS: dict[int, Callable[[bytes], object]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
    DECIMAL: lambda data: Decimal(data.decode()),
    UUID_: lambda data: UUID(bytes=data),
    DATETIME: _decode_datetime,
    DATE: lambda data: date.fromisoformat(data.decode()),
    TIME: _decode_time,
    TIMEDELTA: lambda data: timedelta(*_TIMEDELTA.unpack(data)),
    PATH: _decode_path,
}


def decode_extension(code: int, data: bytes) -> object:
    """Return the value of an extension that has data; raises anything where the data is malformed."""
    decode = _DECODERS.get(code)
    if decode is None:
        _refuse(code)
    return decode(data)


def _refuse(code: int) -> NoReturn:
    raise RemoteProtocolError(f"extension type {code} of a payload is not known here")
