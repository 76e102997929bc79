"""The commands that a node has seen: each comes by two ways, and is carried out once."""

from __future__ import annotations

from meshq.protocol.messages import Command, Reply

LIMIT = 1_000
"""A reply may be asked for again within seconds; far fewer commands come in that time."""


class CommandInbox:
    """Remembers the last commands, and the replies to them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._replies: dict[bytes, Reply | None] = {}

    def is_new(self, command: Command) -> bool:
        """Take note of a command; return whether it is to be carried out."""
        if command.command in self._replies:
            return False
        if len(self._replies) >= self._limit:
            del self._replies[next(iter(self._replies))]
        self._replies[command.command] = None
        return True

    def keep(self, reply: Reply) -> None:
        """Keep a reply, in case the command comes again."""
        if reply.command in self._replies:
            self._replies[reply.command] = reply

    def reply_to(self, command: Command) -> Reply | None:
        """Return the reply to a command that has come again, if it is there already."""
        return self._replies.get(command.command)
