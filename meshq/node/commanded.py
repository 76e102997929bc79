"""The control commands that a node is given: each carried out once, and answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgpack

from meshq.control.asking import NodeControl
from meshq.control.commands import carry_out
from meshq.control.inbox import CommandInbox
from meshq.control.matching import matches
from meshq.protocol.messages import Command, Message, Reply

MAX_REPLY_BYTES = 512 * 1024
"""Half of what one message takes, so that a reply never waits for a second one."""


class CommandedNode(NodeControl, Protocol):
    """What is asked of the node besides."""

    @property
    def id(self) -> bytes: ...


class Commanded:
    """Takes a node's commands, by whichever way they come; ``send(client, messages, lane)`` answers."""

    def __init__(self, node: CommandedNode, send: Callable[[bytes, Sequence[Message], str], object]) -> None:
        self._node = node
        self._send = send
        self._inbox = CommandInbox()

    def take(self, command: Command) -> None:
        """Carry out a command that is for this node, unless it was before; then only its reply is sent again."""
        if not matches(self._node.name, command.destination, command.pattern):
            return
        if self._inbox.is_new(command):
            carry_out(self._node, command, lambda value: self._answer(command, value))
        elif (reply := self._inbox.reply_to(command)) is not None:
            self._send(command.client, [reply], "control")

    def _answer(self, command: Command, value: dict[str, Any]) -> None:
        reply = Reply(command.command, self._node.id, self._node.name, _pack(value))
        self._inbox.keep(reply)
        if command.reply:
            self._send(command.client, [reply], "control")


def _pack(value: dict[str, Any]) -> bytes:
    """Return a reply as it travels; one that cannot is an error."""
    try:
        packed: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        return _error(f"the reply cannot be sent, as it is not plain data (numbers, text, lists, dicts): {error}")
    if len(packed) > MAX_REPLY_BYTES:
        return _error(f"the reply takes {len(packed)} bytes, and {MAX_REPLY_BYTES} can be sent: ask for less")
    return packed


def _error(text: str) -> bytes:
    packed: bytes = msgpack.packb({"error": text})
    return packed
