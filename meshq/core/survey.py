"""What a node holds, as ``inspect`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from meshq.core.dispatch import Dispatch
from meshq.core.endings import asks_for_more
from meshq.core.entrusting import Entrusting
from meshq.core.held import ClientAccount, Held, HeldState, is_there
from meshq.core.kept import Kept
from meshq.core.parking import Parking
from meshq.protocol.chunks import CHUNK_SERIALIZER
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import Payload

_RANK = ("active", "reserved", "scheduled")
"""Of several attempts at one task, the one that is furthest is shown."""


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
    elsewhere: bool = False
    """Whether a detached one is at another node just now, which has more to say of it."""


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
        self.is_elsewhere: Callable[[bytes], bool] = lambda _: False
        """Tells whether our own owner has sent a task to another node; whoever runs that owner sets this."""

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
        for held in self._entrusted().values():
            if self._waits_at_own(held) and held not in self._retry_at:
                yield self._view(held, "reserved", labels)

    def scheduled(self, now: float) -> Iterator[TaskView]:
        """Yield what is parked, the soonest first, then what waits for its next try."""
        labels = self._labels()
        for held, seconds, reason in self._parking.parked(now):
            yield self._view(held, "scheduled", labels, seconds, reason)
        for held, at in self._retry_at.items():
            if self._waits_at_own(held):
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
            if held is not None and client.client != self._own_client and not asks_for_more(held):
                return held.result
        return self._kept.find(task, now)

    def failed_try(self, task: bytes) -> Result | None:
        """Return what an attempt said that asks for another one, until its owner has acknowledged that."""
        for client in self._clients.values():
            held = client.unacknowledged.get(task)
            result = None if held is None else held.result
            if result is not None and client.client != self._own_client and result.status == Status.RETRY:
                return result
        return None

    def value_of(self, held: Held, now: float) -> Result | None:
        """Return the value that another task with the key of this one has had here, if it is kept and fits."""
        known = self.result(held.task, now)
        readable = (held.serializer, CHUNK_SERIALIZER)
        fits = known is not None and known.status == Status.OK and known.serializer in readable
        return known if fits else None

    def left_behind(self, stranded: AbstractSet[bytes], now: float) -> tuple[int, float]:
        """Return how many of these detached tasks have no client here, and the seconds until the last starts."""
        there = [client for client in self._others() if is_there(client, now)]
        helds = {
            held.task: held
            for client in self._others()
            for held in (client.held.values() if client.entrusted and not is_there(client, now) else ())
            if held.state is HeldState.ENTRUSTED and held.task in stranded
        }
        for client in there:
            for task in client.held.keys() & helds.keys():
                del helds[task]
        starts = [held.terms.start_at for held in helds.values() if held.terms is not None]
        return len(helds), max([now, *starts]) - now

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
            reason, held.priority, held.state is HeldState.ENTRUSTED and self.is_elsewhere(held.task),
        )  # fmt: skip

    def _waits_at_own(self, held: Held) -> bool:
        """Whether our own owner has a detached task, and no node."""
        own = self._clients.get(self._own_client)
        is_here = own is not None and _is_unfinished(own.held.get(held.task))
        return not (is_here or self.is_elsewhere(held.task))

    def _others(self) -> Iterator[ClientAccount]:
        return (client for client in self._clients.values() if client.client != self._own_client)

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
