"""Which queued attempt goes to which slot: the clients in turn, idle slots first, short runs a little ahead.

Each client's attempts go by priority, 9 first, and in order within one. That is a client's own affair: its turns
come as often as those of others, whatever priorities it uses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import inf

from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import RecallRuns, StartRuns
from meshq.core.pace import Means
from meshq.core.slots import LONG_RUN_S, Slot, Slots, at_hand
from meshq.core.terms import DEFAULT_PRIORITY, Terms
from meshq.core.timers import Timers
from meshq.core.work import Run, WorkerGone

_RUNNING = HeldState.RUNNING  # looked up once: a member of an enum takes 60 ns to find
_new = tuple.__new__  # what Run(…) calls, which takes 100 ns more
WAY_S = 0.001
"""What the way to a worker and back costs a run at most; a run that takes longer takes it by itself."""
TURN_S = 0.00025
LEAST_S = TURN_S / 64
"""A client's turn is one attempt, or as many as are expected to take so long, each of them at least the latter."""


class Dispatch:
    """The queues of a node, its slots, and the runs in the hands of its workers."""

    def __init__(self, slots: int) -> None:
        self.slots = Slots(slots)
        self.means = Means()
        self.alarms: Timers[Held] = Timers()
        """When an attempt that waits, queued or parked, is to be looked at: its time comes, or is over."""
        self._ring: deque[ClientAccount] = deque()
        """The clients that have attempts queued and are not stalled; the first has its turn."""
        self._stalled: dict[ClientAccount, None] = {}
        """Those that are passed over, in an order that does not depend on chance."""
        self._last: ClientAccount | None = None
        """The client that gave one last."""
        self.begun: list[Held] = []
        """Those given to workers just now whose client is to hear of it at once."""

    def queue(self, held: Held) -> None:
        """Put a new attempt at the end of its client's queue, behind those of its priority."""
        client = held.client
        queue = client.queue
        if not queue:
            self._join(client, held.priority)
        elif held.priority != client.priority:
            queue = client.line(held.priority)
        queue.append(held)

    def _join(self, client: ClientAccount, priority: int) -> None:
        """Let a client that had nothing queued take turns, unless it is stalled."""
        client.priority = priority
        ring = self._ring
        if client.stalled:
            return
        if len(ring) == 1 and self._goes_before(client, ring[0]):
            ring.appendleft(client)
            return
        if ring:
            client.turn_s = 0.0
        ring.append(client)

    def _goes_before(self, client: ClientAccount, other: ClientAccount) -> bool:
        """Whether one that had nothing queued is next: who was alone has had a turn, or it has not had its own.

        Its turn goes on where its queue was emptied: filled again and again, that would else never be over.
        """
        if other is not self._last:
            return False
        if other.turn_s >= TURN_S:
            client.turn_s = other.turn_s = 0.0
        return client.turn_s < TURN_S

    def queue_all(self, client: ClientAccount, helds: list[Held]) -> None:
        """Put new attempts of one client, all of the default priority, at the end of its queue, in their order."""
        queue = client.queue
        if not queue:
            self._join(client, DEFAULT_PRIORITY)
        elif client.priority != DEFAULT_PRIORITY:
            queue = client.line(DEFAULT_PRIORITY)
        queue.extend(helds)

    def queue_ahead(self, held: Held) -> None:
        """Put an attempt that was queued before at the front of its priority; its client waits for its turn."""
        self.queue(held)
        held.client.line(held.priority).rotate(1)

    def queue_first(self, helds: list[Held]) -> None:
        """Put attempts that had been given to a worker back at the front, in their order."""
        for held in reversed(helds):
            if not (held.client.queue or held.client.stalled):
                self._ring.appendleft(held.client)
            held.state = HeldState.QUEUED
            held.client.line(held.priority).appendleft(held)

    def unqueue(self, held: Held) -> None:
        """Take a queued attempt out of its queue."""
        held.client.unqueue(held)
        self._leave_if_done(held.client)
        self._no_longer_queued(held)

    def clear(self, client: ClientAccount) -> list[Held]:
        """Take all that the client has queued out, and return it."""
        return self._sift(client, lambda _: True) if client.queue else []

    def take_out(self, function: str) -> list[Held]:
        """Take all queued attempts that a function's rate limit holds for out, and return them."""
        return [
            held
            for client in [*self._ring, *self._stalled]
            for held in self._sift(client, lambda held: _is_limited_by(function, held))
        ]

    def take_chunks(self, function: str) -> list[Held]:
        """Take all queued chunks of a function that nobody has asked for out, and return them."""
        return [
            held
            for client in [*self._ring, *self._stalled]
            for held in self._sift(client, lambda held: held.function == function and held.is_split)
        ]

    def _sift(self, client: ClientAccount, is_wanted: Callable[[Held], bool]) -> list[Held]:
        helds = client.sift(is_wanted)
        self._leave_if_done(client)
        for held in helds:
            self._no_longer_queued(held)
        return helds

    def _leave_if_done(self, client: ClientAccount) -> None:
        """Let a client whose last queued attempt was taken out take no more turns."""
        if not (client.queue or client.stalled):
            self._ring.remove(client)

    def pause(self, client: ClientAccount) -> None:
        """Start nothing more of a client; it is passed over, at no cost to the others."""
        client.stalled = True
        self._stalled[client] = None
        if client.queue:
            self._ring.remove(client)

    def resume(self, client: ClientAccount) -> None:
        """Let a client that was passed over take turns again."""
        client.stalled = False
        self._stalled.pop(client, None)
        if client.queue:
            client.turn_s = 0.0
            self._ring.append(client)

    def _no_longer_queued(self, held: Held) -> None:
        if held.terms is not None:
            self.alarms.cancel(held)
            if held.terms.bucket is not None:
                held.terms.bucket.free(held)

    def find(self, run: int) -> Held | None:
        """Return the attempt of a run that a worker has."""
        return next((slot.runs[run] for slot in self.slots if run in slot.runs), None)

    def handed_out(self, function: str) -> Iterator[Held]:
        """Yield what workers have of a function, in the order in which they were given it."""
        helds = (held for slot in self.slots for held in slot.runs.values() if held.function == function)
        return iter(sorted(helds, key=lambda held: held.run))

    def running(self) -> int:
        """Return how many attempts are in the hands of workers."""
        return sum(len(slot.runs) for slot in self.slots)

    def fill(self, now: float) -> list[StartRuns | RecallRuns]:
        """Give the slots what they have room for; call back what is at hand elsewhere for those that are free.

        What is at hand goes strictly in turn: a client whose next attempt may not be at hand waits for a slot that
        is free, and there would never be one if others were given their next ones meanwhile.
        """
        starts: list[StartRuns | RecallRuns] = []
        if self._ring:
            starts = self._start_queued(now)
        if self.slots.at_hand and not self._ring:
            starts += self._recall_at_hand()
        return starts

    def _start_queued(self, now: float) -> list[StartRuns | RecallRuns]:
        ring = self._ring
        heap, place, mean_of = self.slots.heap(now), self.slots.place, self.means.get
        starts: list[StartRuns | RecallRuns] = []
        batches: dict[int, list[Run]] = {}
        last_function = mean_of_last = None
        blocked, in_turn = 0, False
        while heap and blocked < len(ring):
            client = ring[0]
            queue = client.queue
            held = queue[0]
            terms, function = held.terms, held.function
            if function is not last_function:  # as a rule it is the same one again
                last_function, mean_of_last = function, mean_of(function)
            mean_s = mean_of_last if terms is None or not terms.goes_alone else None
            slot = place(held, mean_s, heap, now, in_turn)
            if slot is None:
                if in_turn:
                    break
                ring.rotate(-1)
                blocked += 1
                if blocked == len(ring):
                    blocked, in_turn = 0, True
                continue
            blocked = 0
            queue.popleft()
            turn_s = TURN_S if mean_s is None else mean_s
            client.turn_s += turn_s if turn_s > LEAST_S else LEAST_S
            if not (queue or client.lower):
                ring.popleft()
            elif not queue or (client.turn_s >= TURN_S and len(ring) > 1):
                self._take_turn(client)
            self._last = client
            if terms is not None:
                self._start(held, terms, now)
            held.state = _RUNNING
            batch = batches.get(slot.number)
            if batch is None:
                batch = batches[slot.number] = []
                starts.append(_new(StartRuns, (slot.number, batch)))
            row = held.run, held.task, held.attempt, function, held.serializer, held.payload, held.options
            batch.append(_new(Run, row))
        return starts

    def _start(self, held: Held, terms: Terms, now: float) -> None:
        """What has started does not expire, has spent its token, and is told of where it must not run twice."""
        self.alarms.cancel(held)
        if terms.bucket is not None:
            terms.bucket.spend(held, now)
        if terms.once:
            held.reported = True
            self.begun.append(held)

    def _take_turn(self, client: ClientAccount) -> None:
        """Go on with what else a client has queued, or let the next client have its turn."""
        client.close_ranks()
        if client.turn_s >= TURN_S:
            client.turn_s = 0.0
            self._ring.rotate(-1)

    def share_s(self, slot_number: int, count: int, now: float) -> float:
        """Return how long each of the ``count`` runs just finished has taken its slot, all in all.

        For short runs that is mostly the way to the worker and back. What goes ahead by their own time alone
        would queue up here for many times the 10 ms that it is meant to last.
        """
        slot = self.slots.all[slot_number]
        if not (slot.runs and count):
            return 0.0
        share_s = (now - slot.head_since) / count
        return share_s if share_s < WAY_S else WAY_S

    def release(self, run: int, now: float) -> Held | None:
        """Take a run off its slot, given back; None where it is not known."""
        held = self.find(run)
        if held is not None:
            self.slots.release(held, now)
        return held

    def vacate(self, slot_number: int) -> list[Held]:
        """Take all runs off a slot whose worker is gone, in the order of their start."""
        slot = self.slots.all[slot_number]
        helds = list(slot.runs.values())
        slot.runs.clear()
        self.slots.long.discard(slot_number)
        slot.load_s = 0.0
        slot.ready = False
        return helds

    def close(self, slot: Slot) -> Iterator[RecallRuns]:
        """Give a slot nothing more, and yield the recall of what waits behind its run."""
        slot.ready = False
        yield from _recall(slot, lambda _: True)

    def _recall_at_hand(self) -> Iterator[RecallRuns]:
        """Yield the recall of as many runs at hand as slots are free, those first that would wait longest."""
        free = sum(slot.ready and not slot.runs for slot in self.slots)
        if not free:
            return
        waiting = [(slot, held) for slot in self.slots if (held := at_hand(slot))]
        self.slots.at_hand = bool(waiting)
        here = [entry for entry in waiting if entry[1].intent is Intent.NONE]
        here.sort(key=lambda entry: entry[0].head_since + entry[0].load_s, reverse=True)
        for slot, held in here[: max(0, free - (len(waiting) - len(here)))]:
            held.intent = Intent.REBALANCE
            yield RecallRuns(slot.number, [held.run])

    def recall_behind(self, now: float) -> Iterator[RecallRuns]:
        """Yield the recall of each run that waits behind one that takes too long, for a slot that is free."""
        for slot in self.slots:
            if now >= slot.recall_at():
                slot.called_back = next(iter(slot.runs))
                yield from _recall(slot, lambda _: True)

    def recall_ahead(self, function: str) -> Iterator[RecallRuns]:
        """Yield the recall of each run ahead at a worker that a function's rate limit holds for."""
        for slot in self.slots:
            yield from _recall(slot, lambda held: _is_limited_by(function, held))

    def newly_long(self, now: float) -> Iterator[tuple[Held, float]]:
        """Note which slots are at long runs; yield those to be told of, with the seconds since each began."""
        for slot in self.slots:
            head = slot.head()
            if head is None or not slot.is_long(now):
                continue
            self.slots.long.add(slot.number)
            if not head.reported:
                head.reported = True
                yield head, now - slot.head_since

    def next_deadline(self) -> float | None:
        """Return when a run will have become long. From then on nothing is put behind it, so once is enough."""
        long, due = self.slots.long, inf
        for slot in self.slots.all.values():
            if not slot.runs:
                continue
            at = slot.head_since + LONG_RUN_S
            if slot.number in long and (head := slot.head()) is not None and head.reported:
                at = slot.recall_at()
            if at < due:
                due = at
        return None if due == inf else due


def _recall(slot: Slot, is_wanted: Callable[[Held], bool]) -> Iterator[RecallRuns]:
    """Yield the recall of those wanted of the runs behind the slot's first, but for those called back already."""
    behind = [held for held in list(slot.runs.values())[1:] if held.intent is Intent.NONE and is_wanted(held)]
    for held in behind:
        held.intent = Intent.REBALANCE
    if behind:
        yield RecallRuns(slot.number, [held.run for held in behind])


def _is_limited_by(function: str, held: Held) -> bool:
    """Whether a function's rate limit holds for the attempt, and not one that the call has brought."""
    return held.function == function and (held.terms is None or held.terms.rate is None)


def is_to_blame(run: int, signalled: int, event: WorkerGone) -> bool:
    """Whether a run answers for the death of its worker.

    Not where that was planned, nor where it was meant to end another run, which had ended by itself just before.
    """
    return run == signalled or not (signalled or event.retired)
