"""What an owner knows of each node: what it offers, what it may be sent, and what it has."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection
from typing import NamedTuple

from meshq.core.owned import OwnedTask
from meshq.core.pace import window

# A node that answered "full" is left alone this long: enough for a slot to come free, short for a person.
FULL_PAUSE_S = 0.1


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


class NodeAccount:
    """One node, as its owner's books have it."""

    def __init__(self, joined: NodeJoined) -> None:
        self.node = joined.node
        self.used = 0
        """Attempts that count against the credit: all in flight but the detached."""
        self.used_of: defaultdict[str, int] = defaultdict(int)
        """The same, by function; it is the owner's own calls that make it grow."""
        self.in_flight: dict[bytes, OwnedTask] = {}
        self.moved: dict[bytes, int] = {}
        """Attempts re-sent elsewhere while the node was away: withdrawn when it comes back."""
        self.full_until = 0.0
        self.lost_at: float | None = None
        self.suspect = False
        self.update(joined)

    def update(self, joined: NodeJoined) -> None:
        """Take over what a new HELLO-ACK says."""
        self.incarnation = joined.incarnation
        self.name = joined.name
        self.slots = max(1, joined.slots)
        self.functions = set(joined.functions)
        self.serializers = set(joined.serializers)
        self.tags = frozenset(joined.tags)
        self.draining = joined.draining
        self.cap = 2 * self.slots
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
        """Return how many more attempts of a function with this mean may go there."""
        return min(self.cap - self.used, window(self.slots, mean_s) - self.used_of[function])

    def load(self) -> float:
        """Return the unfinished attempts there per slot: the lower, the sooner it gets to a new one."""
        return (len(self.in_flight) + self.others) / self.slots

    def put(self, task: OwnedTask) -> None:
        """Book a task as in flight there."""
        self.in_flight[task.id] = task
        if not task.detached:
            self.used += 1
            self.used_of[task.function] += 1

    def take(self, task: OwnedTask) -> None:
        """Book a task as no longer there."""
        del self.in_flight[task.id]
        if not task.detached:
            self.used -= 1
            self.used_of[task.function] -= 1


class WaitingQueue:
    """The owner's tasks that wait for a node, of one function, serializer and set of tags, detached or not."""

    def __init__(self, function: str, serializer: str, tags: frozenset[str], detached: bool, now: float) -> None:
        self.function = function
        self.serializer = serializer
        self.tags = tags
        self.detached = detached
        self.tasks: deque[OwnedTask] = deque()
        self.hoped_at = now
        """When there was last reason to hope for a node; at first, when the queue was made."""

    def head(self) -> OwnedTask | None:
        """Return the next task that still waits; those withdrawn meanwhile are dropped on the way."""
        tasks = self.tasks
        while tasks:
            if tasks[0].node is None:
                return tasks[0]
            tasks.popleft()
        return None
