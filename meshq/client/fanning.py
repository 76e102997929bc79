"""``dmap``: one task for each list of arguments, and one future for all of them.

The client fans out and gathers; no task waits in a slot for the others, so that one slot is enough.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar, cast

from meshq.client.future import FINISHED, Future, TaskHandler
from meshq.core.owned import TaskState
from meshq.errors import ConfigError
from meshq.ids import new_task_id

T = TypeVar("T")
_SHOWN = 80
"""How much of a wrong argument an error shows."""
_OWN_STATES = frozenset({TaskState.REVOKED, TaskState.EXPIRED, TaskState.LOST})


def check_calls(args: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Return the arguments of each call. Raises ``ConfigError``, which names the one that is no list or tuple."""
    if not isinstance(args, Iterable):
        raise ConfigError(f"dmap: args must be a list of lists of arguments, as [[2, 2], [4, 4]] (got {args!r})")
    calls = list(args)
    for index, call in enumerate(calls):
        if not isinstance(call, list | tuple):
            shown = repr(call)[:_SHOWN]
            raise ConfigError(f"dmap: args[{index}] must be a list or tuple of arguments (got {shown})")
    return [tuple(call) for call in calls]


class FanHandler(TaskHandler, Protocol):
    """What a fan asks of its mesh."""

    def withdraw_soon(self, futures: list[Any]) -> None: ...


class Fan(Future[list[T]]):
    """The future of all calls of a ``dmap``: their values in order, or the first failure that is known.

    It has an id of its own, which no node knows. Whatever ends it has its unfinished members withdrawn.
    """

    def __init__(self, members: list[Future[T]], handler: FanHandler) -> None:
        super().__init__(handler, new_task_id(), "dmap")
        self._withdraw: Callable[[list[Any]], None] = handler.withdraw_soon
        self._members = members
        self._left = len(members)
        self._over = False
        self._counting = threading.Lock()

    def watch(self) -> None:
        """Follow the members, from now on."""
        if not self._members:
            self._end(None, TaskState.DONE)
        for member in self._members:
            member.add_done_callback(cast("Callable[[Any], None]", self._on_member))

    def result(self, timeout: float | None = None) -> list[T]:
        """Return the list of values, or raise the first failure; ``TimeoutError`` after ``timeout`` seconds."""
        super().result(timeout)
        return [member.result() for member in self._members]

    def cancel(self) -> bool:
        """Return False: calls of a ``dmap`` are revoked, not cancelled."""
        return False

    def revoke(self, *, terminate: bool = False, signal: str = "TERM") -> Any:
        """Revoke all calls that are unfinished; returns the nodes' replies."""
        ids = [member.id for member in self._members if not member.done()]
        return self._handler.revoke_tasks(ids, terminate=terminate, signal=signal)

    def time_out(self) -> None:
        """End it, as its time is over."""
        unfinished = sum(not member.done() for member in self._members)
        self.give_up(TimeoutError(f"dmap: the timeout is over, and {unfinished} of the calls are unfinished"))

    def give_up(self, error: BaseException) -> None:
        """End it with an error, unless it has ended."""
        if self._begin_end():
            self._end(error, TaskState.FAILURE)

    def _on_member(self, member: Future[T]) -> None:
        error = _error_of(member)
        with self._counting:
            self._left -= 1
        if error is not None:
            if self._begin_end():
                self._end(error, member.state if member.state in _OWN_STATES else TaskState.FAILURE)
        elif not self._left and self._begin_end():
            self._end(None, TaskState.DONE)

    def _begin_end(self) -> bool:
        """Return whether it is the caller who ends it."""
        with self._counting:
            first, self._over = not self._over, True
        return first

    def _end(self, error: BaseException | None, state: TaskState) -> None:
        self.state = state
        if error is None:
            self._finish(FINISHED, "add_result")
        else:
            self._withdraw(self._members)
            self.settle_failed(error)


def _error_of(member: Future[Any]) -> BaseException | None:
    """Return why a member that has ended has no value."""
    try:
        return member.exception()
    except BaseException as error:  # it was cancelled
        return error
