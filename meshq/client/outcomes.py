"""From a task's outcome, as the owner settled it, to the value or the exception that a caller gets."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.errors import (
    MeshqError,
    NoNodes,
    RemoteProtocolError,
    ResultGone,
    TaskExpired,
    TaskLost,
    TaskRevoked,
    TimeLimitExceeded,
    UnknownTask,
    WorkerLost,
)
from meshq.ids import format_id
from meshq.protocol.chunks import CHUNK_SERIALIZER
from meshq.protocol.codec import serializer
from meshq.protocol.failures import load_failure
from meshq.protocol.payload import Payload, join_payload

_from_msgpack = serializer("msgpack").loads
_MAX_TEXT = 1_000
"""Characters of what a node says became of a task: it may say anything."""
_GAVE_WAY = (
    "the task has ended, and its result has given way to others at its node while this process was out of reach: "
    "let the node hold more (meshq node --hold SIZE)"
)


def decode(payload: Payload, encoding: str, asked: str) -> Any:
    """Return the value of a task that is DONE, which came in the serializer ``encoding``; raises what that raises.

    Without a serializer the value did not come: ``ResultGone``.
    ``asked`` is the serializer of the call. A result in another one is refused, as it may be a pickle, which runs
    what it likes; but for msgpack, in which chunks come.
    """
    if encoding != asked and encoding != CHUNK_SERIALIZER:
        if not encoding:
            raise ResultGone(_GAVE_WAY)
        raise RemoteProtocolError(f"a result came as {encoding!r}, and {asked!r} was asked for")
    return _from_msgpack(payload) if encoding == "msgpack" else serializer(encoding).loads(payload)


def failure_of(data: Payload) -> BaseException:
    """Return the exception that was raised, or why it cannot be read."""
    try:
        return load_failure(data)
    except MeshqError as error:
        return error


def error_of(task: OwnedTask, outcome: Outcome, explain: str = "") -> BaseException:
    """Return the exception of a task that is not DONE; ``explain`` says more of an unknown task or of no nodes."""
    if outcome.ending is Ending.FAILURE:
        if not (outcome.payload or outcome.serializer):
            return ResultGone(_GAVE_WAY)
        return failure_of(outcome.payload)
    name = f"task {task.function} ({format_id(task.id)})" if task.function else f"task {format_id(task.id)}"
    text = join_payload(outcome.payload).decode("utf-8", "replace") if outcome.ending is Ending.TIME_LIMIT else ""
    return _ERRORS[outcome.ending](name, text[:_MAX_TEXT] or outcome.text or explain)


def _cancelled(name: str, text: str) -> BaseException:
    return CancelledError(f"{name} was withdrawn before it ran")


def _revoked(name: str, text: str) -> BaseException:
    return TaskRevoked(f"{name} was revoked")


def _expired(name: str, text: str) -> BaseException:
    tried = f" again, after {text}" if text else ""
    return TaskExpired(f"{name} expired before it was started{tried}")


def _time_limit(name: str, text: str) -> BaseException:
    return TimeLimitExceeded(f"{name} was ended: {text or 'it ran past its time limit'}")


def _worker_lost(name: str, text: str) -> BaseException:
    return WorkerLost(f"{name} was given up: the worker died each time it ran ({text})")


def _lost(name: str, text: str) -> BaseException:
    return TaskLost(f"{name} may have run, wholly or in part, and must not run twice: {text}", maybe_executed=True)


def _unknown(name: str, text: str) -> BaseException:
    return UnknownTask(text or f"no node offers {name}")


def _no_nodes(name: str, text: str) -> BaseException:
    return NoNodes(text or f"no node was found to run {name}")


_ERRORS = {
    Ending.CANCELLED: _cancelled,
    Ending.REVOKED: _revoked,
    Ending.EXPIRED: _expired,
    Ending.TIME_LIMIT: _time_limit,
    Ending.WORKER_LOST: _worker_lost,
    Ending.LOST: _lost,
    Ending.UNKNOWN_TASK: _unknown,
    Ending.NO_NODES: _no_nodes,
}
