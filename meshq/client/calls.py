"""From a call of a function to the task that its owner keeps."""

from __future__ import annotations

from typing import Any

from meshq.core.owned import OwnedTask
from meshq.errors import ConfigError
from meshq.ids import new_task_id, parse_task_id
from meshq.protocol.codec import serializer
from meshq.tasks.options import TaskOptions

PLAIN = TaskOptions()
"""The options of a function that nobody has given any."""
_SUPPORTED = frozenset({"tags", "serializer"})


def make_task(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: TaskOptions,
    *,
    detached: bool = False,
    chunked: bool = False,
) -> OwnedTask:
    """Return the task of a call. Raises ``EncodingError``, and ``ConfigError`` for options without effect."""
    encoding = options.serializer or "msgpack"
    payload = serializer(encoding).dumps_call(args, kwargs)
    task_id = new_task_id() if options.task_id is None else parse_task_id(options.task_id)
    wire = {"chunk": True} if chunked else None
    task = OwnedTask(task_id, name, encoding, payload, detached=detached, options=wire)
    if options != PLAIN:
        _check(options)
        task.tags = frozenset(options.tags)
    return task


def _check(options: TaskOptions) -> None:
    unsupported = sorted(set(options.to_wire()) - _SUPPORTED)
    if unsupported:
        raise ConfigError(f"task option {unsupported[0]} has no effect in this version of meshq: leave it out")
