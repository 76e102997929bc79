"""Which part of a value does not fit a serializer: the slow search after a failure, and the error's words."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterator
from enum import Enum

MAX_DEPTH = 1024
"""Levels of containers that a value may have: msgpack's own limit."""
KEY = " (a key)"
_ELEMENT = " (an element)"

Reason = Callable[[object, bool], str | None]
"""Why a value, or a key (True), does not fit: "a socket.socket"; None where it does."""
Children = Callable[[object], Iterator[tuple[str, object]] | None]
"""A container's children, each with its step in the path; None for what is not a container."""


def type_of(value: object) -> str:
    """Name a value's type, with its article: "an int", "a socket.socket"."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def exact_children(value: object) -> Iterator[tuple[str, object]] | None:
    """Open the built-in containers, but none of a class derived from them."""
    if type(value) is dict:
        return _items(value)
    if type(value) is list or type(value) is tuple:
        return ((f"[{index}]", item) for index, item in enumerate(value))
    if type(value) is set or type(value) is frozenset:
        return ((_ELEMENT, item) for item in value)
    return None


def json_children(value: object) -> Iterator[tuple[str, object]] | None:
    """Open what the json module takes for an object or an array."""
    if isinstance(value, dict):
        return _items(value)
    if isinstance(value, list | tuple):
        return ((f"[{index}]", item) for index, item in enumerate(value))
    return None


def _items(value: dict[object, object]) -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        yield KEY, key
        yield f"[{reprlib.repr(key)}]", item


def find_unfit(value: object, children: Children, reason: Reason) -> str | None:
    """Say where in the value, and what, the first unfit thing is: " ['sizes'][3] is a socket.socket"."""
    levels: list[Iterator[tuple[str, object]]] = [iter([("", value)])]
    steps: list[str] = []
    while levels:
        step, child = next(levels[-1], ("", levels))
        if child is levels:  # this level is through
            levels.pop()
            del steps[-1:]
            continue
        opened = children(child)
        if opened is None:
            why = reason(child, step is KEY)
            if why is not None:
                return f"{_path([*steps, step])} is {why}{_hint(child)}"
        elif len(levels) > MAX_DEPTH:
            return f" is nested more than {MAX_DEPTH} levels deep, or contains itself"
        else:
            steps.append(step)
            levels.append(opened)
    return None


def _path(steps: list[str]) -> str:
    text = "".join(steps)
    return f" {text}" if text.startswith("[") else text


def _hint(value: object) -> str:
    """Say what plain data there is in a value of a kind that people often pass."""
    if isinstance(value, Enum):
        return " (its .value may do)"
    if isinstance(value, tuple):
        return " (tuple() of it may do)"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return " (dataclasses.asdict() of it may do)"
    return ""
