"""``mesh.control``: commands to all nodes, or to some, and their replies."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, overload

from meshq.control.checks import (
    MAX_IDS,
    check_flag,
    check_order,
    check_rate,
    check_seconds,
    check_signal,
    check_slots,
    check_task_name,
    task_ids,
)
from meshq.control.giving import Callback, ControlPort, Giving, Terms, check_terms
from meshq.control.purged import Purged, count_purged
from meshq.control.replies import Replies
from meshq.core.broadcast import NO_REPLY
from meshq.errors import ConfigError
from meshq.tasks import TaskFunction, function_name

if TYPE_CHECKING:
    from meshq.control.giving import Asked
    from meshq.control.inspecting import Inspect

TaskIds: TypeAlias = "str | bytes | uuid.UUID | Iterable[str | bytes | uuid.UUID]"
"""A task id, anything that ``uuid.UUID()`` parses, or several."""

PURGE_TIMEOUT_S = 4.0
"""Clients answer within some 0.4 s; nodes answer for the silent ones after 0.6 of the timeout: so late that even a
client that is slow has answered."""
THIS_CLIENT = "this client"


class Control:
    """Control commands to the nodes of a mesh.

    Each takes ``destination``, a list of NAME, HOST or NAME@HOST (None or empty: all nodes), ``pattern``, a glob
    on NAME@HOST, ``connection``, a ``Mesh`` to send through, ``timeout``, one total deadline in seconds (1.0),
    ``limit``, the number of replies that are enough, and ``callback``, called once for each reply on arrival.
    With ``reply`` a call returns ``Replies``, as soon as all nodes expected have answered; without it, which is
    the default, None, once the command is on its way.

    If ``callback`` raises, the other replies are still collected, and the error is raised at the end. Wrong
    arguments raise ``ConfigError`` (a ``ValueError``) before anything is sent.
    """

    def __init__(self, port: ControlPort) -> None:
        self._giving = Giving(port)

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        pattern: str | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callback | None = None,
    ) -> Replies | None:
        """Send a command with keyword ``arguments``, plain data, to the nodes.

        A command is one of meshq's own, or a function with ``@control_command`` that the nodes have loaded. A
        node that does not know it, or that finds its arguments wrong, replies ``{"error": text}``.
        """
        terms = check_terms(destination, pattern, connection, reply, timeout, limit, callback)
        giving = self._giving_for(terms)
        replies = giving.run([giving.command(command, arguments, terms)], terms)
        return replies if terms.reply else None

    # ------------------------------------------------------------------ who is there

    @overload
    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        *,
        pattern: str | None = None,
        limit: int | None = None,
        callback: Callback | None = None,
        connection: Any = None,
        reply: Literal[True] = True,
    ) -> Replies: ...
    @overload
    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        *,
        pattern: str | None = None,
        limit: int | None = None,
        callback: Callback | None = None,
        connection: Any = None,
        reply: bool,
    ) -> Replies | None: ...
    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        *,
        pattern: str | None = None,
        limit: int | None = None,
        callback: Callback | None = None,
        connection: Any = None,
        reply: bool = True,
    ) -> Replies | None:
        """Ask who is there: each node replies ``{"ok": "pong", …}``, with its slots and what it holds.

        It returns the replies unless told not to by ``reply=False``.
        """
        return self.broadcast("ping", None, destination, pattern, connection, reply, timeout, limit, callback)

    def inspect(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        *,
        pattern: str | None = None,
        limit: int | None = None,
        callback: Callback | None = None,
        connection: Any = None,
    ) -> Inspect:
        """Return what looks into the nodes: ``inspect().active()``, ``.stats()`` and others."""
        from meshq.control.inspecting import Inspect

        terms = check_terms(destination, pattern, connection, True, timeout, limit, callback)
        return Inspect(self._giving_for(terms), terms)

    # ------------------------------------------------------------------ tasks

    def revoke(
        self, task_id: TaskIds, terminate: bool = False, signal: str = "TERM", **asked: Unpack[Asked]
    ) -> Replies | None:
        """Withdraw tasks by id: no node starts them from its reply on.

        With ``terminate`` those that run are ended by ``signal``. Each node replies ``{"ok": {id: outcome}}``,
        an outcome being ``dropped``, ``running``, ``terminated``, ``finished`` or ``unknown, will be refused``.
        More than 5,000 ids make several commands, given at once. A node's replies to them are one in the list, and
        ``limit`` holds for each; a node that has answered only some says so under ``"error"``.
        """
        tasks, terms = task_ids(task_id), check_terms(**asked)
        options = {"terminate": check_flag(terminate), "signal": check_signal(signal)}
        giving = self._giving_for(terms)
        commands = [giving.command("revoke", {"tasks": some, **options}, terms) for some in _cut(tasks)]
        giving.port.revoke_owned(tasks)
        replies = giving.run(commands, terms)
        return replies if terms.reply else None

    def terminate(self, task_id: TaskIds, signal: str = "TERM", **asked: Unpack[Asked]) -> Replies | None:
        """Withdraw tasks by id, and end those that run by ``signal``: ``revoke(…, terminate=True)``."""
        return self.revoke(task_id, terminate=True, signal=signal, **asked)

    def purge(self, **asked: Unpack[Asked]) -> Purged:
        """Discard all tasks that wait, of all clients, and return how many they were, each counted once.

        Their futures settle as revoked; what runs goes on. It always waits for the replies, for 4 s unless
        ``timeout`` says otherwise. Nodes and clients that were silent are in ``.missing``.
        """
        asked.setdefault("timeout", PURGE_TIMEOUT_S)
        terms = check_terms(**asked)._replace(reply=True)
        giving = self._giving_for(terms)
        command = giving.command("purge", None, terms)
        end_at = time.monotonic() + terms.timeout
        counts: queue.SimpleQueue[int] = queue.SimpleQueue()

        def purge_own() -> None:
            giving.port.purge_owned(command.command, counts.put)

        # A purge of some nodes reaches our own tasks by those nodes, if they are connected to us.
        everywhere = not terms.destination and not terms.pattern
        replies = giving.run([command], terms, purge_own if everywhere else None)
        if not everywhere:
            return count_purged(replies, {})
        own = _get(counts, end_at)
        if own is None:
            replies.missing[THIS_CLIENT] = NO_REPLY
        return count_purged(replies, {} if own is None else {giving.port.client_id.hex(): own})

    discard_all = purge

    # ------------------------------------------------------------------ limits

    def rate_limit(
        self, task_name: str | Callable[..., Any], rate: float | str, **asked: Unpack[Asked]
    ) -> Replies | None:
        """Let each node start a function at most so often: N (a second), "N/s", "N/m" or "N/h"; 0 lifts the limit.

        It holds for each node by itself, acts at once on what waits there, and lasts until the node ends. What
        ``.options(rate_limit=…)`` says of one call goes before it.
        """
        check_rate(rate)
        return self.broadcast("rate_limit", {"task_name": _name_of(task_name), "rate": rate}, **asked)

    def time_limit(
        self,
        task_name: str | Callable[..., Any],
        soft: float | None = None,
        hard: float | None = None,
        **asked: Unpack[Asked],
    ) -> Replies | None:
        """Set both time limits of a function, in seconds; what is not given is lifted.

        After ``soft`` seconds ``SoftTimeLimitExceeded`` is raised in the task, after ``hard`` its worker is
        killed. It holds for all runs that have not started, at each node until that ends. What ``.options(…)``
        says of one call goes before it.
        """
        check_order(check_seconds(soft), check_seconds(hard))
        arguments = {"task_name": _name_of(task_name), "soft": soft, "hard": hard}
        return self.broadcast("time_limit", arguments, **asked)

    # ------------------------------------------------------------------ nodes

    def pool_resize(self, n: int, **asked: Unpack[Asked]) -> Replies | None:
        """Give each node ``n`` slots, 1 to 1024. New ones are there at once; surplus ones go after their run."""
        return self.broadcast("pool_resize", {"n": check_slots(n)}, **asked)

    def drain(self, **asked: Unpack[Asked]) -> Replies | None:
        """Have nodes finish what runs, hand back what waits, take nothing new; they stay until ``shutdown``."""
        return self.broadcast("drain", None, **asked)

    def shutdown(self, **asked: Unpack[Asked]) -> Replies | None:
        """Drain nodes, and end them. They reply before that."""
        return self.broadcast("shutdown", None, **asked)

    def _giving_for(self, terms: Terms) -> Giving:
        if terms.connection is None:
            return self._giving
        control = getattr(terms.connection, "control", None)
        if not isinstance(control, Control):
            raise ConfigError(f"connection must be a Mesh to send through, or None (got {terms.connection!r})")
        return control._giving


def _name_of(task: str | Callable[..., Any]) -> str:
    """Return the name by which nodes know a function; the function itself may be given."""
    if isinstance(task, TaskFunction):
        return task.name
    return function_name(task) if callable(task) else check_task_name(task)


def _cut(tasks: list[bytes]) -> list[list[bytes]]:
    """Return the ids as one command takes them; none at all make one empty command."""
    starts = range(0, max(1, len(tasks)), MAX_IDS)
    return [tasks[start : start + MAX_IDS] for start in starts]


def _get(counts: queue.SimpleQueue[int], end_at: float) -> int | None:
    try:
        return counts.get(timeout=max(0.0, end_at - time.monotonic()))
    except queue.Empty:
        return None
