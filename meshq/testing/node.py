"""A simulated node: the real holder, callers, peers and owner of detached tasks, without sockets and processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from meshq.core.events import Send
from meshq.core.holder import Holder
from meshq.core.holding import (
    ClientForgotten,
    ClientGreeted,
    Disown,
    DrainAsked,
    Drained,
    Entrust,
    FunctionsKnown,
    GraceOver,
    HandOver,
    HolderEvent,
    KillWorker,
    RateLimitSet,
    RecallRuns,
    RevocationsAdded,
    RevocationsHeard,
    SignalWorker,
    SoftLimit,
    StartRuns,
    StartWorker,
    StopWorker,
)
from meshq.core.membership import Candidate, CandidateDropped
from meshq.core.session import HOME
from meshq.core.timers import earliest
from meshq.core.work import WorkerEvent, WorkerGone, WorkerReady
from meshq.node.entrusted import Entrusted
from meshq.node.peers import Peers, make_session
from meshq.node.restarts import Restarts
from meshq.protocol.envelope import Incoming
from meshq.protocol.messages import Hello, HelloAck, Message
from meshq.testing.agenda import Agenda
from meshq.testing.connection import Connection
from meshq.testing.front import SimFront
from meshq.testing.ledger import Ledger
from meshq.testing.links import LinkOwner, SimLinks
from meshq.testing.network import Network
from meshq.testing.runs import SimRuns
from meshq.testing.slots import SimFunction, SimWorkers
from meshq.testing.steering import SimSteering

MESH = "sim"


class SimNode(LinkOwner):
    """One life of a node; a restart makes another."""

    def __init__(
        self,
        agenda: Agenda,
        network: Network,
        ledger: Ledger,
        rng: Random,
        name: str,
        endpoint: str,
        slots: int,
        functions: dict[str, SimFunction],
        max_tasks: int,
        revoked: list[tuple[bytes, float]],
        on_ready: Callable[[SimNode], None],
        on_drained: Callable[[SimNode], None],
    ) -> None:
        super().__init__(agenda, name, endpoint.rpartition(":")[0])
        self.endpoint = endpoint
        self.slots = slots
        self.functions = functions
        self.is_ready = False
        self.draining = False
        self._ledger = ledger
        self._on_ready = on_ready
        self._on_drained = on_drained
        node_id = rng.randbytes(16)
        self.hello = Hello(rng.randbytes(16), rng.randbytes(16), MESH, "work", "node", 1, 1, name)
        self.ack = HelloAck(
            node_id, rng.getrandbits(56) + 1, 1, name, self.host, slots, {}, ["msgpack"], [], [], False
        )
        self.holder = Holder(slots, self.hello.client)
        self._inbox: deque[HolderEvent] = deque()
        session = make_session(node_id, "", self.agenda.now, rng)
        self.entrusted = Entrusted(self.hello.client, session, self._inbox.append)
        self.holder.survey.is_elsewhere = self.entrusted.is_elsewhere
        self._links = SimLinks(self, network, ledger, self.hello, rng)
        self.peers = Peers(self.entrusted, node_id, self._links, self.holder, rng, self._refuse)
        self.front = SimFront(MESH, self.ack, network, ledger, self._inbox.append, self._run_inbox)
        self.runs = SimRuns(self, self.holder, ledger)
        self.workers = SimWorkers(self.agenda, rng, functions, self._post_worker, self.runs, max_tasks)
        self._restarts = Restarts(slots, self.workers.start)
        self.steering = SimSteering(self, ledger, self._inbox.append)
        self._effects = self._effect_table()
        # Hosts have several addresses as a rule; here they are ports.
        self.endpoints = (endpoint, f"{endpoint}0")
        for each in self.endpoints:
            network.listen(each, self)
        self.holder.handle(RevocationsHeard(revoked, stored=True), self.agenda.now)
        self._restarts.begin(self.agenda.now)

    def _effect_table(self) -> dict[type[Any], Callable[[Any], None]]:
        return {
            Send: self._send,
            StartRuns: self._start_runs,
            RecallRuns: lambda effect: self.workers.recall(effect.slot, effect.runs),
            SignalWorker: lambda effect: self.workers.kill(effect.slot, f"killed by signal {effect.signal}"),
            Entrust: lambda effect: self.entrusted.take_over(effect, self.agenda.now),
            Disown: lambda effect: self.entrusted.withdraw(effect.task, self.agenda.now),
            SoftLimit: lambda effect: self.workers.soft_limit(effect.slot, effect.run),
            KillWorker: lambda effect: self.workers.kill(effect.slot),
            StartWorker: lambda effect: self._restarts.add(effect.slot),
            StopWorker: self._stop_worker,
            HandOver: lambda effect: self.entrusted.hand_over(effect.tasks, self.agenda.now),
            **self.steering.effects,
            RevocationsAdded: self._on_revocations,
            ClientForgotten: lambda effect: self.front.forget(effect.client),
            Drained: lambda _: self._on_drain_over(),
        }

    # ------------------------------------------------------------------ the node's face

    def drain(self, grace: float | None = None) -> None:
        """Finish what runs, for ``grace`` seconds at most, hand back what waits; then the node ends."""
        if not self.draining:
            self.draining = True
            self.ack = self.ack._replace(draining=True)
            self.front.drain()
            self._inbox.append(DrainAsked())
            if grace is not None:
                self.post_later(grace, lambda: self._inbox.append(GraceOver(self.entrusted.stranded())))

    def resize(self, slots: int) -> None:
        """Say to all clients that it has so many slots."""
        self.slots = slots
        self.ack = self.ack._replace(slots=slots)
        self.front.resize(slots)
        self.entrusted.join(self.ack, self.agenda.now)

    def held(self) -> list[bytes]:
        """Return the tasks that the node has, the ended ones too."""
        return [task for client in self.holder._accounts.values() for task in client.held]

    def end(self) -> None:
        """Be no more, and the workers neither."""
        super().end()
        self.workers.close()
        self._links.close()

    # ------------------------------------------------------------------ its peers

    def see(self, candidate: Candidate) -> None:
        """Take in a hint of a node."""
        self.peers.see(candidate, self.agenda.now)

    def lose(self, instance: str) -> None:
        """Take in that a hint was withdrawn."""
        self.peers.lose(instance, self.agenda.now)

    def part(self) -> None:
        """Leave its peers, and look for no others."""
        self.peers.leave(self.agenda.now)
        for instance in self.peers.choice.chosen:
            self.notice(CandidateDropped(instance))
        self.peers.choice.chosen.clear()
        self.peers.choice.known.clear()

    def notice(self, event: Any) -> None:
        """Take in an event of a link to a peer."""
        self.peers.notice(event, self.agenda.now)

    def receive(self, link: int, messages: list[Message]) -> None:
        """Take the messages of a peer."""
        self._ledger.heard(self.name, messages)
        self.peers.receive(link, messages, self.agenda.now)

    def _refuse(self, ids: Sequence[Sequence[Any]]) -> None:
        self._inbox.append(RevocationsHeard(ids))
        self._run_inbox()

    def _on_revocations(self, effect: RevocationsAdded) -> None:
        self.entrusted.revoke([task for task, _ in effect.ids], self.agenda.now)
        self.peers.tell(effect.ids, self.agenda.now)

    def _on_drain_over(self) -> None:
        self.peers.leave(self.agenda.now)
        self._on_drained(self)

    # ------------------------------------------------------------------ one turn

    def next_deadline(self) -> float | None:
        """Return when ``step`` has something to do."""
        return earliest(
            self.holder.next_deadline(), self.entrusted.next_deadline(), self._restarts.next_deadline(),
            self.peers.next_deadline(),
        )  # fmt: skip

    def step(self) -> None:
        """Deal with the inbox, tick what is due, send what waits."""
        self._run_inbox()
        if self.is_due():
            self._tick(self.agenda.now)
        if self.peers.touched:
            self.peers.tick(self.agenda.now)
        self._links.flush()
        self._flush()

    def _tick(self, now: float) -> None:
        for machine in (self.entrusted, self.holder, self._restarts):
            due = machine.next_deadline()
            if due is not None and due <= now:
                if isinstance(machine, Holder):
                    self._apply(machine.tick(now))
                else:
                    machine.tick(now)
                self._run_inbox()
        due = self.peers.next_deadline()
        if due is not None and due <= now:
            self.peers.tick(now)

    def _run_inbox(self) -> None:
        while self._inbox:
            event = self._inbox.popleft()
            if type(event) is WorkerGone:
                self.runs.gone(event)
            elif type(event) is RateLimitSet:
                self.runs.limited(event)
            self._apply(self.holder.handle(event, self.agenda.now))

    def _apply(self, effects: list[Any]) -> None:
        for effect in effects:
            self._effects[type(effect)](effect)

    def _send(self, effect: Send) -> None:
        if effect.peer == self.entrusted.client:
            self.entrusted.receive(HOME, effect.messages, self.agenda.now)
            return
        self.front.send(effect.peer, effect.messages)

    def _flush(self) -> None:
        self.front.flush()
        if self._inbox:
            self.agenda.later(0.0, lambda: self.post(lambda: None))

    # ------------------------------------------------------------------ clients

    def on_packet(self, connection: Connection, incoming: Incoming) -> None:
        """Take what came over a connection."""
        self.front.take(connection, incoming)

    # ------------------------------------------------------------------ workers

    def _start_runs(self, effect: StartRuns) -> None:
        self.runs.handed(effect)
        self.workers.run(effect.slot, effect.runs)

    def _stop_worker(self, effect: StopWorker) -> None:
        self._restarts.remove(effect.slot)
        self.workers.stop(effect.slot)

    def _post_worker(self, event: WorkerEvent) -> None:
        self.post(lambda: self._on_worker(event))

    def _on_worker(self, event: WorkerEvent) -> None:
        self._inbox.append(event)
        if isinstance(event, WorkerReady):
            if self._restarts.ready(event.slot):
                self._become_ready()
        elif isinstance(event, WorkerGone):
            self._restarts.gone(event.slot, self.agenda.now)

    def _become_ready(self) -> None:
        self.ack = self.ack._replace(functions=dict.fromkeys(self.functions, ""))
        options = {name: dict(function.options) for name, function in self.functions.items()}
        self._inbox.append(FunctionsKnown(frozenset(self.functions), frozenset(self.ack.serializers), options))
        self._inbox.append(ClientGreeted(self.entrusted.client))
        self._run_inbox()
        self.entrusted.join(self.ack, self.agenda.now)
        self.is_ready = True
        self.peers.opened(self.agenda.now)
        self.front.open(self.ack)
        self._on_ready(self)
