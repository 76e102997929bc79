"""The commands that a node has seen: each comes by two ways, and is carried out once."""

from __future__ import annotations

from meshq.protocol.messages import Command, Reply

LIMIT = 1_000
"""A reply may be asked for again within seconds; far fewer commands come in that time."""
LIMIT_BYTES = 64 * 1024 * 1024
"""The threat: a peer that asks for one large reply after another. The oldest are not kept; their commands are
known all the same, and are not carried out twice."""


class CommandInbox:
    """Remembers the last commands, and the replies to them."""

    def __init__(self, limit: int = LIMIT, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._commands: dict[bytes, None] = {}
        """Those seen, the oldest first."""
        self._replies: dict[bytes, Reply] = {}
        """Those kept, the oldest first."""
        self._bytes = 0

    def is_new(self, command: Command) -> bool:
        """Take note of a command; return whether it is to be carried out."""
        if command.command in self._commands:
            return False
        if len(self._commands) >= self._limit:
            oldest = next(iter(self._commands))
            del self._commands[oldest]
            self._drop(oldest)
        self._commands[command.command] = None
        return True

    def keep(self, reply: Reply) -> None:
        """Keep a reply, in case the command comes again."""
        if reply.command not in self._commands:
            return
        self._drop(reply.command)
        self._replies[reply.command] = reply
        self._bytes += len(reply.value)
        while self._bytes > self._limit_bytes:
            self._drop(next(iter(self._replies)))

    def reply_to(self, command: Command) -> Reply | None:
        """Return the reply to a command that has come again, if it is there already."""
        return self._replies.get(command.command)

    def _drop(self, command: bytes) -> None:
        reply = self._replies.pop(command, None)
        if reply is not None:
            self._bytes -= len(reply.value)
