"""The owner under any events in any order: nothing breaks, and all tasks end once the nodes behave."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from machine_settings import machine_settings
from owner_words import joined, make_task, said

from meshq.core.accounts import weight_of
from meshq.core.events import Send
from meshq.core.owned import Ending, OwnedTask
from meshq.core.owner import (
    MAX_DEATHS,
    Leaving,
    NodeLost,
    NodeReturned,
    NodeSuspected,
    Owner,
    OwnerEvent,
    PurgeAnswered,
    PurgeAsked,
    Revoked,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.protocol.messages import (
    Accepted,
    Credit,
    Draining,
    Message,
    Nack,
    Parked,
    Relay,
    Relayed,
    Result,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.retries import RetryAsked, dump_retry

NODES = [bytes([letter]) * 16 for letter in b"abc"]
FUNCTIONS = ["f", "g", "h"]
UNKNOWN_ID = b"?" * 16

nodes = st.sampled_from(NODES)
functions = st.sampled_from(FUNCTIONS)
numbers = st.integers(0, 60)
attempts = st.integers(0, 4)
durations = st.sampled_from([0.0, 0.001, 0.1, 5.0, -1.0, math.nan, math.inf, -math.inf])
reasons = st.sampled_from(["full", "draining", "unknown-task", "serializer", "parked", "what?"])
news = st.sampled_from([Accepted, Started, Parked])
commands = st.sampled_from([bytes([number]) * 16 for number in range(4)])
schedules = st.sampled_from(
    [None, None, None, {"chunk": True}, {"countdown": 0.3}, {"countdown": 50.0, "expires": 60.0}, {"expires": 0.3},
     {"expires": 0}, {"priority": 9}, {"priority": 0, "countdown": 2.0}, {"priority": "?", "expires": math.nan}]
)  # fmt: skip
outcomes = st.sampled_from(["dropped", "running", "finished", "unknown", "what?"])
statuses = st.sampled_from([*Status, *Status, 99, -1])
retries = st.builds(
    RetryAsked, st.just(b"failure"), delay=st.sampled_from([None, 0.0, 2.0]), most=st.integers(-1, 4),
    backoff=st.sampled_from([0.0, 0.3, 30.0]), jitter=st.booleans(),
)  # fmt: skip
caps = st.sampled_from([-1, 0, 1, 2, 5, 20, 2**63])


class RandomOwner(RuleBasedStateMachine):
    """Says anything to an owner; what nodes say is right as often as it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner(no_nodes_timeout=5.0)
        self.now = 0.0
        self.tasks: list[OwnedTask] = []
        self.settled: set[bytes] = set()
        self.asked: dict[bytes, bool] = {}
        self.sent: list[tuple[bytes, Submit]] = []
        self.revoked = self.cancelled = 0
        self.discarded: dict[bytes, int] = {}
        """What each purge has come to, as nodes and who asked were told."""
        self.purges: set[bytes] = set()

    # ------------------------------------------------------------------ what is said to the owner

    def say(self, event: OwnerEvent) -> None:
        self.hear(self.owner.handle(event, self.now))

    @initialize()
    def begin(self) -> None:
        self.say(joined(NODES[0]))

    @rule(count=st.integers(1, 8), function=functions, detached=st.sampled_from([False, False, True]),
          options=schedules)  # fmt: skip
    def submit(self, count: int, function: str, detached: bool, options: dict[str, Any] | None) -> None:
        first = len(self.tasks)
        new = [make_task(first + index, function, detached=detached, options=options) for index in range(count)]
        self.tasks += new
        self.say(Submitted(new))

    @rule(node=nodes, incarnation=st.integers(1, 2), slots=st.integers(0, 3), offered=st.sets(functions),
          draining=st.sampled_from([False, False, False, True]))  # fmt: skip
    def join(self, node: bytes, incarnation: int, slots: int, offered: set[str], draining: bool) -> None:
        self.say(joined(node, incarnation=incarnation, slots=slots, functions=offered, draining=draining))

    @rule(node=nodes, died=st.booleans())
    def lose(self, node: bytes, died: bool) -> None:
        self.say(NodeLost(node, "gone", died))

    @rule(node=nodes, suspected=st.booleans())
    def suspect(self, node: bytes, suspected: bool) -> None:
        self.say(NodeSuspected(node) if suspected else NodeReturned(node))

    @rule(number=numbers)
    def withdraw(self, number: int) -> None:
        task_id = self.id_of(number)
        self.asked[task_id] = False
        self.say(WithdrawAsked([task_id]))

    @rule(number=numbers)
    def revoke(self, number: int) -> None:
        self.say(Revoked([self.id_of(number), UNKNOWN_ID]))

    @rule(command=commands)
    def purge(self, command: bytes) -> None:
        self.purges.add(command)
        self.say(PurgeAsked(command))

    @rule(chance=st.integers(0, 9))
    def leave(self, chance: int) -> None:
        if chance == 0:
            self.say(Leaving())

    @rule(seconds=st.sampled_from([0.01, 0.25, 1.0, 3.0, 1000.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        if (due := self.owner.next_deadline()) is not None and due <= self.now:
            self.hear(self.owner.tick(self.now))

    # ------------------------------------------------------------------ what nodes say

    def answer(self, number: int, right: bool, node: bytes, attempt: int) -> tuple[bytes, bytes, int]:
        """Return node, task and attempt: of one that was sent, or any."""
        if right and self.sent:
            node, message = self.sent[-1 - number % len(self.sent)]
            return node, message.task, message.attempt
        return node, self.id_of(number), attempt

    def id_of(self, number: int) -> bytes:
        return self.tasks[number].id if number < len(self.tasks) else UNKNOWN_ID

    @rule(number=numbers, right=st.booleans(), node=nodes, attempt=attempts, status=statuses, seconds=durations)
    def finish(self, number: int, right: bool, node: bytes, attempt: int, status: int, seconds: float) -> None:
        node, task, attempt = self.answer(number, right, node, attempt)
        self.say(said(Result(task, attempt, status, "msgpack", b"", seconds), by=node))

    @rule(number=numbers, right=st.booleans(), node=nodes, attempt=attempts, asked=retries)
    def fail(self, number: int, right: bool, node: bytes, attempt: int, asked: RetryAsked) -> None:
        node, task, attempt = self.answer(number, right, node, attempt)
        self.say(said(Result(task, attempt, Status.RETRY, "msgpack", dump_retry(asked)), by=node))

    @rule(number=numbers, right=st.booleans(), node=nodes, attempt=attempts, kind=news)
    def accept(self, number: int, right: bool, node: bytes, attempt: int, kind: type) -> None:
        node, task, attempt = self.answer(number, right, node, attempt)
        self.say(said(kind(task, attempt), by=node))

    @rule(
        node=nodes, command=commands, name=st.sampled_from(["revoke", "purge", "purge", "what?"]), number=numbers
    )
    def relay(self, node: bytes, command: bytes, name: str, number: int) -> None:
        self.say(said(Relay(command, name, [self.id_of(number)]), by=node))

    @rule(number=numbers, right=st.booleans(), node=nodes, attempt=attempts, reason=reasons)
    def refuse(self, number: int, right: bool, node: bytes, attempt: int, reason: str) -> None:
        node, task, attempt = self.answer(number, right, node, attempt)
        self.say(said(Nack(task, attempt, reason), by=node))

    @rule(number=numbers, right=st.booleans(), node=nodes, attempt=attempts, outcome=outcomes)
    def give_back(self, number: int, right: bool, node: bytes, attempt: int, outcome: str) -> None:
        node, task, attempt = self.answer(number, right, node, attempt)
        self.say(said(Withdrawn(task, attempt, outcome), by=node))

    @rule(node=nodes, sequence=st.integers(-1, 20), cap=caps, others=st.sampled_from([-3, 0, 7, 2**63]))
    def credit(self, node: bytes, sequence: int, cap: int, others: int) -> None:
        self.say(said(Credit(sequence, cap, others), by=node))

    @rule(node=nodes)
    def drain(self, node: bytes) -> None:
        self.say(said(Draining(), by=node))

    # ------------------------------------------------------------------ what the owner says

    def hear(self, effects: list[Any]) -> list[Send]:
        """Check the effects, and return what is sent."""
        sends = [effect for effect in effects if type(effect) is Send]
        for effect in effects:
            if type(effect) is Settle:
                for task, outcome in effect.ended:
                    assert task.id not in self.settled
                    self.settled.add(task.id)
                    self.revoked += outcome.ending is Ending.REVOKED
                    self.cancelled += outcome.ending is Ending.CANCELLED
            elif type(effect) is WithdrawAnswered:
                assert effect.task in self.asked
                self.asked[effect.task] = True
            elif type(effect) is PurgeAnswered:
                self.purges.discard(effect.command)
                self.count(effect.command, effect.discarded)
        withdrawn = {effect.task for effect in effects if type(effect) is WithdrawAnswered and effect.withdrawn}
        assert withdrawn <= self.settled
        for node, messages in sends:
            for message in messages:
                if type(message) is Relayed:
                    self.count(message.command, message.discarded)
            submits = [message for message in messages if type(message) is Submit]
            known = {(to, message.task, message.attempt) for to, message in self.sent}
            if any((node, *message[:2]) not in known and _takes_credit(message) for message in submits):
                account = self.owner._nodes[node]
                assert account.used <= account.cap
            self.sent += [(node, message) for message in submits]
        return sends

    def count(self, command: bytes, discarded: int) -> None:
        """Check what a purge has come to: the same for all, and no task counts twice."""
        assert self.discarded.setdefault(command, discarded) == discarded
        assert sum(self.discarded.values()) <= self.revoked + self.cancelled

    @invariant()
    def books_are_straight(self) -> None:
        """Each unsettled task waits or is at one node, and the credit used is that of the tasks there."""
        unsettled = {task.id: task for task in self.tasks if task.id not in self.settled}
        assert unsettled.keys() == self.owner._tasks.keys()
        flying: dict[bytes, OwnedTask] = {}
        for account in self.owner._nodes.values():
            parked = [task for task in account.in_flight.values() if task.parked]
            counted = [t.function for t in account.in_flight.values() if not (t.detached or t.parked)]
            assert account.used == len(counted)
            asking = [t for t in account.in_flight.values() if not t.accepted and (t.parked or t.detached)]
            assert (account.parked, account.asking) == (len(parked), sum(map(weight_of, asking)))
            assert {f: account.used_of[f] for f in FUNCTIONS} == {f: counted.count(f) for f in FUNCTIONS}
            assert all(task.node == account.node for task in account.in_flight.values())
            assert account.lost_at is None or not account.in_flight
            flying |= account.in_flight
        waiting = [task for queue in self.owner._router.waiting() for task in queue.tasks if task.node is None]
        pausing = {task_id for task_id, _ in self.owner._retries.timers.items()}
        nowhere = {task.id for task in waiting} | pausing
        assert {task.id for task in unsettled.values() if task.node is None} == nowhere
        assert len(flying) + len(waiting) + len(pausing) == len(unsettled)
        assert all(len(task.deaths or ()) < MAX_DEATHS for task in unsettled.values())
        assert all(task.retries <= 4 for task in self.tasks)
        assert (self.owner.next_deadline() is not None) or not unsettled

    def teardown(self) -> None:
        """The quiet phase: all nodes are new and answer as they should; all tasks must end."""
        until = self.now + 5.0
        for node in NODES:
            self.quietly(self.owner.handle(NodeLost(node, "the test ends", died=True), self.now))
            self.quietly(self.owner.handle(joined(node, incarnation=9, functions=FUNCTIONS), self.now))
        while self.owner._retries.timers or self.now < until:
            self.now += 1.0
            self.quietly(self.owner.tick(self.now))
        assert self.owner._tasks == {}
        assert self.settled == {task.id for task in self.tasks}
        assert all(self.asked.values())
        assert not self.purges
        assert all(account.used == 0 and not account.in_flight for account in self.owner._nodes.values())

    def quietly(self, effects: list[Any]) -> None:
        """Answer whatever is sent, and whatever is sent upon that."""
        sends = self.hear(effects)
        while sends:
            node, messages = sends.pop()
            answers = [_well_behaved(message) for message in messages]
            event = said(*(answer for answer in answers if answer is not None), by=node)
            sends += self.hear(self.owner.handle(event, self.now))


def _takes_credit(message: Submit) -> bool:
    return not (message.detached or "countdown" in (message.options or {}))


def _well_behaved(message: Message) -> Message | None:
    """Return what a node that does everything at once answers."""
    match message:
        case Submit():
            return Result(message.task, message.attempt, Status.OK, "msgpack", b"", 0.01)
        case Withdraw(task, attempt):
            return Withdrawn(task, attempt, "unknown")
        case _:
            return None


TestRandomOwner = RandomOwner.TestCase
TestRandomOwner.settings = machine_settings(100)
