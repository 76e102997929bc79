"""From a call of a function to the task that its owner keeps."""

from __future__ import annotations

from typing import Any

from meshq.client.future import Future, TaskHandler
from meshq.errors import ConfigError, EncodingError
from meshq.ids import keyed_task_id, new_task_id, parse_task_id
from meshq.protocol.codec import SERIALIZER_NAMES, serializer
from meshq.tasks import SHIPPED
from meshq.tasks.options import PLAIN, TaskOptions, names_of_types

_msgpack = serializer("msgpack")
_NO_ARGUMENTS = _msgpack.dumps_call((), {})


def make_plain_future(
    handler: TaskHandler, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Future[Any]:
    """Return the future of a call with ``PLAIN`` options, as most are. Raises ``EncodingError``."""
    payload = _msgpack.dumps_call(args, kwargs) if args or kwargs else _NO_ARGUMENTS
    return Future(handler, new_task_id(), name, "msgpack", payload)


def make_future(
    handler: TaskHandler,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: TaskOptions,
    *,
    detached: bool = False,
    chunk: bool | str | None = None,
) -> Future[Any]:
    """Return the future of a call, or of a ``chunk`` of calls, whose arguments are columns.

    Raises ``EncodingError``.
    """
    encoding = options.serializer or "msgpack"
    try:
        payload = serializer(encoding).dumps_call(args, kwargs)
    except EncodingError:
        if name == SHIPPED and args and chunk is None:
            _check_shipped(args, kwargs)
        raise
    task_id = new_task_id() if options is PLAIN else _task_id(name, options)
    task: Future[Any] = Future(handler, task_id, name, encoding, payload, detached=detached)
    if chunk is not None:
        task.options = {"chunk": chunk}
    if options is not PLAIN and options != PLAIN:
        task.tags = frozenset(options.tags)
        task.options = {**(task.options or {}), **_to_wire(options)} or None
        if detached and options.tags:
            # The node that accepts it may send it on.
            task.options = {**(task.options or {}), "tags": list(options.tags)}
    return task


def check_serializer(name: str) -> None:
    """Raise ``ConfigError`` for what is neither the name of a serializer nor "", where it is not known."""
    if name not in ("", *SERIALIZER_NAMES):
        known = ", ".join(SERIALIZER_NAMES)
        raise ConfigError(f"serializer must be one of {known}, or left out (got {name!r})")


def _task_id(name: str, options: TaskOptions) -> bytes:
    if options.idempotency_key is not None:
        return keyed_task_id(name, options.idempotency_key)
    return new_task_id() if options.task_id is None else parse_task_id(options.task_id)


def _check_shipped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise what is wrong with a call of ``shipped``, its arguments numbered as those of the shipped function."""
    pickle = serializer("pickle")
    pickle.dumps(args[0], "the function")
    pickle.dumps_call(args[1:], kwargs)


def _to_wire(options: TaskOptions) -> dict[str, Any]:
    """Return what the owner and the node have to know of the call.

    What a node knows of the function itself is told only where this call has it otherwise, as such a limit counts
    for this call alone, and more than one set by a control command; None lifts one.
    """
    wire: dict[str, Any] = {key: getattr(options, key) for key in options.overrides}
    if wire.pop("delivery", None) or options.delivery == "at-most-once":
        wire["once"] = options.delivery == "at-most-once"
    if "retry_for" in wire:
        wire["retry_for"] = names_of_types(options.retry_for)
    if options.countdown:
        wire["countdown"] = options.countdown
    if options.expires is not None:
        wire["expires"] = options.expires
    if options.priority is not None:
        wire["priority"] = options.priority
    if options.idempotency_key is not None:
        wire["key"] = True
    return wire
