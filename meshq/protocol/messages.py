"""Every message of the wire: who sends it, to whom, and when.

Each is a named tuple. Its ``VERB`` stands for it on the wire; new fields are added at the end, with a
default, so that an older peer can leave them out and a newer one can ignore what it does not know.
Durations are in seconds; no clock reading ever crosses the wire.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

from meshq.protocol.payload import Buffer, Payload

PROTOCOL_VERSION = 1
"""The highest version spoken here. HELLO carries the lowest and highest that a client can speak, and the node
answers with the highest that both can."""
LOWEST_VERSION = 1
"""The lowest version spoken here."""
GREETING_VERSION = 1
"""Before a version is agreed, and to all nodes at once, what is said goes in frames of this one, for ever. HELLO
and REFUSED keep their shapes, so that any two peers can at least say that they do not understand each other."""

LONGEST_NAME = 1_000
"""Characters of a name on the wire: of a function, a serializer, a host, …"""
LONGEST_TEXT = 1_000
"""Characters of words for people that repeat what somebody else has said: they must fit into a message."""

_NO_ALIASES: dict[str, str] = {}
_NO_NAMES: list[str] = []


class Status(IntEnum):
    """What became of an attempt, as RESULT says it."""

    OK = 0
    FAILURE = 1
    REVOKED = 2
    EXPIRED = 3
    WORKER_LOST = 4
    TIME_LIMIT = 5
    RETRY = 6
    """It has failed, and asks for another try; the payload is that of ``protocol.retries``."""


class Hello(NamedTuple):
    """Client → node, first on every connection and again on each reconnection.

    Tables at the node key on the authenticated key and ``client``; only who knows ``secret`` takes one over.
    ``lane`` is ``"work"`` or ``"control"``: the connection that this HELLO opens. ``role`` is ``client``,
    ``controller`` or ``node``.
    """

    client: bytes
    secret: bytes
    mesh: str
    lane: str
    role: str
    lowest: int
    highest: int
    host: str = ""
    pid: int = 0
    greeting: int = 0
    """Counts the greetings over this link; 0 from clients that do not count them."""


class HelloAck(NamedTuple):
    """Node → client, in answer to HELLO: who the node is and what it offers."""

    node: bytes
    incarnation: int
    version: int
    """The version of the wire that is spoken on this connection from now on, both ways."""
    name: str
    host: str
    slots: int
    functions: dict[str, str]
    """Function name → short hash of its source ("" where it is not known)."""
    serializers: list[str]
    tags: list[str]
    peers: list[list[Any]]
    """[node id, name@host, endpoint] of each node that this one knows."""
    secured: bool
    draining: bool = False
    control_port: int = 0
    """Where the node's SUB socket listens for control broadcasts, on the host of this connection."""
    aliases: dict[str, str] = _NO_ALIASES
    """Those of ``functions`` that are other names of some → the names of these."""
    once: list[str] = _NO_NAMES
    """Those of ``functions`` that are declared to run at most once, for owners that know no more than the name."""
    greeting: int = 0
    """The number of the HELLO that was answered last; 0 from nodes that do not say it."""


class Refused(NamedTuple):
    """Either way: a message was not taken.

    ``code`` is one of ``mesh``, ``version``, ``lane``, ``owner``, ``stale``, ``verb``, ``full``.
    """

    code: str
    text: str


class Submit(NamedTuple):
    """Client → node: run this attempt. Sent again each second until the node answers."""

    task: bytes
    attempt: int
    function: str
    serializer: str
    payload: Payload
    detached: bool = False
    options: dict[str, Any] | None = None


class Accepted(NamedTuple):
    """Node → client: the attempt is held (in memory), and waits for a slot."""

    task: bytes
    attempt: int


class Started(NamedTuple):
    """Node → client: the attempt runs since ``seconds``."""

    task: bytes
    attempt: int
    seconds: float = 0.0


class Result(NamedTuple):
    """Node → client: what became of the attempt, kept and sent again until RACK.

    It implies ACCEPTED and STARTED. ``seconds`` is how long the worker was busy with it.
    """

    task: bytes
    attempt: int
    status: int
    serializer: str
    payload: Payload
    seconds: float = 0.0


class Rack(NamedTuple):
    """Client → node: the result has arrived; forget it.

    After NACK(draining) of a detached task that the node had accepted: another node has the task; forget it.
    """

    task: bytes
    attempt: int


class Parked(NamedTuple):
    """Node → client: the attempt is held, and waits for its time or its rate limit; it takes no credit meanwhile.

    It implies ACCEPTED. ``seconds`` is how long that is expected to last, 0 where it is not known.
    """

    task: bytes
    attempt: int
    seconds: float = 0.0


class Nack(NamedTuple):
    """Node → client: the attempt is not taken, or, by a node that drains, given back.

    ``reason`` is one of ``full``, ``draining``, ``unknown-task``, ``serializer``, ``parked`` (no more may be
    parked there). ``deaths`` is how many workers a detached task that is given back has killed, all in all.
    """

    task: bytes
    attempt: int
    reason: str
    text: str = ""
    deaths: int = 0


class Withdraw(NamedTuple):
    """Client → node: drop the attempt unless it runs; sent again each second until answered."""

    task: bytes
    attempt: int


