"""A simulated client: the real session on virtual links."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from meshq.core.accounts import NodeAccount
from meshq.core.membership import (
    Candidate,
    CandidateGone,
    CandidateSeen,
    Dial,
    Greet,
    Hangup,
    Membership,
    MembershipSettings,
)
from meshq.core.owned import OwnedTask
from meshq.core.owner import (
    Leaving,
    NodeLost,
    Owner,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.session import Goodbye, NodesChanged, SendLink, Session, SessionEffect
from meshq.ids import keyed_task_id
from meshq.protocol.messages import Hello, HelloAck, Message, Relay, Relayed, Withdrawn
from meshq.testing.agenda import Agenda
from meshq.testing.ledger import Ledger
from meshq.testing.links import LinkOwner, SimLinks
from meshq.testing.network import Network
from meshq.testing.node import MESH


class _WatchedOwner(Owner):
    """The owner, with an eye on its credit whenever it has sent something out."""

    def __init__(
        self,
        no_nodes_timeout: float,
        now: float,
        rng: Random,
        on_over_credit: Callable[[NodeAccount], None],
        on_moved: Callable[[list[bytes]], None],
    ) -> None:
        super().__init__(no_nodes_timeout, now, rng)
        self._on_over_credit = on_over_credit
        self._on_moved = on_moved
        lose, withdrawn = self._events[NodeLost], self._messages[Withdrawn]
        self._events[NodeLost] = lambda event, now: self._watch_loss(lose, event, now)
        self._messages[Withdrawn] = lambda node, said, now: self._watch_unknown(withdrawn, node, said, now)

    def _watch_loss(self, lose: Callable[[Any, float], None], event: NodeLost, now: float) -> None:
        node = self._nodes.get(event.node)
        if node is not None and node.lost_at is None:
            self._on_moved(list(node.in_flight))
        lose(event, now)

    def _watch_unknown(
        self, handle: Callable[..., None], node: NodeAccount, message: Withdrawn, now: float
    ) -> None:
        task = node.in_flight.get(message.task)
        if task is not None and task.attempt == message.attempt and message.outcome == "unknown":
            self._on_moved([task.id])
        handle(node, message, now)

    def _route(self, now: float) -> None:
        nodes = self._nodes.values()
        before = [node.used for node in nodes]
        super()._route(now)
        for node, used in zip(nodes, before, strict=True):
            if node.used > max(used, node.cap):
                self._on_over_credit(node)

    def unaccepted(self) -> int:
        """Return how many detached tasks no node has accepted yet."""
        return sum(task.detached and not task.accepted for task in self._tasks.values())


class SimClient(LinkOwner):
    """One client, from its start to its end."""

    def __init__(
        self,
        agenda: Agenda,
        network: Network,
        ledger: Ledger,
        rng: Random,
        name: str,
        no_nodes_timeout: float,
    ) -> None:
        super().__init__(agenda, name, f"tcp://{name}")
        self.rng = rng
        self._ledger = ledger
        self.leaving = False
        self.unsettled = 0
        """Tasks submitted, at once or to come, that have not ended."""
        self.hello = Hello(rng.randbytes(16), rng.randbytes(16), MESH, "work", "client", 1, 1, name)
        self._keyed: set[bytes] = set()
        self.owner = _WatchedOwner(
            no_nodes_timeout,
            self.agenda.now,
            rng,
            lambda node: ledger.over_credit(name, node),
            lambda tasks: ledger.moved(self, tasks),
        )
        self.session = Session(Membership(MembershipSettings(), rng), self.owner)
        self._links = SimLinks(self, network, ledger, self.hello, rng)
        self.goodbyes: set[bytes] = set()
        self._effects: dict[type[Any], Callable[[Any], None]] = {
            SendLink: self._send,
            Settle: lambda effect: ledger.settled(self, effect.ended),
            WithdrawAnswered: lambda effect: ledger.withdrawn(self, effect.task, effect.withdrawn),
            PurgeAnswered: lambda effect: ledger.promises.relayed(name, [Relayed(*effect)]),
            RetryPlanned: lambda effect: ledger.retry_planned(self, *effect),
            Dial: lambda effect: self._links.dial(effect.link, effect.endpoint),
            Hangup: lambda effect: self._links.hang_up(effect.link),
            Greet: lambda effect: self._links.greet(effect.link),
            Goodbye: lambda effect: self.goodbyes.add(effect.node),
            NodesChanged: lambda _: None,
        }

    # ------------------------------------------------------------------ the client's face

    def submit(
        self,
        function: str,
        count: int = 1,
        *,
        detached: bool = False,
        padding: int = 0,
        spread_s: float = 0.0,
        options: dict[str, Any] | None = None,
        key: str = "",
        rng: Random | None = None,
    ) -> list[bytes]:
        """Submit tasks, all now or over some seconds; return their ids, which are drawn from ``rng``.

        A task with a ``key`` is the one that this client has submitted with that key before, if there is one.
        """
        rng = self.rng if rng is None else rng
        if key:
            return [self._submit_keyed(function, key, detached, options)]
        tasks = []
        for _ in range(count):
            task_id = rng.randbytes(16)
            payload = task_id + bytes(padding)
            tasks.append(OwnedTask(task_id, function, "msgpack", payload, detached=detached, options=options))
        self._ledger.submitted(self, tasks)
        if spread_s:
            for task in tasks:
                self.post_later(rng.uniform(0.0, spread_s), lambda task=task: self._submit([task]))  # type: ignore[misc]
        else:
            self.post(lambda: self._submit(tasks))
        return [task.id for task in tasks]

    def _submit_keyed(self, function: str, key: str, detached: bool, options: dict[str, Any] | None) -> bytes:
        task_id = bytes(keyed_task_id(function, key))
        if task_id not in self._keyed:
            self._keyed.add(task_id)
            options = {**(options or {}), "key": True}
            tasks = [OwnedTask(task_id, function, "msgpack", task_id, detached=detached, options=options)]
            self._ledger.submitted(self, tasks)
            self.post(lambda: self._submit(tasks))
        return task_id

    def withdraw(self, tasks: list[bytes]) -> None:
        """Ask for tasks back."""
        self._ledger.withdraw_asked(self, tasks)
        self.post(lambda: self._apply(self.session.handle(WithdrawAsked(tasks), self.agenda.now)))

    def purge(self, command: bytes) -> None:
        """Discard what has not started, as for a control command of this client's own."""

        def ask() -> None:
            self._ledger.purge_asked(self)
            self._apply(self.session.handle(PurgeAsked(command), self.agenda.now))

        self.post(ask)

    def leave(self) -> None:
        """Cancel what is unsettled, and say BYE."""
        self.leaving = True
        self.post(lambda: self._apply(self.session.handle(Leaving(), self.agenda.now)))

    def see(self, candidate: Candidate) -> None:
        """Take in a hint of a node."""
        self.notice(CandidateSeen(candidate))

    def lose(self, instance: str) -> None:
        """Take in that a hint was withdrawn."""
        self.notice(CandidateGone(instance))

    def is_connected(self, node: bytes) -> bool:
        """Whether the node answers."""
        return any(view.node_id == node for view in self.session.membership.nodes())

    # ------------------------------------------------------------------ one turn

    def next_deadline(self) -> float | None:
        """Return when ``step`` has something to do."""
        return self.session.next_deadline()

    def step(self) -> None:
        """Tick what is due, send what waits."""
        if self.is_due():
            self._apply(self.session.tick(self.agenda.now))
        self._links.flush()

    def end(self) -> None:
        """Be no more."""
        super().end()
        self._links.close()

    def notice(self, event: Any) -> None:
        """Take in an event of a link or a candidate."""
        self._apply(self.session.notice(event, self.agenda.now))

    def receive(self, link: int, messages: list[Message]) -> None:
        """Take the messages of a link."""
        for message in messages:
            if type(message) is HelloAck:
                self._links.address(link, message)
            elif type(message) is Relay and message.name == "purge":
                self._ledger.purge_asked(self)
        self._ledger.heard(self.name, messages)
        self._apply(self.session.receive(link, messages, self.agenda.now))

    def _apply(self, effects: list[SessionEffect]) -> None:
        for effect in effects:
            self._effects[type(effect)](effect)
        self._ledger.check_answers()

    def _submit(self, tasks: list[OwnedTask]) -> None:
        if self.leaving:
            return
        self._ledger.begun(tasks)
        self._apply(self.session.handle(Submitted(tasks), self.agenda.now))

    def _send(self, effect: SendLink) -> None:
        self._ledger.promises.sent(self.name, effect.messages)
        self._ledger.promises.relayed(self.name, effect.messages)
        self._links.send(effect.link, effect.messages)
