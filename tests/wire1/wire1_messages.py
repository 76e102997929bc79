"""What is recorded of the messages of version 1: name → the messages that were sent, and that must be read.

A case says what the bytes in ``recorded`` mean, for ever. For a field that comes later, add a case; where it has
a default, what the older cases mean stays as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from meshq.protocol.envelope import Header
from meshq.protocol.messages import (
    Accepted,
    Bye,
    ByeAck,
    Command,
    Credit,
    Dead,
    Draining,
    Hello,
    HelloAck,
    Holding,
    Message,
    Nack,
    Parked,
    Ping,
    Pong,
    Rack,
    Refused,
    Relay,
    Relayed,
    Reply,
    Result,
    Retrying,
    RevokedDigest,
    RevokedIds,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)

CLIENT, SECRET, NODE, OTHER = b"c" * 16, b"s" * 16, b"n" * 16, b"o" * 16
TASK, SECOND, COMMAND = bytes(range(16)), bytes(range(16, 32)), b"k" * 16
MOST = 2**63 - 1
NAME = "photos.thumbnail"


class Recorded(NamedTuple):
    """Messages that were put into one outbox, in their order; small ones come out first."""

    messages: list[Any]
    header: Header = Header(CLIENT, NODE, 7)


def from_client(*messages: Message) -> Recorded:
    """Record what a client sends to a node that has answered its greeting."""
    return Recorded([*messages])


def from_node(*messages: Message) -> Recorded:
    """Record what a node sends."""
    return Recorded([*messages], Header(NODE, b"", 7))


def from_stranger(*messages: Message) -> Recorded:
    """Record what a client sends before it knows who answers."""
    return Recorded([*messages], Header(CLIENT))


def submit(serializer: str = "msgpack", payload: Any = b"\x92\x91\x01\x80", **more: Any) -> Submit:
    """Make a SUBMIT; the payload is that of a call with the argument 1, unless given."""
    return Submit(TASK, 1, NAME, serializer, payload, **more)


def result(status: int = Status.OK, serializer: str = "msgpack", payload: Any = b"\x2a", **more: Any) -> Result:
    """Make a RESULT; the payload is that of the value 42, unless given."""
    return Result(TASK, 1, status, serializer, payload, **more)


ALL_OPTIONS = {
    "chunk": True, "countdown": 1.5, "expires": 60.0, "priority": 9, "rate_limit": "100/m", "soft_time_limit": 5.0,
    "time_limit": None, "ignore_result": True, "max_retries": 2, "retry_for": ["builtins.OSError"],
    "retry_backoff": 0.5, "retry_jitter": False, "retries": 1, "once": True, "key": True,
}  # fmt: skip
ACK = HelloAck(NODE, 7, 1, "node", "kitchen", 4, {NAME: "1a2b3c4d"}, ["msgpack", "json", "raw"], [], [], True)
MESSAGES: dict[str, Recorded] = {
    # ------------------------------------------------------------------ 1 to 3: greeting
    "hello-minimal": from_stranger(Hello(CLIENT, SECRET, "default", "work", "client", 1, 1)),
    "hello-control": from_stranger(Hello(CLIENT, SECRET, "default", "control", "controller", 1, 1, "desk", 4711)),
    "hello-of-a-node": from_stranger(Hello(NODE, SECRET, "küche", "work", "node", 1, 1, "kitchen", MOST)),
    "hello-of-a-newer-client": from_stranger(Hello(CLIENT, SECRET, "default", "work", "client", 1, 2, "desk", 1)),
    "hello-ack-minimal": from_node(ACK._replace(functions={}, serializers=[], secured=False)),
    "hello-ack": from_node(ACK),
    "hello-ack-maximal": from_node(
        ACK._replace(
            incarnation=MOST,
            slots=1024,
            functions={"_operator.add": "", "operator.add": "", NAME: "1a2b3c4d"},
            serializers=["msgpack", "json", "raw", "pickle"],
            tags=["gpu", "große"],
            peers=[[OTHER, "node-2@cellar", "tcp://10.0.0.5:7000"]],
            draining=True,
            control_port=65535,
            aliases={"operator.add": "_operator.add"},
        )
    ),
    "hello-counted": from_stranger(Hello(CLIENT, SECRET, "default", "work", "client", 1, 1, "desk", 1, MOST)),
    "hello-ack-counted": from_node(ACK._replace(greeting=MOST)),
    "hello-ack-once": from_node(ACK._replace(once=[NAME])),
    **{
        f"refused-{code}": from_node(Refused(code, f"this is why: {code}"))
        for code in ("mesh", "version", "lane", "owner", "stale", "verb", "full")
    },
    # ------------------------------------------------------------------ 4: SUBMIT
    "submit": from_client(submit()),
    "submit-empty": from_client(Submit(TASK, 0, "", "raw", b"")),
    "submit-detached": from_client(submit(detached=True)),
    "submit-with-all-options": from_client(submit(options=ALL_OPTIONS)),
    "submit-maximal": from_client(Submit(TASK, MOST, "m" * 200, "json", b"[[1],{}]", True, {"priority": 0})),
    "submit-inline": from_client(submit("raw", b"a" * 16_384)),
    "submit-large": from_client(submit("raw", b"a" * 16_385)),
    "submit-in-three-pieces": from_client(submit("raw", b"a" * 2_500_000), Ping(1)),
    "submit-of-buffers": from_client(submit("raw", [b"a" * 20_000, bytearray(b"b" * 30), memoryview(b"c" * 9)])),
    # ------------------------------------------------------------------ 5 to 12: answers
    "accepted": from_node(Accepted(TASK, 1)),
    "started-minimal": from_node(Started(TASK, 1)),
    "started": from_node(Started(TASK, MOST, 0.0125)),
    **{f"result-{status.name.lower()}": from_node(result(status, seconds=0.25)) for status in Status},
    "result-minimal": from_node(Result(TASK, 1, 0, "", b"")),
    "result-inline": from_node(result(0, "raw", b"r" * 16_384)),
    "result-large": from_node(result(0, "raw", b"r" * 16_385, seconds=2.0)),
    "result-in-two-pieces": from_node(result(0, "raw", b"r" * 1_048_577), Result(SECOND, 1, 0, "raw", b"x")),
    "result-of-a-lost-worker": from_node(result(Status.WORKER_LOST, "", b"killed by signal 9")),
    "rack": from_client(Rack(TASK, 1)),
    **{
        f"nack-{reason}": from_node(Nack(TASK, 1, reason, "in words"))
        for reason in ("full", "draining", "unknown-task", "serializer", "parked")
    },
    "nack-minimal": from_node(Nack(TASK, 1, "full")),
    "nack-deaths": from_node(Nack(TASK, 1, "draining", "in words", 2)),
    "withdraw": from_client(Withdraw(TASK, 1)),
    **{
        f"withdrawn-{outcome}": from_node(Withdrawn(TASK, 1, outcome))
        for outcome in ("dropped", "running", "finished", "unknown")
    },
    "credit-minimal": from_node(Credit(0, 0)),
    "credit": from_node(Credit(12, 4096, 300)),
    "credit-in-bytes": from_node(Credit(12, 4096, 300, 2**30)),
    # ------------------------------------------------------------------ 13 to 17: life
    "ping": from_client(Ping(1)),
    "pong": from_node(Pong(MOST)),
    "bye-minimal": from_client(Bye()),
    "bye": from_client(Bye("done")),
    "bye-ack": from_node(ByeAck(3)),
    "draining-minimal": from_node(Draining()),
    "draining": from_node(Draining("an upgrade")),
    # ------------------------------------------------------------------ 18, 19, 22, 23: control
    "command-minimal": from_client(Command(COMMAND, CLIENT, "ping", b"\x80", [], "", False, 0.0)),
    "command": from_client(
        Command(
            COMMAND,
            CLIENT,
            "rate_limit",
            msgpack.packb({"task_name": NAME, "rate": "10/s"}),
            ["kitchen", "node@cellar"],
            "node*@*",
            True,
            1.0,
        )
    ),
    "command-published": from_stranger(Command(COMMAND, CLIENT, "revoke", b"\x80", [], "", True, 0.5)),
    "reply": from_node(Reply(COMMAND, NODE, "node@kitchen", msgpack.packb({"ok": "pong", "slots": 4}))),
    "reply-large": from_node(Reply(COMMAND, NODE, "node@kitchen", b"r" * 300_000)),
    "relay-revoke": from_node(Relay(COMMAND, "revoke", [TASK, SECOND])),
    "relay-purge": from_node(Relay(COMMAND, "purge", [])),
    "relayed": from_client(Relayed(COMMAND, 1_000_000)),
    # ------------------------------------------------------------------ 21 and 24 to 28
    "parked-minimal": from_node(Parked(TASK, 1)),
    "parked": from_node(Parked(TASK, 1, 3600.5)),
    "revoked-digest": from_client(RevokedDigest(b"d" * 16)),
    "revoked-ids-none": from_node(RevokedIds([])),
    "revoked-ids": from_node(RevokedIds([[TASK, 86_400.0], [SECOND, 12]])),
    "retrying-minimal": from_node(Retrying(TASK, 1)),
    "retrying": from_node(Retrying(TASK, 2, 600.0)),
    "retrying-number": from_node(Retrying(TASK, 2, 600.0, 3)),
    "dead": from_client(Dead(TASK, NAME, "attempt 1 on node@kitchen: killed by signal 9")),
    "holding": from_client(Holding([[TASK, 1], [SECOND, 3]])),
    # ------------------------------------------------------------------ batches
    "batch-of-a-client": from_client(Rack(TASK, 1), submit(), Submit(SECOND, 1, NAME, "raw", b"x"), Ping(2)),
    "batch-of-a-node": from_node(
        Accepted(TASK, 1), Accepted(SECOND, 1), Started(TASK, 1, 0.5), result(), Credit(2, 4), Pong(2)
    ),
    "batch-with-a-large-one": from_client(submit("raw", b"a" * 20_000), Rack(SECOND, 1), Ping(3)),
}
