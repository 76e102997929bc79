"""The client's shell: the session's effects carried out with real sockets, on whichever loop it is given.

It owns no thread. A mesh turns it in a thread of its own; whoever turns the loop calls ``step`` after each turn.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import zmq

from meshq.client.collecting import BATCH, collect_young
from meshq.core.hints import MayFollow
from meshq.core.membership import (
    Absent,
    Candidate,
    CandidateGone,
    CandidateSeen,
    Dial,
    Greet,
    Hangup,
    Membership,
    MembershipSettings,
    NodeView,
    Problem,
)
from meshq.core.owned import Outcome, OwnedTask
from meshq.core.owner import (
    Leaving,
    Owner,
    OwnerEvent,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.presence import LINK_EVENTS
from meshq.core.session import Goodbye, NodesChanged, SendLink, Session, SessionEffect
from meshq.core.timers import earliest
from meshq.ids import format_id
from meshq.protocol.messages import Hello, HelloAck, Message, Rack, Relay, Result
from meshq.protocol.payload import payload_size
from meshq.transport.keys import MeshKey, fingerprint
from meshq.transport.links import Links
from meshq.transport.loop import Loop
from meshq.workers.memory import expect_large_blocks

log = logging.getLogger("meshq.client")
_new = tuple.__new__

PATIENCE_S = 0.05
"""How long acknowledgements wait until many can go with something else: a tenth of what nodes wait for them.

A message of their own would wake the node for nothing, just when the next task is on its way to it.
"""

HURRY_BYTES = 256 * 1024
"""Results from this size on are acknowledged at once: until then they take up the node's room for results, and
with that used up it starts nothing more."""

PATIENT_BYTES = 4096
"""Acknowledgements of results above this go with the next message to the node: 15 that wait would else take up its
room. With ``--hold 1MiB`` that is 128 KiB for a client, and round trips with 100 KB took 50 ms instead of 0.8."""

BURST = 512
"""With so many tasks not taken over yet, whoever submits lets the loop have its turn. Otherwise that gets Python's
lock every 5 ms, and loses it with each message that it sends or receives: nodes run out of work meanwhile."""

BURST_S = 0.005
"""How long whoever submits waits for that at most: as long as the loop would have to wait for the lock."""

ALONE_S = 0.1
"""How long a node that knows no other must have been alone to be believed: it may have just been started."""


class Listener(Protocol):
    """Who is told what becomes of tasks and nodes, in the loop's thread."""

    def on_settled(self, ended: list[tuple[OwnedTask, Outcome]]) -> None: ...
    def on_withdraw_answered(self, task_id: bytes, withdrawn: bool) -> None: ...
    def on_purge_answered(self, command: bytes, discarded: int) -> None: ...
    def on_nodes_changed(self) -> None: ...
    def on_goodbye(self, node: bytes) -> None: ...
    def on_stopped(self) -> None: ...


