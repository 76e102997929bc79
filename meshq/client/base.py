"""What a mesh is apart from what programs ask of it: the nodes it sees, its futures' ends, and how it is left."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from meshq.client.books import Books
from meshq.client.future import Future
from meshq.client.nodes import NodeInfo, describe, explain_absence, explain_unknown
from meshq.client.runtime import Runtime
from meshq.client.sources import Sources
from meshq.client.withdrawals import Withdrawals
from meshq.config import Settings
from meshq.core.membership import Absent, Problem
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.errors import MeshClosed, MeshqError, NoNodes
from meshq.ids import format_id

if TYPE_CHECKING:
    from meshq.client.attaching import Attaching
    from meshq.client.controlling import MeshControl
    from meshq.control.control import Control

T = TypeVar("T")

DETACHED_TIMEOUT_S = 10.0
"""How long an ending script waits for its detached tasks to be accepted."""
GOODBYE_TIMEOUT_S = 0.5
"""How long closing waits for the nodes' word that they have let go."""


class BaseMesh:
    """A mesh as this program takes part in it. Safe to use from several threads."""

    def __init__(self, settings: Settings, role: str) -> None:
        self._settings = settings
        self._books = Books()
        self._sources = Sources()
        self._changed = threading.Condition()
        self._has_waiters = False
        """Whether anybody may wait for it: each result is a change, and mostly nobody does."""
        self._closing = threading.RLock()
        self._goodbyes = 0
        self._purges: dict[bytes, Callable[[int], None]] = {}
        self._control: Control | None = None
        self._control_port: MeshControl | None = None
        self._attaching: Attaching | None = None
        self._attach_lock = threading.Lock()
        self._runtime = Runtime(settings, self, role)
        self._withdrawals = Withdrawals(self._runtime.engine.withdraw, self._runtime.loop.post)
        atexit.register(self._at_exit)

    @property
    def name(self) -> str:
        """The mesh's name."""
        return self._settings.mesh

    @property
    def control(self) -> Control:
        """Control commands to the nodes: ``ping``, ``revoke``, ``broadcast``, ``inspect``…"""
        if self._control is None:
            from meshq.control.control import Control

            self._control = Control(self.control_port)
        return self._control

    @property
    def control_port(self) -> MeshControl:
        """The side of the mesh that gives commands. ``control`` is for programs."""
        if self._control_port is None:
            from meshq.client.controlling import MeshControl

            self._control_port = MeshControl(self._runtime, self.purge_owned)
        return self._control_port

    # ------------------------------------------------------------------ nodes

    def nodes(self) -> list[NodeInfo]:
        """Return the nodes that are seen now."""
        return [describe(view) for view in self._runtime.ask(self._runtime.engine.nodes)]

    def wait_for_nodes(self, count: int = 1, timeout: float | None = 10.0) -> list[NodeInfo]:
        """Wait until at least ``count`` nodes are seen, and return them; ``NoNodes`` after ``timeout`` seconds."""
        self._refuse_in_loop("wait_for_nodes")
        enough = self._wait(lambda: len(self.nodes()) >= count, timeout)
        nodes = self.nodes()
        if not enough:
            raise NoNodes(f"{len(nodes)} of {count} nodes were found in {timeout} s: {self.explain_absence()}")
        return nodes

    def explain_absence(self) -> str:
        """Say why no node is seen, as far as that is known."""
        unsafe = self._look(self._runtime.unsafe.copy)
        return explain_absence(self.name, self.problems(), unsafe)

    def problems(self) -> list[Problem]:
        """Return why each candidate that was found does not count as a node."""
        return self._look(self._runtime.engine.problems)

    def absent(self) -> list[Absent]:
        """Return the nodes that should be there, since they were announced or named, and do not answer."""
        return self._runtime.ask(self._runtime.engine.absent)

    def has_nodes(self) -> bool:
        """Whether any node is seen."""
        return bool(self._look(self._runtime.engine.nodes))

    def is_complete(self) -> bool:
        """Whether all nodes are seen that were announced, or are known to those that are seen."""
        return self._runtime.ask(self._runtime.is_complete)

    def _look(self, at: Callable[[], T]) -> T:
        """Return what the loop's thread sees; that thread itself may look until its last turn."""
        return at() if self._runtime.in_loop() else self._runtime.ask(at)

    def _wait(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Wait for a condition that may change when nodes or tasks do."""
        end_at = None if timeout is None else time.monotonic() + timeout
        while not holds():
            left = None if end_at is None else end_at - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait_for_change(0.05 if left is None else min(left, 0.05))
        return True

    def _wait_for_change(self, seconds: float) -> None:
        """Wait for the next change, and not for long: it may have come before the wait began."""
        with self._changed:
            self._has_waiters = True
            self._changed.wait(seconds)

    # ------------------------------------------------------------------ what futures and results ask

    def _open_attaching(self) -> Attaching:
        """Return what follows the tasks of other processes; made when it is first needed."""
        with self._attach_lock:
            if self._attaching is None:
                from meshq.client.attaching import Attaching

                ask, runtime = self.control_port.ask_nodes, self._runtime
                timeout = self._settings.no_nodes_timeout
                self._attaching = Attaching(self, ask, runtime.loop, runtime.parts, timeout)
            return self._attaching

    def withdraw(self, task_id: bytes, timeout: float) -> bool:
        """Withdraw a task unless it runs; return whether it was. For futures."""
        self._runtime.check_usable()
        return self._withdrawals.ask(task_id, timeout, self._runtime.in_loop())

    def withdraw_soon(self, futures: list[Any]) -> None:
        """Withdraw tasks that nobody waits for any more, without waiting for an answer."""
        if futures and self._runtime.is_usable:
            ids = [future.id for future in futures if isinstance(future, Future) and not future.done()]
            self._runtime.loop.post(self._runtime.engine.withdraw, ids)

    def revoke_tasks(self, task_ids: list[bytes], *, terminate: bool, signal: str) -> Any:
        """Revoke tasks; for futures and results."""
        return self.control.revoke(map(format_id, task_ids), terminate=terminate, signal=signal, reply=True)

    def in_loop(self) -> bool:
        """Whether the caller is the mesh's own thread."""
        return self._runtime.in_loop()

    def turn_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Turn the mesh's loop in the caller's thread until ``done()``; for futures. It may return early.

        Raises ``MeshqError`` in a callback, and ``MeshClosed`` in a process forked from the mesh's own.
        """
        self._runtime.wait(done, timeout)

    def future_of(self, task_id: bytes) -> Future[Any] | None:
        """Return the future of a task of this process: of any that is unfinished, or a detached one."""
        return self._books.find(task_id)

    def forget_task(self, task_id: bytes) -> None:
        """Let go of a detached task's result here."""
        self._books.forget(task_id)

    def purge_owned(self, command: bytes, callback: Callable[[int], None]) -> None:
        """Discard the tasks of this mesh that have not started, once for each command id.

        ``callback`` is told how many they were, in the loop's thread, within half a second or so.
        """
        self._runtime.ask(self._begin_purge, command, callback)

    def _begin_purge(self, command: bytes, callback: Callable[[int], None]) -> None:
        self._purges[command] = callback
        self._runtime.engine.purge(command)

    # ------------------------------------------------------------------ what the engine tells (loop's thread)

    def on_settled(self, ended: list[tuple[OwnedTask, Outcome]]) -> None:
        """Settle the futures of tasks that have ended."""
        self._books.settle(ended, self._explain)
        if self._has_waiters:
            self._notify()

    def on_stopped(self) -> None:
        """Settle what nobody will hear of any more."""
        closed = MeshClosed("the mesh was closed before the end of this task was known")
        self._books.abandon(closed)
        if self._attaching is not None:
            self._attaching.abandon(closed)
        self._withdrawals.end()
        self._notify()

    def on_attached_settled(self) -> None:
        """Wake whoever waits for the end of attached tasks; from any thread."""
        self._notify()

    def _notify(self) -> None:
        if self._has_waiters:
            with self._changed:
                self._has_waiters = False
                self._changed.notify_all()

    def _explain(self, task: OwnedTask, outcome: Outcome) -> str:
        engine = self._runtime.engine
        if outcome.ending is Ending.UNKNOWN_TASK:
            views = engine.nodes()
            names = (view.ack.aliases.get(task.function) for view in views)
            function = next(filter(None, names), task.function)
            return explain_unknown(function, task.tags, task.serializer, [describe(view) for view in views])
        if outcome.ending is Ending.NO_NODES:
            draining = [describe(view).full_name for view in engine.nodes() if view.ack.draining]
            return explain_absence(self.name, engine.problems(), self._runtime.unsafe, draining)
        return ""

    def on_withdraw_answered(self, task_id: bytes, withdrawn: bool) -> None:
        """Tell whoever waits for the withdrawal of a task."""
        self._withdrawals.answered(task_id, withdrawn)

    def on_purge_answered(self, command: bytes, discarded: int) -> None:
        """Tell whoever has purged this mesh's own tasks; a purge that a node has relayed is nobody's here."""
        callback = self._purges.pop(command, None)
        if callback is not None:
            callback(discarded)

    def on_nodes_changed(self) -> None:
        """Wake whoever waits for nodes, and look at what the nodes have."""
        self._compare_sources()
        if self._control_port is not None:
            self._control_port.refresh()
        if self._attaching is not None:
            self._attaching.nodes_changed()
        self._notify()

    def _compare_sources(self) -> None:
        self._sources.compare(self._runtime.engine.nodes())

    def on_goodbye(self, node: bytes) -> None:
        """Count a node that has let go of this client."""
        self._goodbyes += 1
        self.on_nodes_changed()

    # ------------------------------------------------------------------ closing

    def close(self, cancel: bool = False) -> None:
        """Wait for the tasks of this mesh, then leave it; with ``cancel`` withdraw what has not started.

        Tasks that it has attached to are waited for as well; with ``cancel`` they are left to themselves.
        Detached tasks are waited for only until a node has accepted them, for at most 10 s; how many were not is
        said on stderr. Idempotent. A callback of a future can only close with ``cancel``.
        """
        if self.closed:
            return
        if not cancel:
            self._refuse_in_loop("close")
        with self._closing:
            if self.closed:
                return
            try:
                if not cancel:
                    self._wait(lambda: not self._unfinished(), None)
                    self._see_accepted()
            finally:
                self._leave()

    def _unfinished(self) -> int:
        """Return how many tasks closing waits for: those of this process, and those that it has attached to."""
        return self._books.attached() + (self._attaching.unfinished() if self._attaching is not None else 0)

    @property
    def closed(self) -> bool:
        """Whether the mesh can no longer be used from here."""
        return not self._runtime.is_usable

    def wait_accepted(self, timeout: float) -> int:
        """Wait until nodes have accepted the detached tasks; return how many they have not."""
        self._wait(lambda: not self._books.unaccepted(), timeout)
        return self._books.unaccepted()

    def _see_accepted(self) -> None:
        """Wait until nodes have accepted the detached tasks, and say how many they have not."""
        lost = self.wait_accepted(DETACHED_TIMEOUT_S)
        if not lost:
            return
        why = "the nodes did not answer in time" if self.nodes() else self.explain_absence()
        print(f"meshq: {lost} detached tasks were accepted by no node, and are lost: {why}", file=sys.stderr)

    def _leave(self) -> None:
        self._runtime.refuse()
        atexit.unregister(self._at_exit)
        try:
            if self._runtime.in_loop():
                self._runtime.engine.leave()
            else:
                nodes = [node for node in self.nodes() if node.state != "suspect"]
                self._runtime.ask(self._runtime.engine.leave)
                self._wait(lambda: self._goodbyes >= len(nodes), GOODBYE_TIMEOUT_S)
        finally:
            self._runtime.stop()

    def _at_exit(self) -> None:
        """At the end of the program: see that detached tasks are accepted, and leave the nodes."""
        if not self.closed:
            self._see_accepted()
            self.close(cancel=True)

    def _refuse_in_loop(self, what: str) -> None:
        if self._runtime.in_loop():
            raise MeshqError(f"a callback of a future must not call {what}, as it runs in the mesh's own thread")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(cancel=kind is not None)

    def __repr__(self) -> str:
        return f"<Mesh {self.name!r}>"
