"""The holder's own events and effects: what the node's shell tells it, and what it asks for."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from meshq.core.events import Received, Send
from meshq.core.work import Run, WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.payload import Payload


class ClientGreeted(NamedTuple):
    """Event: a client has said HELLO, for the first time or on a new connection."""

    client: bytes


class ClientUnreachable(NamedTuple):
    """Event: the client's connection is gone; nothing is sent until it greets again."""

    client: bytes


class FunctionsKnown(NamedTuple):
    """Event: the functions that the workers offer, and the serializers that the node takes."""

    functions: frozenset[str]
    serializers: frozenset[str]


class EntrustedStarted(NamedTuple):
    """Event: an entrusted task runs since ``seconds``."""

    client: bytes
    task: bytes
    seconds: float


class EntrustedDone(NamedTuple):
    """Event: this node's own owner has settled a task that was entrusted to it."""

    client: bytes
    task: bytes
    status: int
    serializer: str
    payload: Payload


class EntrustedWithdrawn(NamedTuple):
    """Event: this node's own owner has withdrawn an entrusted task, or could not."""

    client: bytes
    task: bytes
    withdrawn: bool


class RevokeAsked(NamedTuple):
    """Event: refuse these tasks from now on. ``signal`` is the number to end running ones with, 0 to let them run.

    Answered with ``RevokeAnswered`` under the same ``token``.
    """

    token: Any
    tasks: list[bytes]
    signal: int


class DrainAsked(NamedTuple):
    """Event: finish what runs, hand back what waits, take nothing new."""


HolderEvent: TypeAlias = (
    Received
    | ClientGreeted
    | ClientUnreachable
    | FunctionsKnown
    | EntrustedStarted
    | EntrustedDone
    | EntrustedWithdrawn
    | RevokeAsked
    | DrainAsked
    | WorkerReady
    | WorkerDone
    | WorkerRecalled
    | WorkerGone
)


class StartRuns(NamedTuple):
    """Effect: give these runs to the slot's worker, to be run in this order."""

    slot: int
    runs: list[Run]


class RecallRuns(NamedTuple):
    """Effect: ask the slot's worker to give back those of these runs that it has not started."""

    slot: int
    runs: list[int]


class SignalWorker(NamedTuple):
    """Effect: send a signal to the slot's worker, which runs the attempt to be ended."""

    slot: int
    signal: int


class Entrust(NamedTuple):
    """Effect: let this node's own owner take over a detached task."""

    client: bytes
    task: bytes
    function: str
    serializer: str
    payload: Payload
    options: dict[str, Any] | None


class Disown(NamedTuple):
    """Effect: let this node's own owner withdraw an entrusted task; answered with ``EntrustedWithdrawn``."""

    client: bytes
    task: bytes


class RevokeAnswered(NamedTuple):
    """Effect: what the revoke did to each id: ``dropped``, ``running``, ``terminated``, ``finished``, …"""

    token: Any
    outcome: dict[bytes, str]


class Drained(NamedTuple):
    """Effect: nothing runs or waits any more, and every result is acknowledged."""


HolderEffect: TypeAlias = (
    Send | StartRuns | RecallRuns | SignalWorker | Entrust | Disown | RevokeAnswered | Drained
)