class Engine:
    """One client on a loop: the work lane to each node, and the machines behind it."""

    def __init__(
        self,
        loop: Loop,
        context: zmq.Context[zmq.Socket[bytes]],
        key: MeshKey | None,
        hello: Hello,
        listener: Listener,
        no_nodes_timeout: float,
        may_follow: MayFollow,
    ) -> None:
        now = time.monotonic()
        own_key = fingerprint(key) if key else ""
        membership = Membership(MembershipSettings(), random.Random(), own_key, may_follow)
        self.session = Session(membership, Owner(no_nodes_timeout, now, random.Random()))
        self._loop = loop
        self._listener = listener
        self._links = Links(
            loop, context, key, hello, self._on_messages, self._on_link_event, self._on_dealt_with, gathers=True
        )
        self._taken = 0
        """How many messages were taken since the young objects were looked at."""
        self.inbox: deque[OwnedTask] = deque()
        """The tasks that were submitted and not taken over yet; for others than this, to see how many they are."""
        self._inbox_posted = False
        self._awaiting: deque[threading.Lock] = deque()
        """One of each that waits for the loop's turn, whom it sets free by releasing it."""
        self.wait_from = BURST
        """How many tasks may wait to be taken over before whoever submits more waits for the loop."""
        self._left = False
        self._flush_at: float | None = None
        self._in_a_hurry = False
        """Whether acknowledgements go out at the end of this turn."""
        self._are_large = False
        """Whether acknowledgements of the results taken in last are not to wait for others like them."""
        self._due: float | None = None
        self._changed_at = now
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            SendLink: self._send,
            Settle: lambda effect: listener.on_settled(effect.ended),
            WithdrawAnswered: lambda effect: listener.on_withdraw_answered(effect.task, effect.withdrawn),
            PurgeAnswered: lambda effect: listener.on_purge_answered(effect.command, effect.discarded),
            RetryPlanned: lambda effect: log.info(
                "task %s has failed, and is tried again in %.3g s", format_id(effect.task), effect.seconds
            ),
            Dial: lambda effect: self._links.dial(effect.link, effect.endpoint),
            Hangup: lambda effect: self._links.hang_up(effect.link),
            Greet: self._greet,
            Goodbye: lambda effect: listener.on_goodbye(effect.node),
            NodesChanged: self._note_change,
        }

        self.slots = 0
        """How many slots the nodes that answer have; any thread may read it."""

    # ------------------------------------------------------------------ from any thread

    def submit(self, task: OwnedTask) -> None:
        """Hand over a new task."""
        self.inbox.append(task)
        if not self._inbox_posted:
            self._inbox_posted = True
            self._loop.post(self._take_inbox)

    def has(self, task: OwnedTask) -> bool:
        """Whether a task was handed over, and has not ended."""
        return task in self.inbox or self.session.owner.find(task.id) is not None

    def wait_until_taken(self) -> None:
        """Wait for the next turn of the loop, ``BURST_S`` at most; not in the loop's own thread.

        Where that was in vain, as a callback may hold up the loop, the next to wait is who submits twice as many.
        """
        turn = threading.Lock()  # one of its own: what a signal's handler raises here must leave nothing locked
        turn.acquire()
        self._awaiting.append(turn)
        # Fewer may just have been taken, and then the next turn is far.
        if (count := len(self.inbox)) >= self.wait_from and not turn.acquire(timeout=BURST_S):
            self.wait_from = 2 * count

    # ------------------------------------------------------------------ in the loop's thread

    def step(self) -> None:
        """Do what is due, and send what waits; to be called after each turn of the loop."""
        if self.inbox:  # it was posted, unless what a signal's handler raised has come between
            self._take_inbox()
        all_links, self._in_a_hurry = self._in_a_hurry, False
        if self._due is not None and self._due <= (now := time.monotonic()):
            self._apply(self.session.tick(now))
            all_links = all_links or (self._flush_at is not None and self._flush_at <= now)
        if all_links or self._links.dirty:
            self._links.flush(all=all_links)
        if all_links:
            self._flush_at = None
        if self._awaiting:
            self._let_go_on()

    def timeout(self) -> float | None:
        """Return how long the next turn of the loop may last, in seconds."""
        self._due = due = earliest(self.session.next_deadline(), self._flush_at)
        return None if due is None else max(0.0, due - time.monotonic())

    def handle(self, event: OwnerEvent) -> None:
        """Let the owner handle an event."""
        self._apply(self.session.handle(event, time.monotonic()))

    def withdraw(self, task_ids: list[bytes]) -> None:
        """Ask for tasks not to be run."""
        self._take_inbox()
        self.handle(WithdrawAsked(task_ids))

    def purge(self, command: bytes) -> None:
        """Discard the tasks that have not started; ``on_purge_answered`` soon says how many that were.

        ``command`` is the id of the control command, by which it is carried out once, though nodes relay it too.
        """
        self._take_inbox()
        self.handle(PurgeAsked(command))

    def leave(self) -> None:
        """Cancel what is unsettled and say BYE to all nodes."""
        self._left = True
        self._take_inbox()
        self._links.flush(all=True)  # what waits is not to follow a BYE
        self.handle(Leaving())

    def see(self, candidate: Candidate) -> None:
        """Take in a hint of a node."""
        self._apply(self.session.notice(CandidateSeen(candidate), time.monotonic()))

    def lose(self, instance: str) -> None:
        """Take in that a hint was withdrawn."""
        self._apply(self.session.notice(CandidateGone(instance), time.monotonic()))

    def nodes(self) -> list[NodeView]:
        """Return the nodes that answer."""
        return self.session.membership.nodes()

    def problems(self) -> list[Problem]:
        """Return why candidates do not answer."""
        return self.session.membership.problems()

    def absent(self) -> list[Absent]:
        """Return the nodes that should be there and do not answer."""
        return self.session.membership.absent(time.monotonic())

    def is_complete(self) -> bool:
        """Tell whether all nodes answer that are known here, or to those that do."""
        nodes = len(self.nodes())
        quiet = nodes > 1 or time.monotonic() - self._changed_at >= ALONE_S
        return nodes > 0 and quiet and not self.absent()

    def close(self) -> None:
        """Close all connections."""
        self._links.close()

    def _let_go_on(self) -> None:
        for _ in range(len(self._awaiting)):
            self._awaiting.popleft().release()

    def _take_inbox(self) -> None:
        self._inbox_posted = False
        self.wait_from = BURST
        inbox = self.inbox
        count = len(inbox)  # one that comes meanwhile posts this anew
        if count:
            tasks = [inbox.popleft()] if count == 1 else [inbox.popleft() for _ in range(count)]
            self._apply(self.session.handle(_new(Submitted, (tasks,)), time.monotonic()))

    def _on_messages(self, link: int, messages: list[Message]) -> None:
        largest, are_plain = -1, True
        for message in messages:
            if type(message) is Result:
                payload = message.payload
                size = len(payload) if type(payload) is bytes else payload_size(payload)
                are_plain = are_plain and type(payload) is bytes
                if size > largest:
                    largest = size
            elif type(message) is HelloAck:
                self._links.address(link, message)
            elif type(message) is Relay:
                self._take_inbox()  # a purge is to find what was submitted before it
        if largest >= 0:
            self._are_large = largest > PATIENT_BYTES or not are_plain
            if largest >= HURRY_BYTES and not are_plain:
                self._in_a_hurry = True
                expect_large_blocks()
        self._apply(self.session.receive(link, messages, time.monotonic()))

    def _on_dealt_with(self, count: int) -> None:
        """Let nothing of many results be left when the collector looks: their acknowledgements go out, too."""
        self._taken += count
        if self._taken >= BATCH:
            self._taken = 0
            self._links.flush(all=True)
            self._flush_at = None
            collect_young()

    def _on_link_event(self, link: int, event: str, text: str) -> None:
        make = LINK_EVENTS.get(event)
        if make is not None:
            self._apply(self.session.notice(make(link, text), time.monotonic()))

    def _note_change(self, effect: NodesChanged) -> None:
        self._changed_at = time.monotonic()
        self.slots = sum(view.ack.slots for view in self.nodes())
        self._listener.on_nodes_changed()

    def _greet(self, effect: Greet) -> None:
        if not self._left:  # a HELLO after the BYE would undo it
            self._links.greet(effect.link)

    def _send(self, effect: SendLink) -> None:
        link, messages = effect
        if type(messages[0]) is not Rack:
            self._links.send(link, messages)
            return
        self._links.send_patient(link, messages, self._are_large)
        if self._flush_at is None:
            self._flush_at = time.monotonic() + PATIENCE_S

    def _apply(self, effects: list[SessionEffect]) -> None:
        for effect in effects:
            try:
                self._effects[type(effect)](effect)
            except Exception:  # the others must be carried out all the same: among them are results
                log.exception("the effect %s failed", type(effect).__name__)
