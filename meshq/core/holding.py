"""The holder's own events and effects: what the node's shell tells it, and what it asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from meshq.core.events import Received, Send
from meshq.core.work import Run, WorkerDone, WorkerGone, WorkerReady, WorkerRecalled
from meshq.protocol.payload import Payload


class ClientGreeted(NamedTuple):
    """Event: a client has said HELLO, for the first time or on a new connection.

    ``role`` is that of its HELLO; ``label`` names it to people, as ``pid 123 on HOST``.
    """

    client: bytes
    role: str = "client"
    label: str = ""


class ClientUnreachable(NamedTuple):
    """Event: the client's connection is gone; nothing is sent until it greets again."""

    client: bytes


class FunctionsKnown(NamedTuple):
    """Event: the functions that the workers offer, and the serializers that the node takes.

    ``options`` has what functions declare with ``@task``, as ``TaskOptions.to_wire`` gives it, by name;
    ``aliases`` those of the names that stand for another.
    """

    functions: frozenset[str]
    serializers: frozenset[str]
    options: Mapping[str, dict[str, Any]] = {}
    aliases: Mapping[str, str] = {}


class EntrustedStarted(NamedTuple):
    """Event: an entrusted task runs since ``seconds``."""

    client: bytes
    task: bytes
    seconds: float


class EntrustedRetrying(NamedTuple):
    """Event: an entrusted task has failed, and is tried again in so many seconds, for the ``retries``th time."""

    client: bytes
    task: bytes
    seconds: float
    retries: int = 0


class EntrustedDone(NamedTuple):
    """Event: this node's own owner has settled a task that was entrusted to it."""

    client: bytes
    task: bytes
    status: int
    serializer: str
    payload: Payload


class EntrustedWithdrawn(NamedTuple):
    """Event: this node's own owner has withdrawn an entrusted task, which has had so many deaths, or could not."""

    client: bytes
    task: bytes
    withdrawn: bool
    deaths: int = 0


class EntrustedHandedOver(NamedTuple):
    """Event: a peer owns an entrusted task from now on."""

    client: bytes
    task: bytes


class RevokeAsked(NamedTuple):
    """Event: refuse these tasks from now on. ``signal`` is the number to end running ones with, 0 to let them run.

    Answered with ``RevokeAnswered`` under the same ``token``, within ``seconds`` where that is not 0, even if runs
    live on after the signal. Clients are told under the id ``command``.
    """

    token: Any
    tasks: list[bytes]
    signal: int
    command: bytes = b""
    seconds: float = 0.0


class RevocationsHeard(NamedTuple):
    """Event: a peer, or this node in an earlier life (``stored``), refuses these ids.

    Each row is an id and the seconds for which it is refused still, as REVOKED-IDS has them; others are skipped.
    """

    ids: Sequence[Sequence[Any]]
    stored: bool = False


class PurgeAsked(NamedTuple):
    """Event: discard all tasks that have not started. Answered with ``PurgeAnswered`` within ``seconds``."""

    token: Any
    command: bytes
    seconds: float


class RateLimitSet(NamedTuple):
    """Event: from now on so many runs of a function start here in a second; 0: as many as may be."""

    function: str
    rate: float


class TimeLimitSet(NamedTuple):
    """Event: from now on runs of a function may take so many seconds; None: as long as they like."""

    function: str
    soft: float | None
    hard: float | None


class ResizeAsked(NamedTuple):
    """Event: have so many slots, at least one."""

    slots: int


class DrainAsked(NamedTuple):
    """Event: finish what runs, hand back what waits, take nothing new."""


class GraceOver(NamedTuple):
    """Event: the drain has taken long enough: end what runs, but for the tasks that no peer could run."""

    stranded: Collection[bytes]


HolderEvent: TypeAlias = (
    Received
    | ClientGreeted
    | ClientUnreachable
    | FunctionsKnown
    | EntrustedStarted
    | EntrustedRetrying
    | EntrustedDone
    | EntrustedWithdrawn
    | EntrustedHandedOver
    | RevokeAsked
    | DrainAsked
    | GraceOver
    | RevocationsHeard
    | PurgeAsked
    | RateLimitSet
    | TimeLimitSet
    | ResizeAsked
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


class HandOver(NamedTuple):
    """Effect: let peers own these entrusted tasks, whose clients are gone, if any can.

    Answered with ``EntrustedHandedOver`` for each that a peer has accepted; the others go on here.
    """

    tasks: list[bytes]


class RevokeAnswered(NamedTuple):
    """Effect: what the revoke did to each id: ``dropped``, ``running``, ``terminated``, ``finished``, …"""

    token: Any
    outcome: dict[bytes, str]


class RevocationsAdded(NamedTuple):
    """Effect: these ids are refused as of now, each for so many seconds: keep that, and tell the peers."""

    ids: list[tuple[bytes, float]]


class PurgeAnswered(NamedTuple):
    """Effect: what the purge did.

    ``own`` is the number of tasks discarded here whose owner is absent or is this node; ``clients`` what each
    client says of its own; ``silent`` the labels of the clients that did not answer in time.
    """

    token: Any
    own: int
    clients: dict[bytes, int]
    silent: list[str]


class SoftLimit(NamedTuple):
    """Effect: let the slot's worker raise ``SoftTimeLimitExceeded`` inside this run, if it still runs."""

    slot: int
    run: int


class KillWorker(NamedTuple):
    """Effect: kill the slot's worker: its run is past its hard time limit."""

    slot: int


class StartWorker(NamedTuple):
    """Effect: a slot is new: start a worker for it."""

    slot: int


class StopWorker(NamedTuple):
    """Effect: a slot is gone: let its worker end after its run, and start no other."""

    slot: int


class ClientForgotten(NamedTuple):
    """Effect: nothing is kept for the client any more: forget who it was, and its connections."""

    client: bytes


class Drained(NamedTuple):
    """Effect: nothing runs or waits any more, and every result is acknowledged."""


HolderEffect: TypeAlias = (
    Send
    | StartRuns
    | RecallRuns
    | SignalWorker
    | SoftLimit
    | KillWorker
    | StartWorker
    | StopWorker
    | Entrust
    | Disown
    | HandOver
    | RevokeAnswered
    | RevocationsAdded
    | PurgeAnswered
    | ClientForgotten
    | Drained
)
