"""Tasks as ``inspect`` lists them: one row each, small enough that a thousand of them fit into a reply.

The node's loop must not be held up by what others have sent: of arguments, little is decoded, and never anything
that could run code or that loads a package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgpack

from meshq.core.survey import TaskView
from meshq.ids import format_id
from meshq.protocol.codec import serializer
from meshq.protocol.extensions import ARRAY, MARKS, SCALAR, Mark, decode_extension
from meshq.protocol.payload import join_payload, payload_size

MAX_ROWS = 1_000
MAX_ROWS_BYTES = 400 * 1024
"""What the rows of one reply may take, together."""
MAX_TEXT = 120
"""Characters of one argument."""
MAX_ARGUMENTS = 20
"""Arguments of one task; a chunk of a map has one for each call."""
MAX_DECODED = 16 * 1024
MAX_DECODED_TOGETHER = 1024 * 1024
"""Bytes of arguments that are decoded for one task, and for one reply: some 20 ms of the loop's time."""

Shown = tuple[list[str], dict[str, str]]


def cut(items: Iterable[Any], limit: int, total: int | None = None) -> list[Any]:
    """Return the first items, as many as fit into a reply; where some are left, a last one says how many.

    ``total`` is the number of all items, where ``items`` has not all of them.
    """
    taken: list[Any] = []
    room, count = MAX_ROWS_BYTES, 0
    for item in items:
        count += 1
        if room > 0 and len(taken) < limit:
            room -= len(msgpack.packb(item))
            taken.append(item)
    left = (count if total is None else total) - len(taken)
    return [*taken, {"more": left}] if left else taken


class Rows:
    """Makes the rows of one reply; ``pid`` returns the process id of a slot's worker."""

    def __init__(self, pid: Callable[[int], int | None]) -> None:
        self._pid = pid
        self._room = MAX_DECODED_TOGETHER

    def listed(self, views: Iterator[TaskView]) -> list[dict[str, Any]]:
        """Return the rows of these tasks; where they are too many, the last says how many more there are."""
        rows = cut(map(self.row, islice(views, MAX_ROWS)), MAX_ROWS)
        left = sum(1 for _ in views)
        if left:
            left += rows.pop()["more"] if "more" in rows[-1] else 0
            rows.append({"more": left})
        return rows

    def row(self, view: TaskView) -> dict[str, Any]:
        """Return one task's row."""
        args, kwargs = self._arguments(view)
        row = {
            "id": format_id(view.task),
            "name": view.function,
            "args": args,
            "kwargs": kwargs,
            "attempt": view.attempt,
            "priority": view.priority,
            "client": view.client,
        }
        if view.state == "active":
            row["started_s"] = round(view.seconds, 3)
        elif view.state == "scheduled":
            row["eta_s"] = round(view.seconds, 3)
        if view.reason:
            row["reason"] = view.reason
        if view.slot is not None:
            row |= {"slot": view.slot, "pid": self._pid(view.slot)}
        return row

    def _arguments(self, view: TaskView) -> Shown:
        """Return a call's arguments as text, as far as they may be looked into."""
        size = payload_size(view.payload)
        if view.serializer not in _READERS:
            return [f"<{view.serializer}>"], {}
        if size > min(MAX_DECODED, self._room):
            return [f"<{view.serializer}, {size} bytes>"], {}
        self._room -= size
        try:
            args, kwargs = _READERS[view.serializer](join_payload(view.payload))
            return _shown(args, kwargs)
        except Exception:  # it is the worker's part to say so: here it is only looked at
            return [f"<{view.serializer} that cannot be read>"], {}


def _shown(args: Iterable[object], kwargs: dict[str, object]) -> Shown:
    listed, named = list(args), list(kwargs.items())
    texts = [_text(value) for value in listed[:MAX_ARGUMENTS]]
    if len(listed) > MAX_ARGUMENTS:
        texts.append(f"… {len(listed) - MAX_ARGUMENTS} more")
    return texts, {_clip(name): _text(value) for name, value in named[:MAX_ARGUMENTS]}


def _text(value: object) -> str:
    return _clip(repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


class _Word:
    """Stands for a value that is not decoded."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _read_msgpack(payload: bytes) -> Any:
    return msgpack.unpackb(payload, strict_map_key=False, ext_hook=_extension, list_hook=_close_mark)


def _extension(code: int, data: bytes) -> object:
    if code in (ARRAY, SCALAR):
        return _Word("<numpy data>")  # to decode it would load numpy; that of attached arrays is too large anyway
    return MARKS.get(code) or decode_extension(code, data)


def _close_mark(items: list[Any]) -> object:
    return items[0].build(items[1:]) if items and type(items[0]) is Mark else items


def _read_json(payload: bytes) -> Any:
    return serializer("json").loads_call(payload)


_READERS: dict[str, Callable[[bytes], Any]] = {"msgpack": _read_msgpack, "json": _read_json}
"""The serializers whose calls are shown."""
