"""What futures and results ask of their mesh, without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from meshq.client.engine import Engine
from meshq.client.future import Future
from meshq.core.hints import follow_all
from meshq.core.owned import Ending, Outcome
from meshq.errors import MeshClosed, MeshqError
from meshq.ids import new_task_id
from meshq.protocol.messages import Hello
from meshq.transport.context import make_context
from meshq.transport.loop import Loop

DONE = Outcome(Ending.DONE, "msgpack", b"\x2a")
"""The outcome of a task that has returned 42."""


class Handler:
    """A mesh that does nothing, and remembers what it was asked."""

    turns_here = False
    forked = False

    def __init__(self) -> None:
        self.revoked: list[bytes] = []
        self.withdrawn: list[bytes] = []

    def withdraw(self, task_id: bytes, timeout: float) -> bool:
        return False

    def withdraw_soon(self, futures: list[Any]) -> None:
        self.withdrawn += [future.id for future in futures if not future.done()]

    def revoke_tasks(self, task_ids: list[bytes], *, terminate: bool, signal: str) -> Any:
        self.revoked += task_ids
        return [terminate, signal]

    def in_loop(self) -> bool:
        return self.turns_here

    def turn_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        if self.turns_here:
            raise MeshqError("in a callback")
        if self.forked:
            raise MeshClosed("forked")


def make_future(handler: Handler) -> Future[int]:
    """Return the future of a msgpack task."""
    return Future(handler, new_task_id(), "f", "msgpack")


@contextmanager
def unturned_engine(on_settled: Callable[[Any], None] = lambda _: None) -> Iterator[Engine]:
    """Make an engine that knows no node, and that nobody turns."""
    listener: Any = SimpleNamespace(on_nodes_changed=lambda: None, on_settled=on_settled)
    loop, context = Loop(), make_context()
    hello = Hello(b"c" * 16, b"s" * 16, "m", "work", "client", 1, 1)
    made = Engine(loop, context, None, hello, listener, 30.0, follow_all)
    yield made
    made.close()
    loop.close()
    context.term()
