"""What a node holds, as ``inspect`` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from meshq.core.dispatch import Dispatch
from meshq.core.entrusting import Entrusting
from meshq.core.held import ClientAccount, Held, HeldState
from meshq.core.kept import Kept
from meshq.core.parking import Parking
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import Payload

_RANK = ("active", "reserved", "scheduled")
"""Of several attempts at one task, the one that is furthest is shown."""


CHUNKS = "msgpack"
"""The serializer in which some results come, whatever was asked for."""


class TaskView(NamedTuple):
    """One held task. ``state``: ``active``, ``reserved`` or ``scheduled``."""

    task: bytes
    attempt: int
    function: str
    serializer: str
    payload: Payload
    """The encoded arguments."""
    state: str
    seconds: float
    """For how long it has run; of a scheduled one, how long until it may start."""
    slot: int | None
    client: str
    """The label of the client that it is held for."""
    reason: str = ""
    """Why a scheduled one waits: ``countdown``, ``rate limit`` or ``retry``."""
    priority: int = 5


class Survey:
    """Reads the rooms of the holder; changes nothing.

    A detached task stands here twice once this node's own owner has given it to this node: for its client, and
    for ``own_client``. It is shown once, as what the latter makes of it, under its client's label.
    """

    def __init__(
        self,
        clients: Mapping[bytes, ClientAccount],
        own_client: bytes,
        dispatch: Dispatch,
        parking: Parking,
        kept: Kept,
        entrusting: Entrusting,
    ) -> None:
        self._clients = clients
        self._own_client = own_client
        self._dispatch = dispatch
        self._parking = parking
        self._kept = kept
        self._retry_at = entrusting.retry_at

    def active(self, now: float) -> Iterator[TaskView]:
        """Yield what runs: the head of each slot."""
        labels = self._labels()
        for slot in self._dispatch.slots:
            head = slot.head()
            if head is not None:
                yield self._view(head, "active", labels, now - slot.head_since)

    def reserved(self, now: float) -> Iterator[TaskView]:
        """Yield what waits for a slot, those a little ahead in a worker's hands first."""
        labels = self._labels()
        for slot in self._dispatch.slots:
            for held in list(slot.runs.values())[1:]:
                yield self._view(held, "reserved", labels)
        for client in self._clients.values():
            for held in client.queued():
                yield self._view(held, "reserved", labels)
        own = self._of_own()
        for held in self._entrusted().values():
            if not _is_unfinished(own.get(held.task)) and held not in self._retry_at:
                yield self._view(held, "reserved", labels)

    def scheduled(self, now: float) -> Iterator[TaskView]:
        """Yield what is parked, the soonest first, then what waits for its next try."""
        labels = self._labels()
        for held, seconds, reason in self._parking.parked(now):
            yield self._view(held, "scheduled", labels, seconds, reason)
        own = self._of_own()
        for held, at in self._retry_at.items():
            if not _is_unfinished(own.get(held.task)):
                yield self._view(held, "scheduled", labels, max(0.0, at - now), "retry")

    def find(self, task: bytes, now: float) -> TaskView | None:
        """Return the task if it is held here and has not finished."""
        helds = [held for client in self._clients.values() if (held := client.held.get(task)) is not None]
        labels = {held.task: held.client.label for held in reversed(helds) if held.state is HeldState.ENTRUSTED}
        if any(held.client.client == self._own_client and _is_unfinished(held) for held in helds):
            helds = [held for held in helds if held.state is not HeldState.ENTRUSTED]
        views = [self._view_of(held, labels, now) for held in helds if _is_unfinished(held)]
        return min(views, key=lambda view: _RANK.index(view.state), default=None)

    def result(self, task: bytes, now: float) -> Result | None:
        """Return the result of a task that has finished here; where ``find`` finds it, of an earlier attempt."""
        for client in self._clients.values():
            held = client.unacknowledged.get(task)
            # What this node's own owner is told, it makes a result for the client of, or tries again.
            if held is not None and client.client != self._own_client and not _asks_for_more(held):
                return held.result
        return self._kept.find(task, now)

    def value_of(self, held: Held, now: float) -> Result | None:
        """Return the value that another task with the key of this one has had here, if it is kept and fits."""
        known = self.result(held.task, now)
        fits = known is not None and known.status == Status.OK and known.serializer in (held.serializer, CHUNKS)
        return known if fits else None

    def detached(self, now: float) -> tuple[int, float]:
        """Return how many detached tasks this node has to see to, and in how many seconds the last may start."""
        tasks = self._entrusted().values()
        starts = [held.terms.start_at for held in tasks if held.terms is not None]
        return len(tasks), max([now, *starts]) - now

    def _view_of(self, held: Held, labels: dict[bytes, str], now: float) -> TaskView:
        if held.state is HeldState.PARKED:
            _, seconds, reason = self._parking.view(held, now)
            return self._view(held, "scheduled", labels, seconds, reason)
        if held in self._retry_at:
            return self._view(held, "scheduled", labels, max(0.0, self._retry_at[held] - now), "retry")
        if held.state is HeldState.RUNNING:
            slot = self._dispatch.slots.all[held.slot]
            if slot.head() is held:
                return self._view(held, "active", labels, now - slot.head_since)
        return self._view(held, "reserved", labels)

    def _view(
        self, held: Held, state: str, labels: Mapping[bytes, str], seconds: float = 0.0, reason: str = ""
    ) -> TaskView:
        is_own, label = held.client.client == self._own_client, held.client.label
        return TaskView(
            held.task, held.attempt, held.function, held.serializer, held.payload, state, seconds,
            held.slot if held.state is HeldState.RUNNING else None,
            labels.get(held.task, label) if is_own else label,
            reason, held.priority,
        )  # fmt: skip

    def _of_own(self) -> Mapping[bytes, Held]:
        """Return what this node's own owner has here."""
        own = self._clients.get(self._own_client)
        return own.held if own is not None else {}

    def _entrusted(self) -> dict[bytes, Held]:
        """Return the detached tasks; one to which several clients gave the same id runs once, for the first."""
        entrusted: dict[bytes, Held] = {}
        for client in self._clients.values():
            for held in client.held.values() if client.entrusted else ():
                if held.state is HeldState.ENTRUSTED:
                    entrusted.setdefault(held.task, held)
        return entrusted

    def _labels(self) -> dict[bytes, str]:
        """Return whose the detached tasks are."""
        return {task: held.client.label for task, held in self._entrusted().items()}


def _is_unfinished(held: Held | None) -> bool:
    return held is not None and held.state is not HeldState.DONE


def _asks_for_more(held: Held) -> bool:
    return held.result is not None and held.result.status == Status.RETRY
