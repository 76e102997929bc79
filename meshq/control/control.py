"""``mesh.control``: commands to all nodes, or to some, and their replies."""

from __future__ import annotations

import queue
import signal as signals
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgpack

from meshq.control.commands import MAX_REVOKED_AT_ONCE
from meshq.control.matching import check_destination
from meshq.control.replies import Replies, merge, name_unfound
from meshq.errors import ConfigError, EncodingError, MeshqError
from meshq.ids import new_id, parse_task_id
from meshq.protocol.messages import Command

MAX_SECONDS = 86_400.0
# How much longer than its timeout a command may take before something is plainly wrong.
_GRACE_S = 5.0

_News: TypeAlias = "queue.SimpleQueue[tuple[str, Any] | dict[str, str]]"
"""What comes of one command: name and value of each reply, and at last the missing."""


class ControlPort(Protocol):
    """What ``Control`` asks of the mesh that it belongs to."""

    def begin_command(
        self,
        command: Command,
        timeout: float,
        limit: int | None,
        on_reply: Callable[[str, Any], None],
        on_finish: Callable[[dict[str, str]], None],
    ) -> None: ...
    def revoke_owned(self, tasks: list[bytes]) -> None: ...
    @property
    def client_id(self) -> bytes: ...


class Control:
    """Control commands to the nodes of a mesh.

    Each takes ``destination``, a list of NAME, HOST or NAME@HOST (None or empty: all nodes), ``pattern``, a glob
    on NAME@HOST, ``timeout``, one total deadline in seconds, ``limit``, the number of replies that are enough,
    and ``callback``, called once for each reply on arrival. With ``reply`` a call returns ``Replies``, as soon
    as all nodes expected have answered; without it None, once the command is on its way.
    """

    def __init__(self, port: ControlPort) -> None:
        self._port = port

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
        callback: Callable[[dict[str, Any]], object] | None = None,
    ) -> Replies | None:
        """Send a command with keyword ``arguments`` to the nodes; ``connection`` is a ``Mesh`` to send through.

        If ``callback`` raises, the other replies are still collected, and the error is raised at the end.
        Raises ``ConfigError`` for wrong arguments.
        """
        if connection is not None:
            control: Control = connection.control
            return control.broadcast(
                command, arguments, destination, pattern, None, reply, timeout, limit, callback
            )
        message = self._command(command, arguments, destination, pattern, reply, timeout)
        _check_limit(limit)
        return self._run([message], timeout, limit, callback)

    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        *,
        pattern: str | None = None,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
        connection: Any = None,
    ) -> Replies:
        """Ask who is there: each node replies ``{"ok": "pong", …}``."""
        replies = self.broadcast("ping", None, destination, pattern, connection, True, timeout, limit, callback)
        assert replies is not None
        return replies

    def revoke(
        self,
        task_id: str | bytes | uuid.UUID | Iterable[str | bytes | uuid.UUID],
        terminate: bool = False,
        signal: str = "TERM",
        *,
        destination: Sequence[str] | None = None,
        pattern: str | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], object] | None = None,
    ) -> Replies | None:
        """Withdraw tasks by id: no node starts them from its reply on.

        With ``terminate`` those that run are ended by ``signal``. Each node replies ``{"ok": {id: outcome}}``,
        an outcome being ``dropped``, ``running``, ``terminated``, ``finished`` or ``unknown, will be refused``.
        More than 5,000 ids make several commands, given at once. A node's replies to them are one in the list, and
        ``limit`` holds for each; a node that has answered only some says so under ``"error"``.
        """
        control: Control = self if connection is None else connection.control
        tasks = _task_ids(task_id)
        options = {"terminate": bool(terminate), "signal": check_signal(signal)}
        _check_limit(limit)
        commands = [
            control._command("revoke", {"tasks": some, **options}, destination, pattern, reply, timeout)
            for some in _cut(tasks)
        ]
        if connection is None:
            self._port.revoke_owned(tasks)
        return control._run(commands, timeout, limit, callback)

    # ------------------------------------------------------------------ under the surface

    def _command(
        self,
        name: str,
        arguments: Mapping[str, Any] | None,
        destination: Sequence[str] | None,
        pattern: str | None,
        reply: bool,
        timeout: float,
    ) -> Command:
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(f"a control command is a name, such as 'ping' (got {name!r})")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= MAX_SECONDS:
            raise ConfigError(f"timeout must be a number of seconds above 0, at most a day (got {timeout!r})")
        return Command(
            new_id(),
            self._port.client_id,
            name,
            _pack(arguments),
            check_destination(destination),
            pattern or "",
            reply,
            float(timeout),
        )

    def _run(
        self,
        commands: list[Command],
        timeout: float,
        limit: int | None,
        callback: Callable[[dict[str, Any]], object] | None,
    ) -> Replies | None:
        """Give the commands at once, and return the replies to all; those of several are merged by node."""
        reporter = _Reporter(callback)
        end_at = time.monotonic() + timeout + _GRACE_S
        under_way = [self._begin(command, timeout, limit) for command in commands]
        if len(commands) == 1:
            replies = _collect(under_way[0], end_at, reporter)
        else:
            replies = merge([_collect(news, end_at, _Reporter(None)) for news in under_way])
            for reply in replies:
                reporter.report(reply)
        name_unfound(replies, commands[0].destination)
        if reporter.failure is not None:
            raise reporter.failure
        return replies if commands[0].reply else None

    def _begin(self, command: Command, timeout: float, limit: int | None) -> _News:
        news: _News = queue.SimpleQueue()
        self._port.begin_command(command, timeout, limit, lambda name, value: news.put((name, value)), news.put)
        return news


