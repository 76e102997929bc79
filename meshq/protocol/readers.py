"""Reading messages from what msgpack unpacked, so that nothing of a wrong shape gets further.

Messages of one verb come in groups. A few are checked one by one, quickly where one of the same types was good
before; many are checked by column, all ids at once, all payloads at once, at a third of the cost.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Callable, Sequence
from itertools import repeat
from types import NoneType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from meshq.errors import RemoteProtocolError
from meshq.ids import ID_BYTES
from meshq.protocol.messages import LONGEST_NAME, MESSAGE_OF_VERB, Message, Part

_ID_FIELDS = frozenset({"task", "node", "client", "command", "secret"})
_NAME_FIELDS = frozenset(
    {"function", "serializer", "name", "host", "mesh", "lane", "role", "code", "reason", "outcome"}
)
"""The threat: names of a megabyte, which would be kept, logged, and said again with more besides."""
# A payload on the wire is inline bytes or the number of a transfer; the list form never crosses it.
_WIRE_PAYLOAD = (bytes, int)
_MANY = 8
"""From so many messages on, columns are quicker to check than rows."""

_new = tuple.__new__
Check = Callable[[Any], bool]
_Rules = tuple[bool, tuple[int, ...], tuple[int, ...], list[tuple[int, Check]]]
"""Whether no field is left out; where the ids are, the names, and the containers with what to check of them."""


class _Column(NamedTuple):
    """One field: the types that msgpack may give for it, and what a container there may hold."""

    types: frozenset[type]
    is_id: bool
    is_name: bool
    check: Check | None


def _wire_types(name: str, hint: Any) -> frozenset[type]:
    if name == "payload":
        return frozenset(_WIRE_PAYLOAD)
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = frozenset(get_origin(option) or option for option in options)
    return plain | {int} if float in plain else plain


def _container_check(hint: Any) -> Check | None:
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


class Reader:
    """Reads the items of one verb."""

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls
        fields = cls._fields if cls is not Part else cls._fields[:-1]  # a part's data is a frame of its own
        hints = get_type_hints(cls)
        self._columns = [
            _Column(
                _wire_types(name, hints[name]),
                name in _ID_FIELDS,
                name in _NAME_FIELDS,
                _container_check(hints[name]),
            )
            for name in fields
        ]
        self._defaults = [cls._field_defaults.get(name) for name in fields]
        self._required = sum(name not in cls._field_defaults for name in fields)
        self._ids = tuple(index for index, column in enumerate(self._columns) if column.is_id)
        self._names = tuple(index for index, column in enumerate(self._columns) if column.is_name)
        self._checks = [(i, column.check) for i, column in enumerate(self._columns) if column.check]
        self._width = len(self._columns)
        self._known: dict[tuple[type, ...], _Rules] = {}
        """The types of items that are good, and what is to be checked of these all the same."""

    def read_all(self, items: Sequence[Any]) -> list[Message]:
        """Return the messages of a group; raises ``RemoteProtocolError`` for one of a wrong shape."""
        if len(items) >= _MANY and self._cls is not Part and set(map(type, items)) == {list}:
            try:
                columns = list(zip(*items, strict=True))
            except ValueError:  # of several widths: a peer does not send such, but it is not wrong
                return list(map(self._read, items))
            if len(columns) >= self._required and all(map(_fits, self._columns, columns)):
                return self._from(items, columns)
        messages: list[Message] = []
        for item in items:
            messages.append(self._read(item))
        return messages

    def _from(self, items: Sequence[Any], columns: list[tuple[Any, ...]]) -> list[Message]:
        """Make messages of items whose columns are good; what a newer peer has added is left out."""
        width = self._width
        if len(columns) == width:
            return list(map(_new, repeat(self._cls), items))
        # So many, and not for ever: where all fields are optional there may be no column besides.
        columns += [(default,) * len(items) for default in self._defaults[len(columns) :]]
        return list(map(_new, repeat(self._cls), zip(*columns[:width], strict=True)))

    def _read(self, item: Any) -> Message:
        if type(item) is not list:
            raise self._refuse(item)
        if len(item) > self._width:
            item = item[: self._width]
        signature = tuple(map(type, item))
        is_whole, ids, names, checks = self._known.get(signature) or self._learn(item, signature)
        for position in ids:
            if len(item[position]) != ID_BYTES:
                raise self._refuse(item)
        for position in names:
            if len(item[position]) > LONGEST_NAME:
                raise self._refuse(item)
        for position, check in checks:
            if not check(item[position]):
                raise self._refuse(item)
        message: Message = _new(self._cls, item) if is_whole else self._cls(*item)
        return message

    def _learn(self, item: list[Any], signature: tuple[type, ...]) -> _Rules:
        """Note that items of these types are good, and return what to check of them each time."""
        count = len(signature)
        fitting = all(t in column.types for t, column in zip(signature, self._columns, strict=False))
        if count < self._required or not fitting:
            raise self._refuse(item)
        names = tuple(position for position in self._names if position < count)
        checks = [(at, check) for at, check in self._checks if at < count and signature[at] is not NoneType]
        rules = self._known[signature] = count == len(self._cls._fields), self._ids, names, checks
        return rules

    def _refuse(self, item: object) -> RemoteProtocolError:
        return RemoteProtocolError(f"a {self._cls.__name__} message has the wrong shape: {reprlib.repr(item)}")


def _fits(column: _Column, values: tuple[Any, ...]) -> bool:
    """Whether all values of a column are of the right shape."""
    return (
        column.types.issuperset(map(type, values))
        and (not column.is_id or set(map(len, values)) == {ID_BYTES})
        and (not column.is_name or max(map(len, values)) <= LONGEST_NAME)
        and (column.check is None or all(map(column.check, values)))
    )


READER_OF_VERB: dict[int, Reader] = {verb: Reader(cls) for verb, cls in MESSAGE_OF_VERB.items()}
