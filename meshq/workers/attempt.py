"""One run, from the payload of its arguments to the payload of its result or failure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from meshq.errors import UnknownTask
from meshq.protocol.codec import loads_call, serializer
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload
from meshq.workers.backlog import Row

if TYPE_CHECKING:
    import asyncio

# A failure travels as the failures module writes it, whatever the task's own serializer.
FAILURE_SERIALIZER = "msgpack"


class Callee(Protocol):
    """What this module needs of a function."""

    @property
    def name(self) -> str: ...
    @property
    def call(self) -> Callable[..., Any]: ...
    @property
    def is_async(self) -> bool: ...


class Attempts:
    """Carries runs out, each wholly: whatever a task raises is its failure, and the worker lives on."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def carry_out(self, function: Callee | None, row: Row) -> tuple[int, str, Payload]:
        """Run a task; return the status, the serializer and the payload of what came of it."""
        name, encoding, payload = row[3], row[4], row[5]
        try:
            if function is None:
                raise UnknownTask(f"{name!r} is not offered by this worker; its module may have changed since")
            args, kwargs = loads_call(encoding, payload)
            value = function.call(*args, **kwargs)
            if function.is_async:
                value = self._wait_for(value)
            return Status.OK, encoding, serializer(encoding).dumps(value, f"the result of {name}")
        except BaseException as error:  # SystemExit and KeyboardInterrupt end the task, not the worker
            return Status.FAILURE, FAILURE_SERIALIZER, _describe(error, name)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._runner is None:
            import asyncio  # 45 ms, which workers without async tasks need not pay

            self._runner = asyncio.Runner()
        return self._runner.run(coroutine)

    def close(self) -> None:
        """End what async tasks have left behind."""
        if self._runner is not None:
            self._runner.close()


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
