"""What a node holds, as ``inspect`` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meshq.core.clients import Clients
from meshq.core.dispatch import Dispatch
from meshq.core.kept import Kept
from meshq.core.parking import Parking
from meshq.protocol.messages import Result
from meshq.protocol.payload import Payload


class TaskView(NamedTuple):
    """One held task. ``state``: ``active``, ``reserved``, ``scheduled`` or ``finished``."""

    task: bytes
    attempt: int
    function: str
    serializer: str
    payload: Payload
    """The encoded arguments; b"" once it has finished."""
    state: str
    seconds: float
    """For how long it has run; of a scheduled one, how long until it may start."""
    slot: int | None
    client: str
    """The label of the client that it is held for."""
    reason: str = ""
    """Why a scheduled one waits: ``countdown`` or ``rate limit``."""
    priority: int = 5


class Survey:
    """Reads the rooms of the holder; changes nothing."""

    def __init__(self, clients: Clients, dispatch: Dispatch, parking: Parking, kept: Kept) -> None:
        self._clients = clients
        self._dispatch = dispatch
        self._parking = parking
        self._kept = kept

    def active(self, now: float) -> Iterator[TaskView]:
        """Yield what runs: the head of each slot."""
        yield from ()

    def reserved(self, now: float) -> Iterator[TaskView]:
        """Yield what waits for a slot, those a little ahead in a worker's hands included."""
        yield from ()

    def scheduled(self, now: float) -> Iterator[TaskView]:
        """Yield what is parked, the soonest first."""
        yield from ()

    def find(self, task: bytes, now: float) -> TaskView | None:
        """Return the task if it is held here and has not finished."""
        return None

    def result(self, task: bytes, now: float) -> Result | None:
        """Return the result of a task that has finished here, as far as it is kept."""
        return None
