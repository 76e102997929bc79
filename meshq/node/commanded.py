"""The control commands that a node is given: each carried out once, and answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgpack

from meshq.control.commands import NodeControl, carry_out
from meshq.control.inbox import CommandInbox
from meshq.control.matching import matches
from meshq.protocol.messages import Command, HelloAck, Message, Reply

MAX_REPLY_BYTES = 512 * 1024


class CommandedNode(NodeControl, Protocol):
    """What is asked of the node besides."""

    ack: HelloAck

    @property
    def name(self) -> str: ...


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
        packed = msgpack.packb(value, default=str)
        if len(packed) > MAX_REPLY_BYTES:
            packed = msgpack.packb({"error": f"the reply takes {len(packed)} bytes, more than can be sent"})
        reply = Reply(command.command, self._node.ack.node, self._node.name, packed)
        self._inbox.keep(reply)
        if command.reply:
            self._send(command.client, [reply], "control")
