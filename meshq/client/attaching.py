"""Futures of tasks that other processes have submitted: one asker for all of them, on the mesh's own loop.

Whatever is due is asked for together, ``MAX_ASKED_IDS`` in one command to all nodes: the first time at once, then
ever more seldom. Nodes keep what is asked for, though its owner may be gone; see ``core.asked``.
"""

from __future__ import annotations

import threading
import time
from itertools import islice
from typing import Any, NamedTuple

from meshq.client.asking import Report, read_row, rows_of
from meshq.client.attached import Attached, AttachingMesh
from meshq.client.following import LONGEST_PAUSE_S, Followed, error_of_try
from meshq.client.pieces import AskNodes, Pieces
from meshq.client.runtime import LoopPart
from meshq.control.checks import MAX_ASKED_IDS
from meshq.core.owned import Ending, Outcome, TaskState
from meshq.errors import MeshqError, NoNodes, RemoteProtocolError, TaskLost, WorkerLost
from meshq.protocol.messages import Status
from meshq.transport.loop import Loop

TASKS_PER_S = 10_000
"""How many nodes are asked for at most: that takes up a tenth of a node's loop."""
MAX_FETCHED = 8
"""How many large results are fetched at a time."""


class Row(NamedTuple):
    """One attached task."""

    future: Attached
    followed: Followed


class Attaching:
    """The attached tasks of one mesh; a part of its loop. ``no_nodes_timeout`` is in seconds."""

    def __init__(
        self, mesh: AttachingMesh, ask: AskNodes, loop: Loop, parts: list[LoopPart], no_nodes_timeout: float
    ) -> None:
        self.ask = ask
        self._mesh = mesh
        self._loop = loop
        self._parts = parts
        self._no_nodes_timeout = no_nodes_timeout
        self._lock = threading.Lock()
        self._rows: dict[bytes, Row] = {}
        self._posted = False
        self._ask_at: float | None = None
        self._fetched = 0

    # ------------------------------------------------------------------ from any thread

    def attach(self, task_id: bytes, serializer: str) -> Attached:
        """Return the future of a task: there is one for each that is unfinished."""
        with self._lock:
            row = self._rows.get(task_id)
            if row is None:
                future = Attached(self._mesh, task_id, serializer, self.cancel)
                row = self._rows[task_id] = Row(future, Followed(task_id, time.monotonic()))
                if not self._posted:
                    self._posted = True
                    self._loop.post(self._begin)
        return row.future

    def unfinished(self) -> int:
        """Return how many are unfinished."""
        return len(self._rows)

    def cancel(self, future: Attached) -> bool:
        """Settle a future as cancelled; return whether it is."""
        if self._take_out(future, TaskState.REVOKED):
            future.settle_cancelled()
            self._mesh.on_attached_settled()
        return future.cancelled()

    def abandon(self, error: BaseException) -> None:
        """Settle all that is left with an error, as nobody will hear of its end."""
        with self._lock:
            left, self._rows = self._rows, {}
        for row in left.values():
            row.future.settle_failed(error)

    def _take_out(self, future: Attached, state: TaskState) -> bool:
        """Return whether it is the caller who settles this future."""
        with self._lock:
            is_left = self._rows.pop(future.id, None) is not None
        if is_left:
            future.state = state
        return is_left

    def _all(self) -> list[Row]:
        with self._lock:
            return list(self._rows.values())

    # ------------------------------------------------------------------ when to ask (loop's thread)

    def nodes_changed(self) -> None:
        """Ask at once for what no node was there to be asked for."""
        if self._rows:
            self._ask_at = time.monotonic()

    def step(self) -> None:
        """Ask for what is due."""
        now = time.monotonic()
        if self._ask_at is None or now < self._ask_at:
            return
        due = iter([row for row in self._all() if row.followed.is_due(now)])
        has_nodes = self._mesh.has_nodes()
        while rows := list(islice(due, MAX_ASKED_IDS)):
            if has_nodes:
                _Asking(self, rows).begin()
            else:
                for row in rows:
                    row.followed.forget()
                    self.ask_again(row, now)
        self.schedule()

    def timeout(self) -> float | None:
        """Return how long the next turn of the loop may last, in seconds."""
        return None if self._ask_at is None else max(0.0, self._ask_at - time.monotonic())

    def close(self) -> None:
        """Do nothing more: what is left was abandoned."""

    def schedule(self) -> None:
        """See when to ask next."""
        waiting = (row.followed.ask_at for row in self._all() if not row.followed.asked)
        self._ask_at = min(waiting, default=None)

    def _begin(self) -> None:
        self._posted = False
        if self not in self._parts:
            self._parts.append(self)
        self._ask_at = time.monotonic()

    # ------------------------------------------------------------------ what comes of it (loop's thread)

    def ask_again(self, row: Row, now: float) -> None:
        """Have a task that has not ended asked for again, unless no node has answered for too long."""
        future, followed = row
        if now >= followed.heard_at + self._no_nodes_timeout:
            text = f"no node answered that could know task {future.task_id}: {self._mesh.explain_absence()}"
            self._fail(future, NoNodes(text), TaskState.FAILURE)
            return
        future.state = followed.state
        followed.wait(now, max(LONGEST_PAUSE_S, len(self._rows) / TASKS_PER_S))

    def end(self, row: Row, end: Report | BaseException) -> None:
        """Settle a future with the end of its task."""
        future = row.future
        if isinstance(end, BaseException):
            is_lost = isinstance(end, TaskLost | WorkerLost)
            self._fail(future, end, TaskState.LOST if is_lost else TaskState.FAILURE)
        elif end.status == Status.RETRY:
            self._fail(future, error_of_try(end, future.id), TaskState.FAILURE)
        elif end.ending is not Ending.DONE or end.gone or end.serializer == "pickle" != future.serializer:
            self._fail(future, _error_of(end, future), TaskState(end.state))
        elif self._take_out(future, TaskState.DONE):
            future.serializer = end.serializer  # it is decoded by whoever asks for it first
            future.settle(Outcome(Ending.DONE, end.serializer, end.payload))
            self._mesh.on_attached_settled()

    def fetch(self, row: Row) -> None:
        """Have a large result brought in pieces, and settle the future; where that fails, ask again."""
        if self._fetched >= MAX_FETCHED:
            self.ask_again(row, time.monotonic())
            return
        self._fetched += 1
        row.followed.asked = True

        def finish(report: Report | None) -> None:
            self._fetched -= 1
            row.followed.asked = False
            if report is not None:
                self.end(row, report)
            elif not row.future.done():
                self.ask_again(row, time.monotonic())
            self.schedule()

        Pieces(self.ask, row.followed.id, row.followed.holder, row.followed.found, finish).begin()

    def _fail(self, future: Attached, error: BaseException, state: TaskState) -> None:
        if self._take_out(future, state):
            future.settle_failed(error)
            self._mesh.on_attached_settled()


