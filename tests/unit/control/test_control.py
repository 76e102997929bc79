"""``Control.revoke``: what is checked before anything is done, and long lists of ids."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from meshq.control.commands import MAX_REVOKED_AT_ONCE
from meshq.control.control import Control
from meshq.errors import ConfigError
from meshq.protocol.messages import Command

Answer = tuple[dict[str, Any], dict[str, str]]


class Port:
    """A mesh whose nodes answer as ``answer(ids)`` says: replies by node, and the missing."""

    client_id = b"c" * 16

    def __init__(self, answer: Callable[[list[bytes]], Answer]) -> None:
        self._answer = answer
        self.commands: list[Command] = []
        self.owned: list[bytes] = []

    def begin_command(
        self, command: Command, timeout: float, limit: int | None, on_reply: Any, on_finish: Any
    ) -> None:
        """Answer at once."""
        self.commands.append(command)
        replies, missing = self._answer(msgpack.unpackb(command.arguments)["tasks"])
        for name, value in replies.items():
            on_reply(name, value)
        on_finish(missing)

    def revoke_owned(self, tasks: list[bytes]) -> None:
        """Note what is revoked at home."""
        self.owned += tasks


def all_dropped(tasks: list[bytes]) -> dict[str, Any]:
    """Return a node's reply."""
    return {"ok": {task.hex(): "dropped" for task in tasks}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0}, {"timeout": "soon"}, {"limit": 0}, {"destination": "node"}, {"signal": "NO"},
        {"task_id": "no id"},
    ],
)  # fmt: skip
def test_nothing_is_revoked_where_an_argument_is_wrong(wrong: dict[str, Any]) -> None:
    """The tasks of this client live on, as no node has heard of it."""
    port = Port(lambda tasks: ({}, {}))
    with pytest.raises((ConfigError, ValueError)):
        Control(port).revoke(**{"task_id": [uuid.uuid4()], **wrong})
    assert (port.owned, port.commands) == ([], [])


def test_long_lists_are_cut_and_the_replies_merged() -> None:
    """Each node's replies to all commands are one reply, and the callback gets it once."""
    ids = [uuid.UUID(int=number) for number in range(MAX_REVOKED_AT_ONCE * 2 + 1)]
    port = Port(lambda tasks: ({"a@h": all_dropped(tasks), "b@h": all_dropped(tasks)}, {"c@h": "unreachable"}))
    seen: list[Any] = []
    replies = Control(port).revoke(ids, reply=True, callback=seen.append)
    assert replies is not None
    sizes = [len(msgpack.unpackb(command.arguments)["tasks"]) for command in port.commands]
    assert sizes == [MAX_REVOKED_AT_ONCE, MAX_REVOKED_AT_ONCE, 1]
    assert len(port.owned) == len(ids)
    assert seen == replies
    assert [list(reply) for reply in replies] == [["a@h"], ["b@h"]]
    assert all(len(value["ok"]) == len(ids) and "error" not in value for value in replies.by_node().values())
    assert replies.missing == {"c@h": "unreachable"}


def test_a_node_that_answers_only_some_of_the_commands_says_so() -> None:
    """It does not look as if all ids were revoked there."""

    def answer(tasks: list[bytes]) -> Answer:
        if len(tasks) > 1:
            return {"a@h": all_dropped(tasks), "b@h": {"error": "no"}}, {}
        return {"b@h": all_dropped(tasks)}, {"a@h": "no reply in time"}

    replies = Control(Port(answer)).revoke([uuid.uuid4() for _ in range(MAX_REVOKED_AT_ONCE + 1)], reply=True)
    assert replies is not None
    values = replies.by_node()
    assert len(values["a@h"]["ok"]) == MAX_REVOKED_AT_ONCE
    assert "no reply in time" in values["a@h"]["error"]
    assert (len(values["b@h"]["ok"]), values["b@h"]["error"]) == (1, "no")
    assert replies.missing == {}


def test_no_ids_at_all_are_one_command() -> None:
    """The nodes still answer."""
    port = Port(lambda tasks: ({"a@h": all_dropped(tasks)}, {}))
    assert Control(port).revoke([], reply=True) == [{"a@h": {"ok": {}}}]
    assert Control(port).revoke([]) is None
