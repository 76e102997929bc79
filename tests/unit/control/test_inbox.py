"""The commands that a node has seen, and the replies that it keeps."""

from __future__ import annotations

from meshq.control.inbox import CommandInbox
from meshq.protocol.messages import Command, Reply


def command(number: int) -> Command:
    """Return a command with this id."""
    return Command(bytes([number]) * 16, b"c" * 16, "ping", b"\x80", [], "", True, 1.0)


def reply(number: int, size: int) -> Reply:
    """Return the reply to it."""
    return Reply(bytes([number]) * 16, b"n" * 16, "node@h", bytes(size))


def test_a_command_that_comes_again_gets_its_reply_again() -> None:
    """It is new only once."""
    inbox = CommandInbox()
    assert inbox.is_new(command(1))
    assert inbox.reply_to(command(1)) is None
    inbox.keep(reply(1, 10))
    assert not inbox.is_new(command(1))
    assert inbox.reply_to(command(1)) == reply(1, 10)


def test_the_bytes_of_kept_replies_are_bounded() -> None:
    """The oldest replies go, while their commands are still known and not carried out twice."""
    inbox = CommandInbox(limit_bytes=100)
    for number in range(1, 5):
        assert inbox.is_new(command(number))
        inbox.keep(reply(number, 40))
        inbox.keep(reply(number, 40))
    assert [inbox.reply_to(command(number)) is not None for number in range(1, 5)] == [False, False, True, True]
    assert not inbox.is_new(command(1))


def test_the_number_of_commands_is_bounded() -> None:
    """With the oldest command its reply goes, and the room that it took."""
    inbox = CommandInbox(limit=2, limit_bytes=100)
    for number in range(1, 6):
        assert inbox.is_new(command(number))
        inbox.keep(reply(number, 50))
    assert [inbox.reply_to(command(number)) is not None for number in (4, 5)] == [True, True]
    inbox.keep(reply(1, 50))
    assert inbox.reply_to(command(1)) is None
