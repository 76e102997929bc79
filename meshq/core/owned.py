"""A task as its owner keeps it, from submission until it is settled."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Any, NamedTuple

from meshq.core.terms import DEFAULT_PRIORITY
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload


class TaskState(StrEnum):
    """Where a task is, as its owner knows it. PENDING is, too, what a node has set aside."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    STARTED = "STARTED"
    RETRY = "RETRY"
    DONE = "DONE"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    LOST = "LOST"


class Ending(Enum):
    """How a task ended, at its owner."""

    DONE = "done"
    FAILURE = "failure"
    REVOKED = "revoked"
    EXPIRED = "expired"
    TIME_LIMIT = "time limit"
    WORKER_LOST = "worker lost"
    LOST = "lost"
    """It may have run, and must not run twice."""
    UNKNOWN_TASK = "unknown task"
    NO_NODES = "no nodes"
    CANCELLED = "cancelled"


ENDING_OF_STATUS: dict[int, Ending] = {
    int(Status.OK): Ending.DONE,
    int(Status.FAILURE): Ending.FAILURE,
    int(Status.REVOKED): Ending.REVOKED,
    int(Status.EXPIRED): Ending.EXPIRED,
    int(Status.TIME_LIMIT): Ending.TIME_LIMIT,
    int(Status.WORKER_LOST): Ending.WORKER_LOST,
}
"""What a RESULT says of a task that it ends; the owner may try again what was lost with its worker."""

STATE_OF_ENDING = {
    Ending.DONE: TaskState.DONE,
    Ending.FAILURE: TaskState.FAILURE,
    Ending.REVOKED: TaskState.REVOKED,
    Ending.EXPIRED: TaskState.EXPIRED,
    Ending.TIME_LIMIT: TaskState.FAILURE,
    Ending.WORKER_LOST: TaskState.LOST,
    Ending.LOST: TaskState.LOST,
    Ending.UNKNOWN_TASK: TaskState.FAILURE,
    Ending.NO_NODES: TaskState.FAILURE,
    Ending.CANCELLED: TaskState.REVOKED,
}


class Outcome(NamedTuple):
    """A task's end: the encoded value of DONE and FAILURE, the reason in words of the others."""

    ending: Ending
    serializer: str = ""
    payload: Payload = b""
    text: str = ""


_PENDING = TaskState.PENDING  # to look up a member of an enum takes 60 ns, a fifth of making a task


class OwnedTask:
    """One task of this owner. The caller fills the first six fields; the rest belong to the owner machine."""

    __slots__ = (
        "accepted",
        "attempt",
        "deaths",
        "detached",
        "due_at",
        "expires_at",
        "function",
        "id",
        "node",
        "once",
        "options",
        "parked",
        "payload",
        "priority",
        "recalled",
        "retries",
        "revoked",
        "sent_at",
        "serializer",
        "since",
        "state",
        "tags",
        "withdrawing",
    )

    def __init__(
        self,
        id: bytes,
        function: str,
        serializer: str,
        payload: Payload,
        detached: bool = False,
        options: dict[str, Any] | None = None,
        tags: frozenset[str] = frozenset(),
    ) -> None:
        self.id = id
        self.function = function
        self.serializer = serializer
        self.payload = payload
        self.detached = detached
        self.options = options
        self.tags = tags
        self.attempt = 0
        self.retries = 0
        """How many of its attempts have asked for another one, and got it."""
        self.state = _PENDING
        self.node: bytes | None = None
        self.once = False
        """Whether it must never run a second time: it goes out again only if it provably has not started."""
        self.priority = DEFAULT_PRIORITY
        """0 to 9; the highest goes first."""
        self.due_at: float | None = None
        """When it may start, where that is not at once."""
        self.expires_at: float | None = None
        """Until when it must have started."""
        self.accepted = False
        self.parked = False
        """Whether its node has set it aside, or will when it gets there: it takes no credit."""
        self.sent_at = 0.0
        self.since = 0.0
        self.withdrawing = False
        self.recalled = False
        """Whether it is being called back from a busy node, to be sent to an idle one."""
        self.revoked = False
        self.deaths: list[str] | None = None
        """What became of each attempt that died while it ran."""

    @property
    def kind(self) -> tuple[str, str, frozenset[str]]:
        """What tasks have in common that the same nodes can run."""
        return self.function, self.serializer, self.tags

    def story(self) -> str:
        """Say what became of its attempts so far, as far as they died or failed; "" where none did."""
        tries = [f"{self.retries} {'try' if self.retries == 1 else 'tries'} that failed"] if self.retries else []
        return "; ".join([*(self.deaths or ()), *tries])
