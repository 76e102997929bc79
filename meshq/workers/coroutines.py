"""The coroutines of async tasks: run one at a time, and interrupted where they wait."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from meshq.workers.soft_limit import SoftLimit, exceeded

if TYPE_CHECKING:
    import asyncio


class Coroutines:
    """Runs coroutines on one event loop, which is kept from task to task."""

    def __init__(self, soft: SoftLimit) -> None:
        self._soft = soft
        soft.step = Coroutines._drive.__code__
        self._runner: asyncio.Runner | None = None
        self._was_interrupted = False
        self._interruption: BaseException | None = None
        """What the next cancellation stands for."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what the coroutine returns, or raise what it raises."""
        if self._runner is None:
            import asyncio  # 45 ms, which workers without async tasks need not pay

            self._runner = asyncio.Runner()
        self._was_interrupted, self._interruption = False, None
        try:
            return self._runner.run(self._guard(coroutine))
        finally:
            if self._was_interrupted:
                self.close()  # what it had waited for may still run

    def close(self) -> None:
        """End what the coroutines have left behind."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    async def _guard(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._soft.interrupt = partial(task.get_loop().call_soon_threadsafe, self._cancel, task)
        try:
            return await self._drive(coroutine, task)
        finally:
            self._soft.interrupt = None

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel the task, so that it wakes: only a cancellation gets to where a coroutine waits."""
        if not task.done():
            self._was_interrupted, self._interruption = True, exceeded()
            task.cancel()

    @types.coroutine
    def _drive(self, coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[Any]) -> Generator[Any, Any, Any]:
        """Do what ``await`` does, but tell the coroutine what a cancellation of ours stands for."""
        step: Any = coroutine.send
        value: Any = None
        while True:
            self._soft.inside = True
            try:
                awaited = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self._soft.inside = False
            try:
                step, value = coroutine.send, (yield awaited)
            except BaseException as error:
                step, value = coroutine.throw, self._meaning(error, task)

    def _meaning(self, error: BaseException, task: asyncio.Task[Any]) -> BaseException:
        import asyncio

        meaning, self._interruption = self._interruption, None
        if meaning is None or not isinstance(error, asyncio.CancelledError):
            return error
        task.uncancel()
        return meaning
