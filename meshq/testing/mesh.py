"""A whole mesh in one thread: the real machines on a virtual network and clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from meshq.core.dialling import MDNS, Candidate
from meshq.testing.agenda import Agenda
from meshq.testing.audit import holder_faults, leftovers, owner_faults
from meshq.testing.client import SimClient
from meshq.testing.ledger import Ledger
from meshq.testing.network import Network, Transport
from meshq.testing.node import SimNode
from meshq.testing.process import Process
from meshq.testing.slots import SimFunction

_AUDIT_S = 0.5
_ANNOUNCE_S = (0.01, 0.3)
PLAIN = {"f": SimFunction(0.01, 0.01)}


class SimMesh:
    """Nodes and clients on a virtual network, without sockets, threads or waiting; each seed has one course.

    ``transport`` is ``"tcp"``, or ``"udp"`` for a network that also loses, doubles and reorders single
    messages. With ``encode`` everything sent is packed and read as on the wire. All times are virtual seconds.
    Whatever breaks a rule raises ``SimFailure``, with the story of the task concerned if there is a ``trace``.

    >>> mesh = SimMesh(seed=1)
    >>> node, client = mesh.add_node(slots=2), mesh.add_client()
    >>> tasks = client.submit("f", 100)
    >>> mesh.run(0.3)
    >>> mesh.crash(node)
    >>> mesh.quiet(within=60.0)
    """

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
        self.agenda = Agenda()
        self.functions = PLAIN if functions is None else functions
        self.ledger = Ledger(self.agenda, self.functions, trace)
        self.network = Network(self.agenda, seed, transport, encode)
        self.nodes: list[SimNode] = []
        """Every life of every node, the ended ones too."""
        self.clients: list[SimClient] = []
        self.gone: set[bytes] = set()
        """Ids of the clients that have crashed."""
        self.left: set[bytes] = set()
        """Ids of the clients that have left."""
        self._last_port = 4000
        self._revokes = 0
        self.agenda.later(_AUDIT_S, self._audit_again)

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

    def add_node(self, slots: int = 2, *, name: str = "", max_tasks: int = 0, endpoint: str = "") -> SimNode:
        """Start a node; its workers are ready, and it is announced, after a moment."""
        name = name or f"node{len(self.nodes) + 1}"
        if not endpoint:
            self._last_port += 1
            endpoint = f"tcp://{name}:{self._last_port}"
        node = SimNode(
            self.agenda, self.network, self.ledger, Random(self.rng.getrandbits(64)), name, endpoint, slots,
            self.functions, max_tasks, self._announce, self._on_drained,
        )  # fmt: skip
        self.nodes.append(node)
        return node

    def add_client(self, name: str = "", no_nodes_timeout: float = 600.0) -> SimClient:
        """Start a client, which finds the nodes that are there."""
        name = name or f"client{len(self.clients) + 1}"
        rng = Random(self.rng.getrandbits(64))
        client = SimClient(self.agenda, self.network, self.ledger, rng, name, no_nodes_timeout)
        self.clients.append(client)
        for node in self.living_nodes():
            if node.is_ready:
                self._hint(node, client)
        return client

    def _announce(self, node: SimNode) -> None:
        for client in self.living_clients():
            self._hint(node, client)

    def _hint(self, node: SimNode, client: SimClient) -> None:
        if not self.network.is_cut(node.host, client.host):
            instance = node.ack.node.hex()
            candidate = Candidate(instance, (node.endpoint,), (node.endpoint,), "", MDNS, node.name)
            client.post_later(self.rng.uniform(*_ANNOUNCE_S), lambda: client.see(candidate))

    # ------------------------------------------------------------------ time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.agenda.run(seconds)

    def run_until(self, condition: Callable[[], bool], within: float) -> None:
        """Let time pass until a condition holds. Raises SimFailure where it does not come to that in time."""
        if not self.agenda.run(within, condition):
            self.ledger.fail(f"after {within:g} s it has not come to what was waited for")

    # ------------------------------------------------------------------ faults

    def crash(self, node: SimNode, *, silent: bool = False) -> None:
        """End a node with all that it has; ``silent`` as when the power goes, rather than the process alone."""
        self.ledger.fault(f"{node.name} {'loses its power' if silent else 'crashes'}")
        self._end_node(node, silent)

    def restart(self, node: SimNode, *, same_port: bool = False) -> SimNode:
        """Start a node anew after its end, as a process that knows nothing of the earlier one."""
        self.ledger.fault(f"{node.name} starts again{' at the same port' if same_port else ''}")
        slots = node.slots
        return self.add_node(slots, name=node.name, endpoint=node.endpoint if same_port else self._port_of(node))

    def _port_of(self, node: SimNode) -> str:
        self._last_port += 1
        return f"{node.host}:{self._last_port}"

    def freeze(self, process: Process, seconds: float) -> None:
        """Freeze a node or a client for a while."""
        self.ledger.fault(f"{process.name} freezes for {seconds:.2f} s")
        process.freeze()
        self.network.break_if_frozen(process)
        self.agenda.later(seconds, process.thaw)

    def cut(self, one: Process, other: Process, *, both: bool = True) -> None:
        """Let nothing through from one host to another (and back), until ``heal``."""
        self.ledger.fault(f"{one.name} {'<->' if both else '->'} {other.name} cut")
        self.network.cut(one.host, other.host)
        if both:
            self.network.cut(other.host, one.host)

    def heal(self) -> None:
        """End all cuts."""
        self.ledger.fault("all cuts heal")
        self.network.heal()
        for node in self.living_nodes():
            if node.is_ready:
                self._announce(node)

    def kill_worker(self, node: SimNode, slot: int) -> None:
        """Kill the worker of a slot."""
        self.ledger.fault(f"the worker of slot {slot} of {node.name} is killed")
        node.workers.kill(slot)

    def break_connections(self, process: Process) -> None:
        """Break all connections of a process; they are made anew."""
        self.ledger.fault(f"the connections of {process.name} break")
        self.network.break_all(process)

    def drain(self, node: SimNode) -> None:
        """Have a node finish what it runs, hand back the rest, and end."""
        self.ledger.fault(f"{node.name} drains")
        node.post(node.drain)

    def revoke(self, tasks: list[bytes], signal: int = 0) -> None:
        """Revoke tasks at every node, and at the clients."""
        self.ledger.revoke_asked(tasks)
        self._revokes += 1
        token = self._revokes
        for node in self.living_nodes():
            node.post(lambda node=node: node.revoke(token, tasks, signal))  # type: ignore[misc]
        for client in self.living_clients():
            client.revoke(tasks)

    def crash_client(self, client: SimClient) -> None:
        """End a client without a word."""
        self.ledger.fault(f"{client.name} crashes")
        self.gone.add(client.hello.client)
        self._end_client(client)

    def leave(self, client: SimClient, within: float = 0.5) -> None:
        """Have a client cancel its tasks and say BYE; it ends when all nodes have answered, or after a while."""
        self.ledger.fault(f"{client.name} leaves")
        client.leave()
        self.agenda.later(within, lambda: self._end_left(client))

    def _end_left(self, client: SimClient) -> None:
        if client.alive:
            client_id = client.hello.client
            accounts = [node.holder._clients.get(client_id) for node in self.living_nodes()]
            # A BYE may be lost, or be followed by a HELLO where a connection breaks just then.
            heard = all(account is None or account.leaving for account in accounts)
            if any(account is not None and account.leaving and account.queue for account in accounts):
                self.ledger.fail(f"{client.name} has left, and still has attempts queued")
            (self.left if heard else self.gone).add(client_id)
            self._end_client(client)

    def _end_client(self, client: SimClient) -> None:
        client.end()
        self.network.leave(client)

    def _on_drained(self, node: SimNode) -> None:
        # A moment for what is on its way out.
        self.agenda.later(0.3, lambda: self._end_drained(node))

    def _end_drained(self, node: SimNode) -> None:
        if node.alive:
            self.ledger.fault(f"{node.name} has drained")
            self._end_node(node, silent=False)
            for client in self.living_clients():
                client.post_later(0.01, lambda client=client: client.lose(node.ack.node.hex()))  # type: ignore[misc]

    def _end_node(self, node: SimNode, silent: bool) -> None:
        self.ledger.ended(node)
        node.end()
        if silent:
            self.network.power_off(node.host)
        self.network.leave(node, silent=silent)

    # ------------------------------------------------------------------ the end

    def calm(self) -> None:
        """End all faults: whoever is frozen thaws, cuts heal, nothing is lost any more."""
        rough = self.network.rough
        rough.loss = rough.duplicate = rough.late = 0.0
        self.heal()
        processes: Iterable[Process] = [*self.living_nodes(), *self.living_clients()]
        for process in processes:
            process.thaw()

    def quiet(self, within: float) -> None:
        """End all faults, and see everything finish within some seconds. Raises SimFailure where it does not."""
        self.calm()
        if all(node.draining for node in self.living_nodes()):
            self.add_node()
        end = self.now + within
        while not self._is_over():
            if self.now >= end:
                self._complain(within)
            self.run(0.25)
        self.audit()

    def unsettled(self) -> int:
        """Return how many tasks of living clients have not ended."""
        return sum(client.unsettled for client in self.clients if client.alive)

    def _is_over(self) -> bool:
        return not self.unsettled() and not self._remaining()

    def _remaining(self) -> list[str]:
        return [
            f"{node.name}: {text}"
            for node in self.living_nodes()
            for text in leftovers(node.holder, self.gone, self.left)
        ]

    def _complain(self, within: float) -> None:
        if self.unsettled():
            records = self.ledger.records.values()
            task = next(r.task.id for r in records if r.client.alive and r.outcome is None)
            self.ledger.fail(f"{within:g} s after the last fault {self.unsettled()} tasks are not settled", task)
        remaining = self._remaining()
        first = next((held for held in self._held() if held.hex()[:8] in remaining[0]), None)
        self.ledger.fail("\n".join([f"{within:g} s after the last fault this is left:", *remaining[:5]]), first)

    def _held(self) -> Iterable[bytes]:
        for node in self.living_nodes():
            for client in node.holder._clients.values():
                yield from client.held

    def _audit_again(self) -> None:
        self.audit()
        self.agenda.later(_AUDIT_S, self._audit_again)

    def audit(self) -> None:
        """See whether all machines' books add up; done every half second. Raises SimFailure."""
        for node in self.living_nodes():
            for text in holder_faults(node.holder):
                self.ledger.fail(f"the books of {node.name} do not add up: {text}")
        for client in self.living_clients():
            for text in owner_faults(client.owner):
                self.ledger.fail(f"the books of {client.name} do not add up: {text}")
