"""How a client gives control commands, and collects what comes of them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgpack

from meshq.control.checks import check_limit, check_pattern, check_timeout
from meshq.control.matching import check_destination
from meshq.control.replies import Replies, merge, name_unfound
from meshq.errors import ConfigError, EncodingError, MeshqError
from meshq.ids import new_id
from meshq.protocol.messages import Command

if TYPE_CHECKING:
    from typing import TypedDict

    class Asked(TypedDict, total=False):
        """Whom a command is for, and what is waited for; see ``Control``."""

        destination: Sequence[str] | None
        pattern: str | None
        connection: Any
        reply: bool
        timeout: float
        limit: int | None
        callback: Callback | None


Callback: TypeAlias = Callable[[dict[str, Any]], object]

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
    def purge_owned(self, command: bytes, on_answer: Callable[[int], None]) -> None:
        """Discard this mesh's own waiting tasks; ``on_answer`` gets their number. Once for each command id."""

    @property
    def client_id(self) -> bytes: ...


class Terms(NamedTuple):
    """Whom commands are for, and what is waited for, all checked."""

    destination: list[str]
    pattern: str
    reply: bool
    timeout: float
    limit: int | None
    callback: Callback | None
    connection: Any
    """The mesh to send through; None: the one whose control was asked."""


def check_terms(
    destination: Sequence[str] | None = None,
    pattern: str | None = None,
    connection: Any = None,
    reply: bool = False,
    timeout: float = 1.0,
    limit: int | None = None,
    callback: Callback | None = None,
) -> Terms:
    """Return what all commands take. Raises ``ConfigError``."""
    if callback is not None and not callable(callback):
        raise ConfigError(f"callback must be a function of one reply, or None (got {callback!r})")
    return Terms(
        check_destination(destination),
        check_pattern(pattern),
        bool(reply),
        check_timeout(timeout),
        check_limit(limit),
        callback,
        connection,
    )


class Giving:
    """Gives commands through one port."""

    def __init__(self, port: ControlPort) -> None:
        self.port = port

    def command(self, name: str, arguments: Mapping[str, Any] | None, terms: Terms) -> Command:
        """Return a command, to be given. Raises ``ConfigError``, and ``EncodingError`` for its arguments."""
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(f"a control command is a name, such as 'ping' (got {name!r})")
        whom = terms.destination, terms.pattern
        return Command(
            new_id(), self.port.client_id, name, pack_arguments(arguments), *whom, terms.reply, terms.timeout
        )

    def run(
        self, commands: Sequence[Command], terms: Terms, meanwhile: Callable[[], None] | None = None
    ) -> Replies:
        """Give the commands at once, and return the replies to all; those of several are merged by node.

        ``meanwhile`` is called once they are on their way. Raises what the callback has raised.
        """
        reporter = _Reporter(terms.callback)
        end_at = time.monotonic() + terms.timeout + _GRACE_S
        under_way = [self._begin(command, terms) for command in commands]
        if meanwhile is not None:
            meanwhile()
        if len(commands) == 1:
            replies = _collect(under_way[0], end_at, reporter)
        else:
            replies = merge([_collect(news, end_at, _Reporter(None)) for news in under_way])
            for reply in replies:
                reporter.report(reply)
        name_unfound(replies, terms.destination)
        if reporter.failure is not None:
            raise reporter.failure
        return replies

    def _begin(self, command: Command, terms: Terms) -> _News:
        news: _News = queue.SimpleQueue()
        self.port.begin_command(
            command, terms.timeout, terms.limit, lambda name, value: news.put((name, value)), news.put
        )
        return news


class _Reporter:
    """Hands replies to the user's callback; after the first time that it raises, no more."""

    def __init__(self, callback: Callback | None) -> None:
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


def pack_arguments(arguments: Mapping[str, Any] | None) -> bytes:
    """Return arguments as they travel. Raises ``ConfigError``, and ``EncodingError`` for what is no plain data."""
    if arguments is not None and not isinstance(arguments, Mapping):
        raise ConfigError(f"the arguments of a control command are a dict of names and values (got {arguments!r})")
    if not all(isinstance(name, str) for name in arguments or ()):
        raise ConfigError(f"the arguments of a control command go by name (got {arguments!r})")
    try:
        packed: bytes = msgpack.packb(dict(arguments or {}))
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodingError(f"the arguments of a control command must be plain data: {error}") from error
    return packed
