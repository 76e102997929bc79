"""Reading one message from what msgpack unpacked, so that nothing of a wrong shape gets further.

The check is quick for what was seen before: a message whose items have the same types as an earlier good one
needs no second look, other than at its ids and containers.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from meshq.errors import RemoteProtocolError
from meshq.ids import ID_BYTES
from meshq.protocol.messages import MESSAGE_OF_VERB, Message, Part

_ID_FIELDS = frozenset({"task", "node", "client", "command", "secret"})
# A payload on the wire is inline bytes or the number of a transfer; the list form never crosses it.
_WIRE_PAYLOAD = (bytes, int)


def _wire_types(name: str, hint: Any) -> tuple[Any, ...]:
    """Return the Python types that msgpack may give for a field."""
    if name == "payload":
        return _WIRE_PAYLOAD
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = tuple(get_origin(option) or option for option in options)
    return (*plain, int) if float in plain else plain


def _container_check(hint: Any) -> Callable[[Any], bool] | None:
    """Return the check of what a container holds, or None where the field is not one."""
    text = str(hint)
    if "dict[str, str]" in text:
        return lambda value: all(type(k) is str and type(v) is str for k, v in value.items())
    if "dict[str" in text:
        return lambda value: value is None or all(type(key) is str for key in value)
    if "list[bytes]" in text:
        return lambda value: all(type(item) is bytes and len(item) == ID_BYTES for item in value)
    if "list[str]" in text:
        return lambda value: all(type(item) is str for item in value)
    if "list[list" in text:
        return lambda value: all(type(item) is list for item in value)
    return None


def _make_reader(cls: type[Any]) -> Callable[[list[Any]], Message]:
    fields = cls._fields if cls is not Part else cls._fields[:-1]  # a part's data is a frame of its own
    hints = get_type_hints(cls)
    allowed = [_wire_types(name, hints[name]) for name in fields]
    required = sum(name not in cls._field_defaults for name in fields)
    id_positions = tuple(index for index, name in enumerate(fields) if name in _ID_FIELDS)
    checks = [(i, check) for i, name in enumerate(fields) if (check := _container_check(hints[name]))]
    known: set[tuple[type, ...]] = set()
    width = len(fields)

    def refuse(item: object) -> RemoteProtocolError:
        return RemoteProtocolError(f"a {cls.__name__} message has the wrong shape: {reprlib.repr(item)}")

    def read(item: list[Any]) -> Message:
        if type(item) is not list:
            raise refuse(item)
        if len(item) > width:
            item = item[:width]
        signature = tuple(map(type, item))
        if signature not in known:
            if len(item) < required or not all(t in a for t, a in zip(signature, allowed, strict=False)):
                raise refuse(item)
            known.add(signature)
        for position in id_positions:
            if len(item[position]) != ID_BYTES:
                raise refuse(item)
        for position, check in checks:
            if position < len(item) and not check(item[position]):
                raise refuse(item)
        message: Message = cls(*item)
        return message

    return read


READER_OF_VERB: dict[int, Callable[[list[Any]], Message]] = {
    verb: _make_reader(cls) for verb, cls in MESSAGE_OF_VERB.items()
}
