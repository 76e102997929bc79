"""The commands that reach a node: carried out once, answered always, and with what can be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack
import pytest

from meshq.node.commanded import MAX_REPLY_BYTES, Commanded, CommandedNode
from meshq.protocol.messages import Command, Message, Reply


class Answering:
    """A node whose one command answers with ``value``, and notes how often it was carried out."""

    id = b"n" * 16
    name = "east@h"

    def __init__(self) -> None:
        self.value: Any = {"ok": 1}
        self.calls = 0
        self.later: Callable[[dict[str, Any]], None] | None = None

    def user_command(
        self, name: str, arguments: dict[str, Any], seconds: float, answer: Callable[[dict[str, Any]], None]
    ) -> None:
        self.calls += 1
        if self.later is not None:
            self.later = answer
        else:
            answer(self.value)


class Commander:
    """The one who gives commands to the node."""

    def __init__(self) -> None:
        self.node = Answering()
        self.heard: list[Any] = []
        self.commanded = Commanded(cast(CommandedNode, self.node), self._send)

    def give(
        self, number: int = 1, reply: bool = True, destination: Sequence[str] = (), pattern: str = ""
    ) -> None:
        """Give the command with this number."""
        command = bytes([number]) * 16
        self.commanded.take(
            Command(command, b"c" * 16, "mine", b"\x80", list(destination), pattern, reply, 1.0)
        )  # fmt: skip

    def _send(self, client: bytes, messages: Sequence[Message], lane: str) -> None:
        assert (client, lane) == (b"c" * 16, "control")
        for message in messages:
            assert isinstance(message, Reply)
            assert (message.node, message.name) == (b"n" * 16, "east@h")
            self.heard.append(msgpack.unpackb(message.value))


@pytest.fixture
def commander() -> Commander:
    """Return one who has given no command yet."""
    return Commander()


def test_a_command_that_comes_twice_is_carried_out_once(commander: Commander) -> None:
    """By broadcast and directly; the reply is sent again, as the first may be lost."""
    commander.give()
    commander.give()
    assert commander.node.calls == 1
    assert commander.heard == [{"ok": 1}, {"ok": 1}]


def test_an_answer_may_come_later(commander: Commander) -> None:
    """A command that comes again meanwhile is not carried out again, nor answered."""
    commander.node.later = print
    commander.give()
    commander.give()
    assert commander.heard == []
    assert commander.node.calls == 1
    commander.node.later({"ok": "late"})
    assert commander.heard == [{"ok": "late"}]


def test_who_wants_no_reply_gets_none(commander: Commander) -> None:
    """The command is carried out all the same."""
    commander.give(reply=False)
    assert (commander.node.calls, commander.heard) == (1, [])


def test_commands_for_others_are_left_alone(commander: Commander) -> None:
    """By name or by glob."""
    commander.give(1, destination=["west"])
    commander.give(2, pattern="w*")
    assert commander.node.calls == 0
    commander.give(3, destination=["west", "east"], pattern="e*")
    assert commander.node.calls == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"ok": object()}, "not plain data"),
        ({"ok": {1, 2}}, "not plain data"),
        ({"ok": 2**70}, "not plain data"),
        ({"ok": "\udc80"}, "not plain data"),
        ({"ok": bytes(MAX_REPLY_BYTES)}, "ask for less"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error(commander: Commander, value: Any, text: str) -> None:
    """Who asked hears why, and is not left to wait; a value that contains itself is no exception."""
    commander.node.value = value
    commander.give()
    loop: list[Any] = []
    loop.append(loop)
    commander.node.value = {"ok": loop}
    commander.give(2)
    assert [set(answer) for answer in commander.heard] == [{"error"}, {"error"}]
    assert text in commander.heard[0]["error"]
