"""One run, from the payload of its arguments to the payload of its result or failure."""

from __future__ import annotations

from collections.abc import Sequence
from types import CoroutineType, TracebackType
from typing import Any

from meshq.errors import ChunkRefused, EncodingError, UnknownTask
from meshq.protocol.chunks import CHUNK_SERIALIZER, SPLIT, ChunkResult
from meshq.protocol.codec import serializer
from meshq.protocol.failures import FAILURE_SERIALIZER, dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload, payload_size
from meshq.protocol.retries import dump_retry
from meshq.protocol.serializer import Serializer
from meshq.tasks import Function, shipped
from meshq.workers import chunks, coroutines
from meshq.workers.backlog import Row
from meshq.workers.chunks import Chunks
from meshq.workers.retrying import is_last, retry_of
from meshq.workers.soft_limit import SoftLimit

OK, FAILURE, RETRY = int(Status.OK), int(Status.FAILURE), int(Status.RETRY)
_MAY_BE_SPLIT = frozenset({"ignore_result", "tags", "serializer"})
"""Options of functions that say nothing of how, or how often, each call is to be made."""
MAX_RESULT_BYTES = 4 * 2**30
"""As for every payload on the wire."""
_NOTHING = serializer(CHUNK_SERIALIZER).dumps(None, "None")
_OUR_FILES = (__file__, coroutines.__file__, chunks.__file__, shipped.function.__code__.co_filename)


class Attempts:
    """Carries runs out, each wholly: whatever a task raises is its failure, and the worker lives on.

    ``pickles`` says whether arguments may come as a pickle; the node, too, refuses them where they may not.
    """

    def __init__(self, soft: SoftLimit, pickles: bool) -> None:
        self._soft = soft
        self._refused = "" if pickles else "pickle"
        """The serializer in which nothing is taken."""
        soft.call = Attempts._call.__code__
        self.chunks = Chunks(soft)
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
            if options is not None and (chunk := options.get("chunk")):
                return OK, *self._carry_out_chunk(function, encoding, args, options, chunk == SPLIT)
            value = self._call(function, args, kwargs)
            if (options is not None or function.options) and _is_ignored(function, options or {}):
                return OK, CHUNK_SERIALIZER, _NOTHING
            result = codec.dumps(value, "the result of " + name)
            if type(result) is not bytes or len(result) > MAX_RESULT_BYTES:
                _check(result, name)
            return OK, encoding, result
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
        self, function: Function, encoding: str, columns: tuple[Any, ...], options: dict[str, Any], is_split: bool
    ) -> tuple[str, Payload]:
        """Make several calls; each has its own result or failure."""
        name = function.name
        if is_split and not _MAY_BE_SPLIT.issuperset(function.options):
            raise ChunkRefused(f"{name} has options that count for each call: its calls are tasks of their own")
        if not columns or not all(type(column) is list for column in columns):
            raise EncodingError(f"a chunk of calls of {name} has no lists of arguments")
        result = self._make_calls(function, columns, is_split)
        if _is_ignored(function, options):
            result = result._replace(values=[None] * len(result.values))
        codec = serializer(encoding if encoding == "pickle" else CHUNK_SERIALIZER)
        what = f"the results of {name}"
        try:
            payload = codec.dumps([*result], what)
            _check(payload, name)
        except EncodingError:
            payload = codec.dumps([*_encodable(codec, result, name)], what)
            _check(payload, name)
        return codec.name, payload

    def _make_calls(self, function: Function, columns: tuple[Any, ...], is_split: bool) -> ChunkResult:
        call, name = function.call, function.name
        if function.is_async:
            call = lambda *args: self._call(function, args, {})  # noqa: E731
        return self.chunks.make_calls(call, columns, lambda error: _describe(error, name), is_split)

    def close(self) -> None:
        """End what async tasks have left behind."""
        self._coroutines.close()


def _is_ignored(function: Function, options: dict[str, Any]) -> bool:
    """Whether nobody wants the value: what the call says of that counts more than what the function declares."""
    return bool(options.get("ignore_result", function.options.get("ignore_result")))


def _check(payload: Payload, name: str) -> None:
    """Raise ``EncodingError`` for the payload of a result that is too large to leave the worker."""
    size = payload_size(payload)
    if size > MAX_RESULT_BYTES:
        raise EncodingError(f"the result of {name} takes {size} bytes; at most 4 GiB can travel")


def _encodable(codec: Serializer, result: ChunkResult, name: str) -> ChunkResult:
    """Return what came of a chunk, with a failure in the place of each value that cannot travel."""
    values, failures = list(result.values), dict(map(tuple, result.failures))
    for number, value in enumerate(values):
        try:
            codec.dumps(value, f"the result of {name}")
        except EncodingError as error:
            values[number], failures[number] = None, _describe(error, name)
    return result._replace(values=values, failures=[[number, failures[number]] for number in sorted(failures)])


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
