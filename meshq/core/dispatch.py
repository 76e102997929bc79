"""Which queued attempt goes to which slot: the clients in turn, idle slots first, short runs a little ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import RecallRuns, StartRuns
from meshq.core.pace import Means
from meshq.core.slots import LONG_RUN_S, Slots
from meshq.core.work import Run

WAY_S = 0.001
"""What the way to a worker and back costs a run at most; a run that takes longer takes it by itself."""


class Dispatch:
    """The queues of a node, its slots, and the runs in the hands of its workers."""

    def __init__(self, slots: int) -> None:
        self.slots = Slots(slots)
        self.means = Means()
        self._ring: deque[ClientAccount] = deque()
        """The clients that have attempts queued; each gives one in turn."""
        self._last: ClientAccount | None = None
        """The client that gave one last."""
        self._runs: dict[int, Held] = {}

    def queue(self, held: Held) -> None:
        """Put a new attempt at the end of its client's queue."""
        client = held.client
        if not client.queue:
            if len(self._ring) == 1 and self._ring[0] is self._last:
                self._ring.appendleft(client)  # the other has just had its turn
            else:
                self._ring.append(client)
        client.queue.append(held)

    def queue_first(self, helds: list[Held]) -> None:
        """Put attempts that had been given to a worker back at the front, in their order."""
        for held in reversed(helds):
            if not held.client.queue:
                self._ring.appendleft(held.client)
            held.state = HeldState.QUEUED
            held.client.queue.appendleft(held)

    def unqueue(self, held: Held) -> None:
        """Take a queued attempt out of its queue."""
        held.client.queue.remove(held)
        if not held.client.queue:
            self._ring.remove(held.client)

    def clear(self, client: ClientAccount) -> list[Held]:
        """Take all that the client has queued out, and return it."""
        helds = list(client.queue)
        if helds:
            client.queue.clear()
            self._ring.remove(client)
        return helds

    def find(self, run: int) -> Held | None:
        """Return the attempt of a run that a worker has."""
        return self._runs.get(run)

    def running(self) -> int:
        """Return how many attempts are in the hands of workers."""
        return len(self._runs)

    def fill(self, now: float) -> list[StartRuns]:
        """Give the slots what they have room for."""
        if not self._ring:
            return []
        ring, heap = self._ring, self.slots.heap(now)
        batches: dict[int, list[Run]] = {}
        blocked = 0
        while heap and blocked < len(ring):
            client = ring[0]
            held = client.queue[0]
            slot = self.slots.place(held, self.means.get(held.function), heap, now)
            if slot is None:
                blocked += 1
                ring.rotate(-1)
                continue
            blocked = 0
            client.queue.popleft()
            self._take_turn(client)
            held.state = HeldState.RUNNING
            self._runs[held.run] = held
            batches.setdefault(slot.number, []).append(_run(held))
        return [StartRuns(number, runs) for number, runs in batches.items()]

    def _take_turn(self, client: ClientAccount) -> None:
        self._last = client
        if not client.queue:
            self._ring.popleft()
        else:
            self._ring.rotate(-1)

    def share_s(self, slot_number: int, count: int, now: float) -> float:
        """Return how long each of the ``count`` runs just finished has taken its slot, all in all.

        For short runs that is mostly the way to the worker and back. What goes ahead by their own time alone
        would queue up here for many times the 10 ms that it is meant to last.
        """
        slot = self.slots.all[slot_number]
        return min((now - slot.head_since) / count, WAY_S) if slot.runs and count else 0.0

    def release(self, run: int, now: float) -> Held | None:
        """Take a run off its slot, finished or given back; None where it is not known."""
        held = self._runs.pop(run, None)
        if held is not None:
            self.slots.release(self.slots.all[held.slot], held, now)
        return held

    def vacate(self, slot_number: int) -> list[Held]:
        """Take all runs off a slot whose worker is gone, in the order of their start."""
        slot = self.slots.all[slot_number]
        helds = list(slot.runs.values())
        for held in helds:
            del self._runs[held.run]
        slot.runs.clear()
        slot.load_s = 0.0
        slot.ready = False
        return helds

    def recall_behind(self, now: float) -> Iterator[RecallRuns]:
        """Yield the recall of each run that waits behind a long one; they go to a slot that is free."""
        for slot in self.slots:
            if len(slot.runs) > 1 and slot.is_long(now):
                behind = [held for held in list(slot.runs.values())[1:] if held.intent is Intent.NONE]
                for held in behind:
                    held.intent = Intent.REBALANCE
                if behind:
                    yield RecallRuns(slot.number, [held.run for held in behind])

    def newly_long(self, now: float) -> Iterator[tuple[Held, float]]:
        """Yield each attempt whose client should hear that it runs, with the seconds since it began."""
        for slot in self.slots:
            head = slot.head()
            if head is not None and not head.reported and slot.is_long(now):
                head.reported = True
                yield head, now - slot.head_since

    def next_deadline(self) -> float | None:
        """Return when a run will have become long. From then on nothing is put behind it, so once is enough."""
        if not self._runs:
            return None
        since = [slot.head_since for slot in self.slots if (head := slot.head()) and not head.reported]
        return min(since) + LONG_RUN_S if since else None


def _run(held: Held) -> Run:
    return Run(held.run, held.task, held.attempt, held.function, held.serializer, held.payload, held.options)