class Withdrawn(NamedTuple):
    """Node → client, in answer to WITHDRAW.

    ``outcome`` is one of ``dropped``, ``running``, ``finished``, ``unknown``.
    """

    task: bytes
    attempt: int
    outcome: str


class Credit(NamedTuple):
    """Node → client: leave for ``cap`` unsettled attempts; the highest ``sequence`` counts.

    ``others`` is how many attempts of other clients the node holds: how busy it is, besides. ``cap_bytes`` is what
    the arguments of those attempts may take up together, 0 for any size; a first one may always come.
    """

    sequence: int
    cap: int
    others: int = 0
    cap_bytes: int = 0


class Ping(NamedTuple):
    """Client → node: a heartbeat."""

    sequence: int


class Pong(NamedTuple):
    """Node → client, in answer to PING."""

    sequence: int


class Bye(NamedTuple):
    """Client → node: the client leaves; drop what it has queued, detached tasks excepted."""

    reason: str = ""


class ByeAck(NamedTuple):
    """Node → client, in answer to BYE, with the number of queued attempts dropped."""

    dropped: int


class Draining(NamedTuple):
    """Node → client: the node takes nothing new; what it has not started comes back as NACK(draining)."""

    reason: str = ""


class Command(NamedTuple):
    """Client → node, over PUB/SUB or the control lane: carry out a control command.

    It may come both ways, and is deduped by ``command``.
    """

    command: bytes
    client: bytes
    name: str
    arguments: bytes
    """A msgpack map of keyword arguments."""
    destination: list[str]
    """NAME, HOST or NAME@HOST; empty: every node."""
    pattern: str
    reply: bool
    seconds: float
    """How long the client waits; a node that gets to it later need not answer."""


class Reply(NamedTuple):
    """Node → client, over the control lane: the answer to COMMAND, a msgpack value."""

    command: bytes
    node: bytes
    name: str
    value: bytes


class Relay(NamedTuple):
    """Node → client: a control command that concerns the owner of tasks, from each node that it is connected to.

    ``name`` is ``revoke`` (of ``tasks``; not answered) or ``purge`` (of all tasks that have not started;
    answered with RELAYED, to each node that relays it). It is carried out once, by ``command``.
    """

    command: bytes
    name: str
    tasks: list[bytes]


class Relayed(NamedTuple):
    """Client → node, in answer to RELAY(purge): how many tasks of its own it has discarded, all in all."""

    command: bytes
    discarded: int


class RevokedDigest(NamedTuple):
    """Node ↔ node: stands for the ids that the sender refuses; 16 bytes, equal where the ids are.

    Sent over the work lane by the node that is the other's client, on each greeting and every 10 s. The other
    answers with a digest of its own, after REVOKED-IDS where it refuses other ids; the client then tells its ids
    too.
    """

    digest: bytes


class RevokedIds(NamedTuple):
    """Node ↔ node: ids that the sender refuses, each with the seconds for which it does so still."""

    ids: list[list[Any]]


class Retrying(NamedTuple):
    """Node → client: a detached task has failed, and is tried again in so many seconds; it implies ACCEPTED.

    ``retries`` is the number of that try, the first being 1.
    """

    task: bytes
    attempt: int
    seconds: float = 0.0
    retries: int = 0


class Holding(NamedTuple):
    """Client → node, every few seconds: whether the node still has these, ``[task, attempt]``, which it accepted.

    It answers WITHDRAWN(unknown) for those that it has not, and nothing for those that it has.
    """

    pairs: list[list[Any]]


class Dead(NamedTuple):
    """Client → node: the task was given up, as a worker died each time it ran; to be listed for whoever looks.

    Sent once, to the node of the last attempt, or another if that is gone; it may be lost.
    """

    task: bytes
    function: str
    story: str


class Part(NamedTuple):
    """Either way: a piece of a payload above the inline limit, before the message that refers to it.

    ``transfer`` numbers the payload within the connection; ``data`` is the frame beside the batch.
    """

    transfer: int
    offset: int
    total: int
    data: Buffer = b""


Message: TypeAlias = (
    Hello | HelloAck | Refused | Submit | Accepted | Started | Result | Rack | Nack | Withdraw | Withdrawn
    | Credit | Ping | Pong | Bye | ByeAck | Draining | Command | Reply | Part | Parked | Relay | Relayed
    | RevokedDigest | RevokedIds | Retrying | Dead | Holding
)  # fmt: skip


MESSAGE_OF_VERB: dict[int, type[Any]] = {
    1: Hello, 2: HelloAck, 3: Refused, 4: Submit, 5: Accepted, 6: Started, 7: Result, 8: Rack, 9: Nack,
    10: Withdraw, 11: Withdrawn, 12: Credit, 13: Ping, 14: Pong, 15: Bye, 16: ByeAck, 17: Draining,
    18: Command, 19: Reply, 20: Part, 21: Parked, 22: Relay, 23: Relayed, 24: RevokedDigest, 25: RevokedIds,
    26: Retrying, 27: Dead, 28: Holding,
}  # fmt: skip
"""The verb numbers; fixed for ever, one a message."""

VERB_OF_MESSAGE: dict[type[Any], int] = {cls: verb for verb, cls in MESSAGE_OF_VERB.items()}
