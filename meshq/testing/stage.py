"""Who is on a simulated mesh: nodes and clients that come, find each other, and end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from itertools import chain
from random import Random

from meshq.core.dialling import MDNS, Candidate
from meshq.core.held import HeldState
from meshq.testing.agenda import Agenda
from meshq.testing.audit import holder_faults, owner_faults
from meshq.testing.bounds import client_overflows, node_overflows
from meshq.testing.client import SimClient
from meshq.testing.ledger import Ledger
from meshq.testing.network import Network, Transport
from meshq.testing.node import SimNode
from meshq.testing.process import Process
from meshq.testing.slots import SimFunction

_ANNOUNCE_S = (0.01, 0.3)
PLAIN = {"f": SimFunction(0.01, 0.01)}


class Stage:
    """The processes of a simulation, its network, its clock and its books."""

    def __init__(
        self,
        seed: int = 0,
        *,
        transport: Transport = "tcp",
        encode: bool = False,
        functions: dict[str, SimFunction] | None = None,
        trace: bool = True,
    ) -> None:
        self.rng = Random(f"mesh:{seed}")
        self._seed = seed
        self.agenda = Agenda()
        self.functions = PLAIN if functions is None else functions
        self.ledger = Ledger(self.agenda, self.functions, trace)
        self.network = Network(self.agenda, seed, transport, encode)
        self.nodes: list[SimNode] = []
        """Every life of every node, the ended ones too."""
        self.clients: list[SimClient] = []
        self.gone: set[bytes] = set()
        """Ids of the clients that have crashed, and of the nodes that have ended, as their peers' clients."""
        self.left: set[bytes] = set()
        """Ids of the clients that have left."""
        self._last_port = 4000
        self.audit_s = 0.5
        """How often all books are looked into."""
        self._audited: dict[Process, int] = {}
        """How often each process had been at work when its books were last looked into."""
        self._commands = 0
        self.agenda.later(self.audit_s, self._audit_again)

    # ------------------------------------------------------------------ who is there

    @property
    def now(self) -> float:
        """The virtual time."""
        return self.agenda.now

    def living_nodes(self) -> list[SimNode]:
        """Return the nodes that have not ended."""
        return [node for node in self.nodes if node.alive]

    def living_clients(self) -> list[SimClient]:
        """Return the clients that have not ended."""
        return [client for client in self.clients if client.alive]

    def add_node(
        self,
        slots: int = 2,
        *,
        name: str = "",
        max_tasks: int = 0,
        endpoint: str = "",
        revoked: list[tuple[bytes, float]] | None = None,
    ) -> SimNode:
        """Start a node; its workers are ready, and it is announced, after a moment.

        ``revoked`` are the ids, with seconds, that it refuses as it did in an earlier life.
        """
        name = name or self._free_name("node", len(self.nodes))
        if not endpoint:
            self._last_port += 1
            endpoint = f"tcp://{name}:{self._last_port}"
        node = SimNode(
            self.agenda, self.network, self.ledger, self._rng_of(name), name, endpoint, slots,
            self.functions, max_tasks, revoked or [], self._announce, self._on_drained,
        )  # fmt: skip
        self.nodes.append(node)
        for other in self.living_nodes():
            if other.is_ready:
                self._hint(other, node)
        return node

    def add_client(self, name: str = "", no_nodes_timeout: float = 600.0) -> SimClient:
        """Start a client, which finds the nodes that are there."""
        name = name or self._free_name("client", len(self.clients))
        rng = self._rng_of(name)
        client = SimClient(self.agenda, self.network, self.ledger, rng, name, no_nodes_timeout)
        self.clients.append(client)
        for node in self.living_nodes():
            if node.is_ready:
                self._hint(node, client)
        return client

    def _free_name(self, what: str, count: int) -> str:
        """Return a name that no process has had: one that has may come back."""
        taken = {process.name for process in (*self.nodes, *self.clients)}
        return next(name for number in itertools.count(count + 1) if (name := f"{what}{number}") not in taken)

    def _rng_of(self, name: str) -> Random:
        """Return what a process draws from: its own, so that it is the same whoever else there is."""
        lives = sum(process.name == name for process in (*self.nodes, *self.clients))
        return Random(f"{self._seed}:{name}:{lives}")

    def _announce(self, node: SimNode) -> None:
        for client in self.living_clients():
            self._hint(node, client)
        for other in self.living_nodes():
            if other is not node:
                self._hint(node, other)

    def _hint(self, node: SimNode, finder: SimClient | SimNode) -> None:
        if not self.network.is_cut(node.host, finder.host):
            instance = node.ack.node.hex()
            candidate = Candidate(instance, node.endpoints, node.endpoints, "", MDNS, node.name)
            finder.post_later(self.rng.uniform(*_ANNOUNCE_S), lambda: finder.see(candidate))

    # ------------------------------------------------------------------ time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.agenda.run(seconds)

    def run_until(self, condition: Callable[[], bool], within: float) -> None:
        """Let time pass until a condition holds. Raises SimFailure where it does not come to that in time."""
        if not self.agenda.run(within, condition):
            self.ledger.fail(f"after {within:g} s it has not come to what was waited for")

    # ------------------------------------------------------------------ who ends

    def _on_drained(self, node: SimNode) -> None:
        # A moment for what is on its way out.
        self.agenda.later(0.3, lambda: self._end_drained(node))

    def _end_drained(self, node: SimNode) -> None:
        if node.alive:
            self.ledger.fault(f"{node.name} has drained")
            for client in node.holder._accounts.values():
                left = next((held.task for held in client.held.values() if held.state is not HeldState.DONE), None)
                if left is not None:
                    self.ledger.fail(f"{node.name} has drained, and a task is still in its care", left)
            self._end_node(node, silent=False)
            for finder in (*self.living_clients(), *self.living_nodes()):
                finder.post_later(0.01, lambda finder=finder: finder.lose(node.ack.node.hex()))  # type: ignore[misc]

    def _end_node(self, node: SimNode, silent: bool) -> None:
        self.ledger.ended(node)
        self.gone.add(node.hello.client)
        node.end()
        if silent:
            self.network.power_off(node.host)
        self.network.leave(node, silent=silent)

    def _end_client(self, client: SimClient) -> None:
        client.end()
        self.network.leave(client)

    def _audit_again(self) -> None:
        self.audit()
        self.agenda.later(self.audit_s, self._audit_again)

    def audit(self) -> None:
        """See whether all machines' books add up; done every ``audit_s``. Raises SimFailure."""
        for process in (*self.nodes, *self.clients):
            if process.alive and self._audited.get(process) != process.turns:
                self._audited[process] = process.turns
                self.audit_one(process)

    def audit_one(self, process: Process) -> None:
        """See whether a process's books add up, and its tables have kept to their bounds. Raises SimFailure."""
        if isinstance(process, SimNode):
            own = (f"its owner: {text}" for text in owner_faults(process.entrusted.session.owner))
            faults, overflows = chain(holder_faults(process.holder), own), node_overflows(process)
        else:
            assert isinstance(process, SimClient)
            faults, overflows = chain(owner_faults(process.owner)), client_overflows(process)
        for text in faults:
            self.ledger.fail(f"the books of {process.name} do not add up: {text}")
        for text in overflows:
            self.ledger.fail(f"a table of {process.name} is too large: {text}")
