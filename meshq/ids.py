"""The ids of tasks, nodes, clients and commands: 16 bytes each on the wire, a UUID's text for people."""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from typing import NewType

from meshq.errors import ConfigError

TaskId = NewType("TaskId", bytes)
NodeId = NewType("NodeId", bytes)
ClientId = NewType("ClientId", bytes)
CommandId = NewType("CommandId", bytes)

ID_BYTES = 16
# 10 random bytes a process and a 6-byte counter: as unlikely to clash as a UUID4, at a quarter of its cost.
_PREFIX_BYTES = 10
_prefix = os.urandom(_PREFIX_BYTES)
_COUNTER_BYTES = ID_BYTES - _PREFIX_BYTES
_next = itertools.count(int.from_bytes(os.urandom(4), "big")).__next__


def _reseed() -> None:
    """Give a forked child ids of its own."""
    global _prefix
    _prefix = os.urandom(_PREFIX_BYTES)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reseed)


def new_task_id() -> TaskId:
    """Make a task id that no other process makes."""
    # To call the type, which does nothing, would take a third of the time.
    return _prefix + _next().to_bytes(_COUNTER_BYTES, "big")  # type: ignore[return-value]


def keyed_task_id(function: str, key: str) -> TaskId:
    """Return the id of the task that all calls of a function with this key are, whoever makes them."""
    return TaskId(hashlib.blake2b(f"{function}\0{key}".encode(), digest_size=ID_BYTES).digest())


def new_id() -> bytes:
    """Make 16 random bytes, for a node, a client, a command or a secret."""
    return os.urandom(ID_BYTES)


def parse_task_id(value: str | bytes | uuid.UUID) -> TaskId:
    """Read a task id from anything that ``uuid.UUID()`` parses, or from its 16 bytes."""
    if isinstance(value, uuid.UUID):
        return TaskId(value.bytes)
    if isinstance(value, bytes) and len(value) == ID_BYTES:
        return TaskId(value)
    try:
        return TaskId(uuid.UUID(value).bytes)  # type: ignore[arg-type]
    except (ValueError, AttributeError, TypeError):
        raise ConfigError(f"{value!r} is not a task id: give 32 hexadecimal digits, as in a UUID") from None


def format_id(value: bytes) -> str:
    """Write an id as people read it: a UUID's text."""
    return str(uuid.UUID(bytes=value))
