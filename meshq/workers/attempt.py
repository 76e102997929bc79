"""One run, from the payload of its arguments to the payload of its result or failure."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from meshq.errors import EncodingError, UnknownTask
from meshq.protocol.codec import serializer
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload, payload_size
from meshq.protocol.serializer import Serializer
from meshq.tasks import Function
from meshq.workers.backlog import Row

if TYPE_CHECKING:
    import asyncio

# A failure travels as the failures module writes it, whatever the task's own serializer.
FAILURE_SERIALIZER = "msgpack"
# A chunk holds failures as bytes, which json has no form for; msgpack carries all that json does.
CHUNK_SERIALIZER = "msgpack"
OK, FAILURE = int(Status.OK), int(Status.FAILURE)
MAX_RESULT_BYTES = 4 * 2**30
"""As for every payload on the wire."""


class Attempts:
    """Carries runs out, each wholly: whatever a task raises is its failure, and the worker lives on."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def carry_out(self, function: Function | None, row: Row) -> tuple[int, str, Payload]:
        """Run a task; return the status, the serializer and the payload of what came of it."""
        name, encoding, payload = row[3], row[4], row[5]
        try:
            if function is None:
                raise UnknownTask(f"{name!r} is not offered by this worker; its module may have changed since")
            codec = serializer(encoding)
            args, kwargs = codec.loads_call(payload)
            options = row[6]
            if options is not None and options.get("chunk"):
                return OK, *self._carry_out_chunk(function, encoding, args)
            value = function.call(*args, **kwargs)
            if function.is_async:
                value = self._wait_for(value)
            return OK, encoding, _checked(codec.dumps(value, f"the result of {name}"), name)
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the task, not the worker
            return FAILURE, FAILURE_SERIALIZER, _describe(error, name)

    def _carry_out_chunk(self, function: Function, encoding: str, calls: tuple[Any, ...]) -> tuple[str, Payload]:
        """Make several calls; each has its own result or failure, ``[failed, value]``."""
        codec = serializer(encoding if encoding == "pickle" else CHUNK_SERIALIZER)
        items = [self._item(function, call) for call in calls]
        what = f"the results of {function.name}"
        try:
            return codec.name, _checked(codec.dumps(items, what), function.name)
        except EncodingError:
            checked = [item if item[0] else _encodable(codec, item[1], function.name) for item in items]
            return codec.name, _checked(codec.dumps(checked, what), function.name)

    def _item(self, function: Function, args: Sequence[Any]) -> list[Any]:
        try:
            value = function.call(*args)
            return [False, self._wait_for(value) if function.is_async else value]
        except BaseException as error:
            return [True, _describe(error, function.name)]

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._runner is None:
            import asyncio  # 45 ms, which workers without async tasks need not pay

            self._runner = asyncio.Runner()
        return self._runner.run(coroutine)

    def close(self) -> None:
        """End what async tasks have left behind."""
        if self._runner is not None:
            self._runner.close()


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
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        return dump_failure(error.with_traceback(trace))
    except Exception as fault:
        text = f"{name} raised {type(error).__name__}, which cannot be described: {type(fault).__name__}: {fault}"
        return dump_failure(RuntimeError(text))
