"""An attempt as a node holds it, and the client that it is held for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from math import inf
from typing import Any

from meshq.core.telling import Telling
from meshq.core.terms import DEFAULT_PRIORITY, Terms, known_options, read_terms
from meshq.protocol.chunks import SPLIT
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import Payload, payload_size

SILENT_S = 5.0
"""A client not heard for this long is sent nothing again until it is."""
NODE = "node"
"""The role of a client that is a node: the owner of the tasks that are entrusted to it."""


class HeldState(IntEnum):
    """Where a held attempt is."""

    QUEUED = 0
    RUNNING = 1
    """In the hands of a worker: running, or a moment ahead of it."""
    ENTRUSTED = 2
    """Detached: this node's own owner has taken it over."""
    DONE = 3
    """Finished; the result is kept until the client has acknowledged it."""
    PARKED = 4
    """Waits for its time, or for its function's rate limit."""


class Intent(IntEnum):
    """Why a run is being called back from a worker."""

    NONE = 0
    REBALANCE = 1
    WITHDRAW = 2
    REVOKE = 3
    TIME_LIMIT = 4
    """Not called back: its worker is being killed, as it has run for too long."""
    CUT = 5
    """Nor this: its worker is being killed, as the node is to end."""
    HAND_BACK = 6
    """Of an entrusted task: its client is to have it again."""
    HAND_OVER = 7
    """Of an entrusted task: a peer is to own it."""


# Looked up once, for what each task passes: a member of an enum takes 60 ns to find.
_QUEUED, _NO_INTENT = HeldState.QUEUED, Intent.NONE

GOES_ON = frozenset({int(Status.WORKER_LOST), int(Status.RETRY)})
"""A result of these is not the end of its task, but for its owner to say so."""


class Held:
    """One attempt, from its acceptance until its result is acknowledged."""

    __slots__ = (
        "attempt",
        "booked",
        "client",
        "detached",
        "expected_s",
        "function",
        "intent",
        "options",
        "payload",
        "priority",
        "reported",
        "result",
        "run",
        "sent_at",
        "serializer",
        "size",
        "slot",
        "state",
        "task",
        "terms",
        "tries",
    )

    def __init__(
        self,
        client: ClientAccount,
        task: bytes,
        attempt: int,
        function: str,
        serializer: str,
        payload: Payload,
        detached: bool,
        options: dict[str, Any] | None,
    ) -> None:
        self.client = client
        self.task = task
        self.attempt = attempt
        self.function = function
        self.serializer = serializer
        self.payload = payload
        self.detached = detached
        self.options = options
        self.priority = DEFAULT_PRIORITY
        self.terms: Terms | None = None
        """What is asked of the node beyond running it; None where that is nothing, as mostly."""
        if options is not None:
            self._read(options)
        self.state = _QUEUED
        self.intent = _NO_INTENT
        self.run = 0
        self.slot = 0
        self.expected_s = 0.0
        self.reported = False
        """Whether the client was told, since it last asked, that it has started."""
        self.result: Result | None = None
        self.sent_at = 0.0
        self.tries = 0
        self.size = payload_size(payload) if detached else 0
        self.booked = 0
        """The bytes that stand in the node's budget: above 0 its arguments', below 0 its result's."""

    def _read(self, options: dict[str, Any]) -> None:
        self.options = options = known_options(options)
        self.terms = terms = read_terms(options)
        if terms is not None and terms.priority is not None:
            self.priority = terms.priority

    @property
    def is_split(self) -> bool:
        """Whether it is a chunk that nobody has asked for: its calls may have to go as tasks of their own."""
        return self.options is not None and self.options.get("chunk") == SPLIT

    def is_followed_by(self, attempt: int) -> bool:
        """Whether an attempt is to be another run: this one's worker died, or it has asked for another try.

        Its result is not that attempt's, or one death, one failure, would count twice.
        """
        return self.result is not None and self.result.status in GOES_ON and attempt > self.attempt

    def renumber(self, attempt: int) -> None:
        """Go on under a later number; whoever wanted the earlier attempt back wants this one."""
        if attempt > self.attempt:
            self.attempt = attempt
            if self.result is not None:
                self.result = self.result._replace(attempt=attempt)
            if self.intent is Intent.WITHDRAW:
                self.intent = Intent.REBALANCE


