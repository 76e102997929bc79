"""What the tests of the owner's side say: nodes, tasks, and the messages between them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from conversation import Conversation

from meshq.core.accounts import Bond, NodeJoined
from meshq.core.events import Received, Send
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owning import Settle, Submitted
from meshq.protocol.messages import Message, Rack, Result, Status, Submit

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
DONE = Outcome(Ending.DONE, "msgpack", b"42")
CANCELLED = Outcome(Ending.CANCELLED)


def joined(
    node: bytes = A,
    *,
    incarnation: int = 1,
    slots: int = 2,
    functions: Collection[str] = ("f", "g"),
    serializers: Collection[str] = ("msgpack",),
    tags: Collection[str] = (),
    draining: bool = False,
    once: Collection[str] = (),
    bond: Bond = Bond.NONE,
) -> NodeJoined:
    """Return the event of a node that answers."""
    name = f"node@{node[:1].decode()}"
    return NodeJoined(node, incarnation, name, slots, functions, serializers, tags, draining, once, bond)


def make_task(number: int = 1, function: str = "f", **options: Any) -> OwnedTask:
    """Return a new task with an id of this number."""
    return OwnedTask(number.to_bytes(16, "big"), function, "msgpack", b"args", **options)


def make_tasks(count: int, function: str = "f", **options: Any) -> list[OwnedTask]:
    """Return new tasks, numbered from 1 on for ``f``, from 1001 on for ``g`` and so on."""
    first = 1 + 1000 * (ord(function[0]) - ord("f"))
    return [make_task(first + index, function, **options) for index in range(count)]


def submit(task: OwnedTask, attempt: int = 1) -> Submit:
    """Return the SUBMIT of an attempt."""
    return Submit(task.id, attempt, task.function, "msgpack", b"args", task.detached, task.options)


def result(task: OwnedTask, attempt: int = 1, *, status: int = Status.OK, seconds: float = 0.0) -> Result:
    """Return a RESULT; its payload is the outcome ``DONE``'s."""
    return Result(task.id, attempt, status, "msgpack", b"42", seconds)


def lost(task: OwnedTask, attempt: int, reason: bytes = b"killed by signal 9") -> Result:
    """Return the RESULT of an attempt whose worker died."""
    return Result(task.id, attempt, Status.WORKER_LOST, "", reason)


def said(*messages: Message, by: bytes = A) -> Received:
    """Return the event of messages from a node."""
    return Received(by, list(messages))


def send(*messages: Message, to: bytes = A) -> Send:
    """Return the effect of messages to a node."""
    return Send(to, list(messages))


def rack(task: OwnedTask, attempt: int = 1) -> Rack:
    """Return the RACK of an attempt's result."""
    return Rack(task.id, attempt)


def settle(task: OwnedTask, outcome: Outcome = DONE) -> Settle:
    """Return the effect that ends one task."""
    return Settle([(task, outcome)])


def start(talk: Conversation, task: OwnedTask, *nodes: bytes) -> None:
    """Let nodes join, then send the task to the first of them."""
    for node in nodes or (A,):
        talk.say(joined(node))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task), to=nodes[0] if nodes else A))


def sent(talk: Conversation) -> dict[bytes, list[Submit]]:
    """Take the attempts just sent, by node."""
    return {effect.peer: effect.messages for effect in talk.take()}


def teach(talk: Conversation, seconds: float, function: str = "f") -> None:
    """Let the node A show how long a function takes."""
    task = make_task(900_000, function)
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    talk.say(said(result(task, seconds=seconds)))
    talk.expect(send(rack(task)), settle(task))
