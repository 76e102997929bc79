"""A whole mesh in one thread: the real machines on a virtual network and clock."""

from __future__ import annotations

from collections.abc import Iterable

from meshq.testing.audit import leftovers
from meshq.testing.client import SimClient
from meshq.testing.node import SimNode
from meshq.testing.process import Process
from meshq.testing.stage import Stage


class SimMesh(Stage):
    """Nodes and clients on a virtual network, without sockets, threads or waiting; each seed has one course.

    ``transport`` is ``"tcp"``, or ``"udp"`` for a network that also loses, doubles and reorders single
    messages. With ``encode`` everything sent is packed and read as on the wire. All times are virtual seconds.
    Whatever breaks a rule raises ``SimFailure``, with the story of the task concerned if there is a ``trace``.

    >>> from meshq.testing import SimMesh
    >>> mesh = SimMesh(seed=1)
    >>> node, client = mesh.add_node(slots=2), mesh.add_client()
    >>> tasks = client.submit("f", 100)
    >>> mesh.run(0.3)
    >>> mesh.crash(node)
    >>> mesh.quiet(within=60.0)
    >>> {mesh.ledger.records[task].outcome.ending.value for task in tasks}
    {'done'}
    """

    # ------------------------------------------------------------------ faults

    def crash(self, node: SimNode, *, silent: bool = False) -> None:
        """End a node with all that it has; ``silent`` as when the power goes, rather than the process alone."""
        self.ledger.fault(f"{node.name} {'loses its power' if silent else 'crashes'}")
        self._end_node(node, silent)

    def restart(self, node: SimNode, *, same_port: bool = False) -> SimNode:
        """Start a node anew after its end, as a process that knows of the earlier one only what that refused."""
        self.ledger.fault(f"{node.name} starts again{' at the same port' if same_port else ''}")
        endpoint = node.endpoint if same_port else self._port_of(node)
        return self.add_node(
            node.slots, name=node.name, endpoint=endpoint, revoked=node.holder.revoked(node.agenda.now)
        )

    def _port_of(self, node: SimNode) -> str:
        self._last_port += 1
        return f"{node.host}:{self._last_port}"

    def freeze(self, process: Process, seconds: float, *, connected: bool = False) -> None:
        """Freeze a node or a client for a while.

        Where it stays ``connected`` only its loop is held up: what is sent to it waits, however long that takes.
        """
        self.ledger.fault(f"{process.name} {'is held up' if connected else 'freezes'} for {seconds:.2f} s")
        process.freeze()
        if not connected:
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

    def drain(self, node: SimNode, grace: float | None = None) -> None:
        """Have a node finish what it runs, in ``grace`` seconds, hand back the rest, and end."""
        self.ledger.fault(f"{node.name} drains{'' if grace is None else f', with {grace:g} s of grace'}")
        node.post(lambda: node.drain(grace))

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
            accounts = [node.holder._accounts.get(client_id) for node in self.living_nodes()]
            # A BYE may be lost, or be followed by a HELLO where a connection breaks just then.
            heard = all(account is None or account.leaving for account in accounts)
            if any(account is not None and account.leaving and account.queued_count() for account in accounts):
                self.ledger.fail(f"{client.name} has left, and still has attempts queued")
            (self.left if heard else self.gone).add(client_id)
            self._end_client(client)

    def part(self) -> None:
        """Have all nodes leave each other, so that hours pass without their heartbeats, which take as long."""
        for node in self.living_nodes():
            self.gone.add(node.hello.client)
            node.post(node.part)

    # ------------------------------------------------------------------ control

    def _command(self, text: str) -> tuple[int, bytes]:
        self._commands += 1
        self.ledger.fault(text)
        return self._commands, self._commands.to_bytes(16, "big")

    def revoke(self, tasks: list[bytes], signal: int = 0) -> None:
        """Revoke tasks at every node; their owners hear of it from the nodes."""
        self.ledger.revoke_asked(tasks)
        token, command = self._command(f"{len(tasks)} tasks are revoked{f', signal {signal}' if signal else ''}")
        for node in self.living_nodes():
            node.post(lambda node=node: node.steering.revoke(token, tasks, signal, command))  # type: ignore[misc]

    def purge(self, seconds: float = 2.0, client: SimClient | None = None) -> bytes:
        """Discard what waits at every node and its clients, as ``client`` asks; return the command's id."""
        _, command = self._command(f"a purge of {seconds:g} s{f', by {client.name}' if client else ''}")
        for node in self.living_nodes():
            node.post(lambda node=node: node.steering.purge(command, seconds))  # type: ignore[misc]
        if client is not None:
            client.purge(command)
        return command

    def rate_limit(self, function: str, rate: float) -> None:
        """Set a rate limit at every node, in runs a second; 0 lifts it."""
        self._command(f"{function} is limited to {rate:g} a second")
        for node in self.living_nodes():
            node.post(lambda node=node: node.steering.limit(function, rate))  # type: ignore[misc]

    def resize(self, node: SimNode, slots: int) -> None:
        """Let a node have so many slots."""
        self._command(f"{node.name} is to have {slots} slots")
        node.post(lambda: node.steering.resize(slots))

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
            task = next(r.task.id for r in self.ledger.all() if r.client.alive and r.outcome is None)
            self.ledger.fail(f"{within:g} s after the last fault {self.unsettled()} tasks are not settled", task)
        remaining = self._remaining()
        first = next((held for held in self._held() if held.hex()[:8] in remaining[0]), None)
        self.ledger.fail("\n".join([f"{within:g} s after the last fault this is left:", *remaining[:5]]), first)

    def _held(self) -> Iterable[bytes]:
        for node in self.living_nodes():
            yield from node.held()