class _Reporter:
    """Hands replies to the user's callback; after the first time that it raises, no more."""

    def __init__(self, callback: Callable[[dict[str, Any]], object] | None) -> None:
        self._callback = callback
        self.failure: Exception | None = None

    def report(self, reply: dict[str, Any]) -> None:
        if self._callback is None or self.failure is not None:
            return
        try:
            self._callback(reply)
        except Exception as error:
            self.failure = error


def _collect(news: _News, end_at: float, reporter: _Reporter) -> Replies:
    replies = Replies()
    while not isinstance(item := _next(news, end_at), dict):
        reply = {item[0]: item[1]}
        replies.append(reply)
        reporter.report(reply)
    replies.missing.update(item)
    return replies


def _next(news: _News, end_at: float) -> tuple[str, Any] | dict[str, str]:
    try:
        return news.get(timeout=max(0.0, end_at - time.monotonic()))
    except queue.Empty:
        raise MeshqError("the mesh did not finish a control command in time: its thread is blocked") from None


def _task_ids(value: Any) -> list[bytes]:
    if isinstance(value, str | bytes | uuid.UUID):
        return [parse_task_id(value)]
    return [parse_task_id(item) for item in value]


def _cut(tasks: list[bytes]) -> list[list[bytes]]:
    """Return the ids as one command takes them; none at all make one empty command."""
    starts = range(0, max(1, len(tasks)), MAX_REVOKED_AT_ONCE)
    return [tasks[start : start + MAX_REVOKED_AT_ONCE] for start in starts]


def check_signal(name: object) -> str:
    """Return the name of a signal without SIG; raises ``ConfigError``."""
    text = name.upper().removeprefix("SIG") if isinstance(name, str) else ""
    if f"SIG{text}" not in signals.Signals.__members__:
        raise ConfigError(f"{name!r} is not the name of a signal: give TERM, KILL, INT, USR1, …")
    return text


def _check_limit(limit: object) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit must be a whole number from 1, or None (got {limit!r})")


def _pack(arguments: Mapping[str, Any] | None) -> bytes:
    try:
        packed: bytes = msgpack.packb(dict(arguments or {}))
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodingError(f"the arguments of a control command must be plain data: {error}") from error
    return packed
