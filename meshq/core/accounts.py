"""What an owner knows of each node: what it offers, what it may be sent, and what it has."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection
from enum import Enum
from math import inf
from typing import NamedTuple

from meshq.core.budget import SMALL_BYTES, large_size
from meshq.core.owned import OwnedTask
from meshq.core.pace import window
from meshq.core.schedule import is_delayed
from meshq.protocol.payload import payload_size

# A node that answered "full" is left alone this long: enough for a slot to come free, short for a person.
FULL_PAUSE_S = 0.1
MAX_PAUSE_S = 3.2
"""Its pause for detached tasks doubles up to this as long as it goes on refusing them."""
PARKED_PAUSE_S = 1.0
"""How long a node that may park no more gets no delayed tasks, or none of the function that it limits."""
ASKING_BYTES = 4 * 1024 * 1024
"""Attempts beyond credit on their way to a node: what is sent in vain at most when it has no room for them."""
ASKING_EACH = 8 * 1024
"""One with no arguments counts as well: some 500 may be on their way."""


_NO_HOP = 1e-6
"""How much less busy another node must be, so that a task goes there."""


class Bond(Enum):
    """What a node is to an owner."""

    NONE = "none"
    HOME = "home"
    """The owner is that node's own."""
    PEER = "peer"
    """The owner is another node's."""


class NodeJoined(NamedTuple):
    """Event: a node has answered HELLO, or answered it anew with other contents."""

    node: bytes
    incarnation: int
    name: str
    slots: int
    functions: Collection[str]
    serializers: Collection[str]
    tags: Collection[str]
    draining: bool = False
    once: Collection[str] = ()
    """Those of the functions that are declared, there, to run at most once."""
    bond: Bond = Bond.NONE