class _Asking:
    """One command to all nodes, and what they say to it."""

    def __init__(self, attaching: Attaching, rows: list[Row]) -> None:
        self._attaching = attaching
        self._rows = rows
        self._present: set[bytes] = set()
        self._unread: dict[str, str] = {}
        """Nodes whose answers are of no use, and why."""

    def begin(self) -> None:
        """Give the command."""
        owners = {row.followed.owner for row in self._rows} - {b""}
        for row in self._rows:
            row.followed.begin()
        arguments = {"tasks": [row.followed.id for row in self._rows], "owners": list(owners)}
        self._attaching.ask("result", arguments, [], self._on_reply, self._on_finish)

    def _on_reply(self, name: str, reply: Any) -> None:
        try:
            said = rows_of(reply)
            reports = [read_row(said, row.followed.id, True) for row in self._rows]
            present = reply.get("present", ())
            self._present.update(each for each in present if isinstance(each, bytes))
        except (RemoteProtocolError, TypeError) as error:
            self._unread[name] = str(error)
            return
        for row, report in zip(self._rows, reports, strict=True):
            if row.followed.take(name, report):
                self._attaching.end(row, report)

    def _on_finish(self, missing: dict[str, str]) -> None:
        now = time.monotonic()
        for row in self._rows:
            end = row.followed.conclude(missing | self._unread, self._present, now)
            if row.future.done():
                continue
            if end is None:
                self._attaching.ask_again(row, now)
            elif isinstance(end, Report) and end.size:
                self._attaching.fetch(row)
            else:
                self._attaching.end(row, end)
        self._attaching.schedule()


def _error_of(report: Report, future: Attached) -> BaseException:
    """Return why a task that has ended has no value here."""
    try:
        error = report.settle(future.id, future.serializer)[1]
    except MeshqError as why:
        return why
    assert error is not None
    return error