class ClientAccount:
    """One client, as a node's books have it."""

    def __init__(self, client: bytes, now: float) -> None:
        self.client = client
        self.role = "client"
        self.label = ""
        """Its role, and its name for people, as it greeted last."""
        self.telling = Telling()
        """Of all revoked ids, where it is a peer."""
        self.queue: deque[Held] = deque()
        """What is queued of the highest priority that is there."""
        self.priority = DEFAULT_PRIORITY
        """That of ``queue``."""
        self.lower: dict[int, deque[Held]] = {}
        """What is queued of each lower priority; never an empty line, and none where ``queue`` is empty."""
        self.held: dict[bytes, Held] = {}
        self.unacknowledged: dict[bytes, Held] = {}
        """Those of ``held`` that are DONE, in the order of their ending."""
        self.lapsed: list[tuple[bytes, int]] = []
        """Tasks dropped from the queue, with the attempt, which the client is yet to be told."""
        self.entrusted = 0
        """How many of ``held`` are ENTRUSTED."""
        self.parked = self.parked_bytes = 0
        """How many of ``held`` are PARKED, and what their arguments take up."""
        self.arguments = self.results = 0
        """What stands in the node's budget for it, in bytes."""
        self.stalled = False
        """Whether nothing more of it is started, as it leaves too many bytes of results unacknowledged."""
        self.mean_s: float | None = None
        """Moving average of the seconds that this client's runs take."""
        self.turn_s = 0.0
        """What its attempts that were started in its turn are expected to take."""
        self.sequence = 0
        self.cap = self.cap_bytes = 0
        self.others = 0
        self.surveyed = 0
        """``to_run`` when the work of all clients was last counted."""
        self.connected = True
        self.leaving = False
        self.heard_at = now
        self.answered_at = -inf
        """When it was last given a sign of life that it had not asked for."""
        self.asked_at = now
        """When somebody last asked for one of its tasks."""
        self.ended_at = now
        """When an attempt last came to its end."""

    @property
    def unfinished(self) -> int:
        """How many attempts of this client are not done."""
        return len(self.held) - len(self.unacknowledged)

    @property
    def to_run(self) -> int:
        """How many of them this node itself is to run, or runs, as soon as it can."""
        return self.unfinished - self.entrusted - self.parked

    # ------------------------------------------------------------------ the lines of its queue, by priority

    def line(self, priority: int) -> deque[Held]:
        """Return the line of a priority, for an attempt to be put there; it is ``queue`` if none is higher."""
        if not self.queue:
            self.priority = priority
        elif priority < self.priority:
            return self.lower.setdefault(priority, deque())
        elif priority > self.priority:
            self.lower[self.priority] = self.queue
            self.queue, self.priority = deque(), priority
        return self.queue

    def close_ranks(self) -> None:
        """Let the next line be ``queue``, where that has become empty."""
        if self.lower and not self.queue:
            self.priority = max(self.lower)
            self.queue = self.lower.pop(self.priority)

    def queued(self) -> Iterator[Held]:
        """Yield what is queued, in the order in which it is to start."""
        yield from self.queue
        for priority in sorted(self.lower, reverse=True):
            yield from self.lower[priority]

    def queued_count(self) -> int:
        """Return how many attempts are queued."""
        return len(self.queue) + sum(map(len, self.lower.values()))

    def unqueue(self, held: Held) -> None:
        """Take a queued attempt out."""
        line = self.line(held.priority)
        line.remove(held)
        if not line:
            self.lower.pop(held.priority, None)
            self.close_ranks()

    def sift(self, is_wanted: Callable[[Held], bool]) -> list[Held]:
        """Take those that are wanted out of the queue, and return them."""
        helds = list(self.queued())
        wanted: list[Held] = []
        self.queue.clear()
        self.lower.clear()
        for held in helds:
            (wanted if is_wanted(held) else self.line(held.priority)).append(held)
        return wanted


def is_silent(client: ClientAccount, now: float) -> bool:
    """Whether the client was not heard for so long that nothing is sent to it again, nor waited for."""
    return now >= client.heard_at + SILENT_S


def is_there(client: ClientAccount, now: float) -> bool:
    """Whether the client is connected, stays, and was heard just now."""
    return client.connected and not client.leaving and not is_silent(client, now)


def last_wanted_at(client: ClientAccount) -> float:
    """Return when the client, or somebody who asks for its tasks, was last heard: its lease counts from then."""
    return max(client.heard_at, client.asked_at)