class NodeAccount:
    """One node, as its owner's books have it."""

    def __init__(self, joined: NodeJoined) -> None:
        self.node = joined.node
        self.used = 0
        """Attempts that count against the credit: all in flight but the detached and the parked."""
        self.used_of: defaultdict[str, int] = defaultdict(int)
        """The same, by function; it is the owner's own calls that make it grow."""
        self.used_bytes = 0
        """What the arguments of these take up, small ones left out."""
        self.parked = 0
        """Attempts that the node has set aside, or will when they get there."""
        self.asking = 0
        """The bytes of attempts beyond its credit, detached or delayed, that it has not answered."""
        self.refusals = 0
        """How often in a row it had no room for one of those: while it is above 0, they go one at a time."""
        self.in_flight: dict[bytes, OwnedTask] = {}
        self.moved: dict[bytes, int] = {}
        """Attempts re-sent elsewhere while the node was away: withdrawn when it comes back."""
        self.full_until = -inf
        self.paused_until: dict[str, float] = {}
        """Functions that get no more parked there for now; they are the owner's own."""
        self.delayed_until = -inf
        """Until when no delayed tasks go there."""
        self.detached_until = -inf
        """Until when no detached ones do."""
        self.ended_at = -inf
        """When it last sent results."""
        self.lost_at: float | None = None
        self.drains_since: float | None = None
        """When it was first seen to take nothing new, while it does."""
        self.suspect = False
        self.update(joined)

    def update(self, joined: NodeJoined) -> None:
        """Take over what a new HELLO-ACK says."""
        self.incarnation = joined.incarnation
        self.name = joined.name
        self.is_home, self.is_peer = joined.bond is Bond.HOME, joined.bond is Bond.PEER
        self.slots = max(1, joined.slots)
        self.functions = set(joined.functions)
        self.once = frozenset(joined.once)
        self.serializers = set(joined.serializers)
        self.tags = frozenset(joined.tags)
        self.draining = joined.draining
        if not joined.draining:
            self.drains_since = None
        self.cap = 2 * self.slots
        self.cap_bytes = 0
        self.sequence = -1
        self.others = 0
        self.suspect = False
        self.lost_at = None

    @property
    def usable(self) -> bool:
        """Whether new work may be sent there."""
        return not (self.suspect or self.draining or self.lost_at is not None)

    def can_run(self, work: WaitingQueue | OwnedTask) -> bool:
        """Whether the node offers what a task, or the tasks of a queue, need."""
        return work.function in self.functions and work.serializer in self.serializers and work.tags <= self.tags

    def room(self, function: str, mean_s: float | None) -> int:
        """Return how many more attempts of a function with this mean may go there.

        A peer whose slots are busy for others gets nothing, as nothing is gained by a swap.
        """
        if self.is_peer and self.others >= self.slots:
            return 0
        room, wanted = self.cap - self.used, window(self.slots, mean_s) - self.used_of[function]
        return room if room < wanted else wanted

    def load(self) -> float:
        """Return the unfinished attempts there per slot: the lower, the sooner it gets to a new one.

        Of the node whose own owner this is, what is parked does not count, and less than nothing while it has a
        free slot; with its slots taken it is still preferred to another one that is no less busy.
        """
        if not self.is_home:
            return (len(self.in_flight) + self.others) / self.slots
        waiting = len(self.in_flight) - self.parked + self.others
        return -1.0 if waiting < self.slots else waiting / self.slots - _NO_HOP

    def put(self, task: OwnedTask) -> None:
        """Book a task as in flight there; one that is ``parked`` takes no credit."""
        self.in_flight[task.id] = task
        if task.parked:
            self.parked += 1
            self.asking += weight_of(task)
        elif task.detached:
            self.asking += weight_of(task)
        else:
            self.used += 1
            self.used_of[task.function] += 1
            payload = task.payload
            if type(payload) is not bytes or len(payload) > SMALL_BYTES:
                self.used_bytes += large_size(payload)

    def put_run(self, tasks: list[OwnedTask]) -> None:
        """Book tasks of one function as in flight there; all take credit, and their arguments are small."""
        in_flight = self.in_flight
        for task in tasks:
            in_flight[task.id] = task
        self.used += len(tasks)
        self.used_of[tasks[0].function] += len(tasks)

    def take(self, task: OwnedTask) -> None:
        """Book a task as no longer there."""
        del self.in_flight[task.id]
        if not (task.parked or task.detached):
            self.used -= 1
            self.used_of[task.function] -= 1
            if self.used_bytes:
                self.used_bytes -= large_size(task.payload)
            return
        if not task.accepted:
            self.asking -= weight_of(task)
        if task.parked:
            self._leave_parking(task)

    def let_go(self, task: OwnedTask) -> None:
        """Take a task back from the node, to be sent out anew."""
        self.take(task)
        task.node = None
        task.accepted = task.recalled = False

    def accept(self, task: OwnedTask) -> None:
        """Take the node's word that it has an attempt."""
        if not task.accepted:
            task.accepted = True
            if task.parked or task.detached:
                self.asking -= weight_of(task)
                self.refusals = 0

    def may_ask(self, task: OwnedTask) -> bool:
        """Whether a task may go there beyond credit: as many at a time as the node answers."""
        return not self.asking or (not self.refusals and self.asking + weight_of(task) <= ASKING_BYTES)

    def park(self, task: OwnedTask) -> None:
        """Take the node's word that it has set an accepted attempt aside, which frees its credit."""
        if not (task.parked or task.detached):
            task.parked = True
            self.parked += 1
            self.used -= 1
            self.used_of[task.function] -= 1
            self.used_bytes -= large_size(task.payload)

    def unpark(self, task: OwnedTask) -> None:
        """Book an attempt that was parked as one that waits for a slot, or runs."""
        self._leave_parking(task)
        self.used += 1
        self.used_of[task.function] += 1
        self.used_bytes += large_size(task.payload)

    def has_room_for(self, task: OwnedTask) -> bool:
        """Whether the node takes the arguments of one more attempt; of the first, whatever their size."""
        size = large_size(task.payload) if self.cap_bytes and self.used_bytes else 0
        return not size or self.used_bytes + size <= self.cap_bytes

    def _leave_parking(self, task: OwnedTask) -> None:
        task.parked = False
        self.parked -= 1

    def refuse(self, task: OwnedTask, now: float) -> None:
        """Take the node's word that it is full: it gets nothing for a while, or no detached tasks for longer."""
        if not task.detached:
            self.full_until = now + FULL_PAUSE_S
        elif now >= self.detached_until:  # the others of the same moment say nothing new
            self.detached_until = now + min(FULL_PAUSE_S * 2**self.refusals, MAX_PAUSE_S)
            self.refusals += 1

    def pause(self, task: OwnedTask, now: float) -> None:
        """Take the node's word that it has no room to park a task: neither this one nor its like."""
        if is_delayed(task, now):
            self.delayed_until = now + PARKED_PAUSE_S
            self.refusals += 1
        else:
            self.paused_until[task.function] = now + PARKED_PAUSE_S

    def is_paused(self, function: str, now: float) -> bool:
        """Whether a function's tasks are kept from the node for now."""
        until = self.paused_until.get(function)
        if until is not None and until <= now:
            del self.paused_until[function]
        return until is not None and until > now


def weight_of(task: OwnedTask) -> int:
    """Return what a task counts while a node has not answered whether it has room for it, in bytes."""
    return payload_size(task.payload) + ASKING_EACH


Kind = tuple[str, str, frozenset[str], bool, int]
"""What tasks must have in common for the choice of a node: function, serializer, tags, detached, priority."""


class WaitingQueue:
    """The owner's tasks that wait for a node, alike in all that counts for the choice of one."""

    __slots__ = ("detached", "function", "hoped_at", "key", "priority", "serializer", "tags", "tasks")

    def __init__(self, key: Kind, now: float) -> None:
        self.key = key
        self.function, self.serializer, self.tags, self.detached, self.priority = key
        self.tasks: deque[OwnedTask] = deque()
        self.hoped_at = now
        """When there was last reason to hope for a node; at first, when the queue was made."""

    def take_small(self, count: int) -> list[OwnedTask]:
        """Take out up to ``count`` tasks from the head on, as far as their arguments are small."""
        waiting = self.tasks
        taken: list[OwnedTask] = []
        while waiting and len(taken) < count:
            task = waiting.popleft()
            if task.node is None:
                payload = task.payload
                if type(payload) is not bytes or len(payload) > SMALL_BYTES:
                    waiting.appendleft(task)
                    break
                taken.append(task)
        return taken

    def head(self) -> OwnedTask | None:
        """Return the next task that still waits; those withdrawn meanwhile are dropped on the way."""
        tasks = self.tasks
        while tasks:
            if tasks[0].node is None:
                return tasks[0]
            tasks.popleft()
        return None
