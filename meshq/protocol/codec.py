"""The serializers by name, and calls as payloads.

- msgpack: plain data, and the types of ``extensions`` and ``arrays``, each exactly as it was.
- json: what JSON has; tuples become lists, and a map's keys must be text.
- raw: one bytes-like argument, a bytes-like result; both arrive as bytes.
- pickle: any value; where it is allowed is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from meshq.errors import ConfigError, EncodingError
from meshq.protocol.attachments import as_one
from meshq.protocol.msgpack_serializer import MsgpackSerializer
from meshq.protocol.payload import Buffer, Payload
from meshq.protocol.pickling import PickleSerializer
from meshq.protocol.serializer import Serializer
from meshq.protocol.unfit import Children, json_children, type_of

__all__ = ["Serializer", "dumps_call", "loads_call", "serializer"]


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_to_json: Callable[[object], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
_from_json: Callable[[str], Any] = json.JSONDecoder(parse_constant=_no_constant).decode


def _has_odd_key(value: object) -> bool:
    """Say whether a map anywhere in the value has a key that JSON would turn into text."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) for key in item):
                return True
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return False


class JsonSerializer(Serializer):
    """Carries what the json module takes, but no NaN, no infinity, and no map with keys other than text."""

    name = "json"
    children: Children = staticmethod(json_children)

    def encode(self, value: object) -> Payload:
        """Return the value's payload; raises anything where it does not fit."""
        text = _to_json(value)
        if "{" in text and _has_odd_key(value):
            raise EncodingError("a map with a key that is not a str")
        return text.encode()

    def decode(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value; raises anything where it is malformed."""
        return _from_json(str(as_one(payload), "utf-8"))

    def reason(self, value: object, is_key: bool) -> str | None:
        """Say why a value or key does not fit, or None where it does."""
        if is_key and not isinstance(value, str):
            return type_of(value)
        return super().reason(value, is_key)


class RawSerializer(Serializer):
    """Carries bytes as they are."""

    name = "raw"
    advice = "pass bytes, or leave the serializer at msgpack"

    def encode(self, value: object) -> Payload:
        """Return the bytes; a mutable buffer is copied, as its owner may use it again."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise EncodingError(type_of(value))
        return bytes(value)

    def decode(self, payload: Payload | Buffer) -> bytes:
        """Return the bytes."""
        return bytes(as_one(payload))

    def dumps_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        """Return the one argument's bytes. Raises EncodingError for any other call."""
        if len(args) != 1 or kwargs:
            raise EncodingError(
                f"a call with {len(args)} arguments and {len(kwargs)} keyword arguments cannot go with the "
                f"serializer raw, which takes one bytes-like argument; {self.advice}"
            )
        return self.dumps(args[0], "argument 1")

    def loads_call(self, payload: Payload | Buffer) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call of the one argument."""
        return (self.loads(payload),), {}


class _Serializers(dict[str, Serializer]):
    def __missing__(self, name: str) -> NoReturn:
        raise ConfigError(f"there is no serializer {name!r}: choose one of {', '.join(self)}")


_serializers = _Serializers(
    {each.name: each for each in (MsgpackSerializer(), JsonSerializer(), RawSerializer(), PickleSerializer())}
)
SERIALIZER_NAMES = tuple(_serializers)

serializer: Callable[[str], Serializer] = _serializers.__getitem__
"""Returns the serializer of a name. Raises ConfigError, which names the known ones."""


def dumps_call(serializer: Serializer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
    """Return the payload of a call's arguments. Raises EncodingError, which names the argument."""
    return serializer.dumps_call(args, kwargs)


def loads_call(serializer: Serializer, payload: Payload | Buffer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call. Raises RemoteProtocolError where the payload is malformed."""
    return serializer.loads_call(payload)
