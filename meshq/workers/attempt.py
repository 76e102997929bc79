"""One run, from the payload of its arguments to the payload of its result or failure."""

from __future__ import annotations

from collections.abc import Sequence
from types import CoroutineType, TracebackType
from typing import Any

from meshq.errors import EncodingError, UnknownTask
from meshq.protocol.codec import serializer
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload, payload_size
from meshq.protocol.retries import dump_retry
from meshq.protocol.serializer import Serializer
from meshq.tasks import Function, shipped
from meshq.workers import coroutines
from meshq.workers.backlog import Row
from meshq.workers.retrying import is_last, retry_of
from meshq.workers.soft_limit import SoftLimit

# A failure travels as the failures module writes it, whatever the task's own serializer.
FAILURE_SERIALIZER = "msgpack"
# A chunk holds failures as bytes, which json has no form for; msgpack carries all that json does.
CHUNK_SERIALIZER = "msgpack"
OK, FAILURE, RETRY = int(Status.OK), int(Status.FAILURE), int(Status.RETRY)
MAX_RESULT_BYTES = 4 * 2**30
"""As for every payload on the wire."""
_NOTHING = serializer(CHUNK_SERIALIZER).dumps(None, "None")
_OUR_FILES = (__file__, coroutines.__file__, shipped.function.__code__.co_filename)


class Attempts:
    """Carries runs out, each wholly: whatever a task raises is its failure, and the worker lives on.

    ``pickles`` says whether arguments may come as a pickle; the node, too, refuses them where they may not.
    """

    def __init__(self, soft: SoftLimit, pickles: bool) -> None:
        self._soft = soft
        self._refused = "" if pickles else "pickle"
        """The serializer in which nothing is taken."""
        soft.call = Attempts._call.__code__
        self._coroutines = coroutines.Coroutines(soft)

    def carry_out(self, function: Function | None, row: Row) -> tuple[int, str, Payload]:
        """Run a task; return the status, the serializer and the payload of what came of it."""
        name, encoding, payload = row[3], row[4], row[5]
        try:
            if function is None:
                raise UnknownTask(f"{name!r} is not offered by this worker; its module may have changed since")
            if encoding == self._refused:
                raise EncodingError(f"{name} was sent as a pickle, and this node takes none (--allow-pickle)")
            codec = serializer(encoding)
            args, kwargs = codec.loads_call(payload)
            options = row[6]
            if options is not None and options.get("chunk"):
                return OK, *self._carry_out_chunk(function, encoding, args, _is_ignored(function, options))
            value = self._call(function, args, kwargs)
            if (options is not None or function.options) and _is_ignored(function, options or {}):
                return OK, CHUNK_SERIALIZER, _NOTHING
            return OK, encoding, _checked(codec.dumps(value, f"the result of {name}"), name)
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the task, not the worker
            asked = None if function is None else retry_of(error, function.options, row[6])
            if asked is None:
                return FAILURE, FAILURE_SERIALIZER, _describe(error, name)
            failure = _describe(asked[1], name)
            if is_last(asked[0], row[6]):
                return FAILURE, FAILURE_SERIALIZER, failure
            return RETRY, FAILURE_SERIALIZER, dump_retry(asked[0]._replace(failure=failure))

    def _call(self, function: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call the function; the soft limit is raised in it, or else from here, and not beyond."""
        soft = self._soft
        soft.inside = True
        try:
            value = function.call(*args, **kwargs)
            if function.is_async:
                soft.inside = False
                if isinstance(value, CoroutineType):  # not each that is shipped returns one
                    value = self._coroutines.run(value)
            return value
        finally:
            soft.inside = False

    def _carry_out_chunk(
        self, function: Function, encoding: str, calls: tuple[Any, ...], ignored: bool
    ) -> tuple[str, Payload]:
        """Make several calls; each has its own result or failure, ``[failed, value]``."""
        codec = serializer(encoding if encoding == "pickle" else CHUNK_SERIALIZER)
        items = [self._item(function, call, ignored) for call in calls]
        what = f"the results of {function.name}"
        try:
            return codec.name, _checked(codec.dumps(items, what), function.name)
        except EncodingError:
            checked = [item if item[0] else _encodable(codec, item[1], function.name) for item in items]
            return codec.name, _checked(codec.dumps(checked, what), function.name)

    def _item(self, function: Function, args: Sequence[Any], ignored: bool) -> list[Any]:
        try:
            value = self._call(function, args, {})
            return [False, None if ignored else value]
        except BaseException as error:
            return [True, _describe(error, function.name)]

    def close(self) -> None:
        """End what async tasks have left behind."""
        self._coroutines.close()


def _is_ignored(function: Function, options: dict[str, Any]) -> bool:
    """Whether nobody wants the value: what the call says of that counts more than what the function declares."""
    return bool(options.get("ignore_result", function.options.get("ignore_result")))


def _checked(payload: Payload, name: str) -> Payload:
    """Return the payload of a result, unless it is too large to leave the worker."""
    if payload_size(payload) > MAX_RESULT_BYTES:
        raise EncodingError(f"the result of {name} takes {payload_size(payload)} bytes; at most 4 GiB can travel")
    return payload


def _encodable(codec: Serializer, value: Any, name: str) -> list[Any]:
    """Return an item of a chunk: the value, or the failure to encode it."""
    try:
        codec.dumps(value, f"the result of {name}")
    except EncodingError as error:
        return [True, _describe(error, name)]
    return [False, value]


def _describe(error: BaseException, name: str) -> bytes:
    """Return the failure as data, its traceback beginning in the task's own code."""
    try:
        return dump_failure(error.with_traceback(_from_the_task_on(error.__traceback__)))
    except Exception as fault:
        text = f"{name} raised {type(error).__name__}, which cannot be described: {type(fault).__name__}: {fault}"
        return dump_failure(RuntimeError(text))


def _from_the_task_on(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without what leads to the task: our own frames, and those of the event loop between."""
    begin, each = trace, trace
    while each is not None:
        ours = each.tb_frame.f_code.co_filename in _OUR_FILES
        each = each.tb_next
        if ours:
            begin = each
    return begin
