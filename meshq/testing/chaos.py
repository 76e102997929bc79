"""A scenario made of a seed: a mesh, work for it, faults for a while, and a quiet end in which all must finish."""

from __future__ import annotations

from random import Random
from time import process_time
from typing import Any, NamedTuple

from meshq.testing.client import SimClient
from meshq.testing.ledger import SimFailure
from meshq.testing.mesh import SimMesh
from meshq.testing.node import SimNode
from meshq.testing.slots import SimFunction

FUNCTIONS = {
    "quick": SimFunction(0.0001, 0.0006),
    "short": SimFunction(0.005, 0.02),
    "long": SimFunction(0.2, 1.5),
    "raising": SimFunction(0.001, 0.01, "raises"),
    "deadly": SimFunction(0.001, 0.01, "kills"),
    "limited": SimFunction(0.005, 0.02, options={"rate_limit": "20/s"}),
    "soft": SimFunction(0.1, 2.0, options={"soft_time_limit": 0.5}),
    "hard": SimFunction(0.1, 2.0, options={"time_limit": 0.5, "expires": 5.0, "priority": 8}),
}
_WEIGHTS = (6, 8, 2, 1, 0.3, 1.5, 0.3, 0.3)
_RATES = (0.0, 5.0, 30.0, 200.0)
QUIET_S = 120.0
"""What may take longest: a node dialled again after the longest pause (38 s), and runs that die there."""
# Longer than a node keeps the results of a client that is gone.
_LEASES_S = 2 * 3600.0
# Few seeds try the leases, and few the encoding: they take as long as all the rest.
_LEASES_EVERY = 10
_ENCODE_EVERY = 5
_LARGE_BYTES = 40_000


class Summary(NamedTuple):
    """What a seed came to: counts, and the seconds of processor time it took."""

    tasks: int
    starts: int
    events: int
    seconds: float


class Chaos:
    """One seed's scenario. All that happens in it follows from the seed."""

    def __init__(self, seed: int, trace: bool = False) -> None:
        self.seed = seed
        self.rng = Random(f"chaos:{seed}")
        self._of_once = Random(f"once:{seed}")
        self.mesh = SimMesh(
            seed,
            transport="tcp" if seed % 2 else "udp",
            encode=seed % _ENCODE_EVERY == 0,
            functions=FUNCTIONS,
            trace=trace,
        )
        # A far network has more on its way when a connection breaks.
        self.mesh.network.delay_s = self.rng.choice([(0.0001, 0.005), (0.01, 0.08)])
        self._until = self.mesh.now + self.rng.uniform(4.0, 15.0)
        self._faults = (
            (self._crash, 3), (self._kill_worker, 3), (self._freeze, 2), (self._freeze_client, 1), (self._cut, 4),
            (self._cut_peers, 1.5),
            (self._heal, 3), (self._break, 4), (self._drain, 1), (self._crash_client, 0.5), (self._leave, 0.5),
            (self._withdraw, 2), (self._revoke, 1), (self._join, 1), (self._submit_some, 3),
            (self._purge, 0.3), (self._limit, 0.7), (self._resize, 0.7),
        )  # fmt: skip

    def run(self) -> Summary:
        """Play it through. Raises SimFailure."""
        began = process_time()
        mesh, rng = self.mesh, self.rng
        for _ in range(rng.randint(1, 4)):
            self._join()
        for _ in range(rng.randint(1, 3)):
            self._submit(mesh.add_client(), rng.randint(1, 80))
        while mesh.now < self._until:
            mesh.run(rng.expovariate(1.5))
            rng.choices([fault for fault, _ in self._faults], [weight for _, weight in self._faults])[0]()
        mesh.quiet(within=QUIET_S)
        self._end()
        records = mesh.ledger.records.values()
        starts = sum(record.starts for record in records)
        return Summary(len(records), starts, mesh.agenda.events, process_time() - began)

    def _end(self) -> None:
        mesh = self.mesh
        for record in mesh.ledger.records.values():
            if record.client.alive and record.withdraw_asked and not record.answers:
                mesh.ledger.fail("a withdrawal was never answered", record.task.id)
        for client in mesh.clients:
            mesh.ledger.check_discarded(client)
        for client in mesh.living_clients():
            mesh.leave(client)
        mesh.quiet(within=1.0)
        if self.seed % _LEASES_EVERY == 0:
            mesh.part()
            mesh.run(_LEASES_S)
            mesh.gone.clear()
            mesh.left.clear()
            mesh.quiet(within=1.0)

    # ------------------------------------------------------------------ work

    def _submit(self, client: SimClient, count: int) -> None:
        for _ in range(count):
            function = self.rng.choices(list(FUNCTIONS), _WEIGHTS)[0]
            large = self.rng.random() < 0.02
            client.submit(
                function,
                detached=self.rng.random() < 0.2,
                padding=_LARGE_BYTES if large else 0,
                spread_s=self.rng.choice([0.0, 1.0]),
                options=self._options(),
            )

    def _options(self) -> dict[str, Any] | None:
        rng = self.rng
        options: dict[str, Any] = {}
        if rng.random() < 0.15:
            options["countdown"] = rng.choice([0.05, 0.5, 4.0]) * rng.uniform(0.5, 1.5)
        if rng.random() < 0.1:
            options["expires"] = options.get("countdown", 0.0) + rng.choice([0.0, 0.1, 1.0, 8.0])
        if rng.random() < 0.2:
            options["priority"] = rng.randint(0, 9)
        if rng.random() < 0.03:
            options["rate_limit"] = "10/s"
        if self._of_once.random() < 0.1:
            options["once"] = True
        return options or None

    def _submit_some(self) -> None:
        clients = self.mesh.living_clients()
        if clients and len(self.mesh.ledger.records) < 400:
            self._submit(self.rng.choice(clients), self.rng.randint(1, 60))

    def _some_tasks(self) -> list[bytes]:
        tasks = [task for task, record in self.mesh.ledger.records.items() if record.outcome is None]
        return self.rng.sample(tasks, min(len(tasks), self.rng.randint(1, 5)))

    def _withdraw(self) -> None:
        for task in self._some_tasks():
            client = self.mesh.ledger.records[task].client
            if client.alive:
                client.withdraw([task])

    def _revoke(self) -> None:
        tasks = self._some_tasks()
        if tasks:
            self.mesh.revoke(tasks, self.rng.choice([0, 15]))

    # ------------------------------------------------------------------ control

    def _purge(self) -> None:
        clients = [client for client in self.mesh.living_clients() if not client.leaving]
        self.mesh.purge(self.rng.choice([0.3, 2.0]), self.rng.choice([None, *clients]))

    def _limit(self) -> None:
        self.mesh.rate_limit(self.rng.choice(["limited", "short"]), self.rng.choice(_RATES))

    def _resize(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.resize(node, self.rng.randint(1, 4))

    # ------------------------------------------------------------------ faults

    def _node(self) -> SimNode | None:
        nodes = self.mesh.living_nodes()
        return self.rng.choice(nodes) if nodes else None

    def _client(self) -> SimClient | None:
        clients = [client for client in self.mesh.living_clients() if not client.leaving]
        return self.rng.choice(clients) if clients else None

    def _join(self) -> None:
        if len(self.mesh.living_nodes()) < 5:
            self.mesh.add_node(self.rng.randint(1, 4), max_tasks=self.rng.choice([0, 0, 7]))

    def _crash(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.crash(node, silent=self.rng.random() < 0.3)
            same_port = self.rng.random() < 0.5
            self.mesh.agenda.later(self.rng.uniform(0.1, 4.0), lambda: self._restart(node, same_port))

    def _restart(self, node: SimNode, same_port: bool) -> None:
        self.mesh.restart(node, same_port=same_port)

    def _kill_worker(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.kill_worker(node, self.rng.choice(list(node.workers.all)))

    def _freeze(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.freeze(node, self.rng.choice([0.3, 2.0, 4.0, 9.0]) * self.rng.uniform(0.7, 1.3))

    def _freeze_client(self) -> None:
        client = self._client()
        if client is not None:
            self.mesh.freeze(client, self.rng.choice([0.3, 2.0, 9.0]) * self.rng.uniform(0.7, 1.3))

    def _cut(self) -> None:
        node, client = self._node(), self._client()
        if node is not None and client is not None:
            if self.rng.random() < 0.7:
                self.mesh.cut(node, client)
            elif self.rng.random() < 0.5:
                self.mesh.cut(node, client, both=False)
            else:
                self.mesh.cut(client, node, both=False)

    def _cut_peers(self) -> None:
        nodes = self.mesh.living_nodes()
        if len(nodes) > 1:
            self.mesh.cut(*self.rng.sample(nodes, 2), both=self.rng.random() < 0.7)

    def _heal(self) -> None:
        self.mesh.heal()

    def _break(self) -> None:
        process = self._node() if self.rng.random() < 0.5 else self._client()
        if process is not None:
            self.mesh.break_connections(process)

    def _drain(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.drain(node, self._of_once.choice([None, None, 0.3]))

    def _crash_client(self) -> None:
        client = self._client()
        if client is not None:
            self.mesh.crash_client(client)
            self.mesh.add_client()

    def _leave(self) -> None:
        client = self._client()
        if client is not None:
            client.submit(self.rng.choice(["short", "long"]), self.rng.randint(0, 60))
            self.mesh.run(0.2)
            self.mesh.leave(client)
            self.mesh.add_client()


def run_seed(seed: int) -> Summary:
    """Run a seed. Raises SimFailure with the story, which a second run of the same seed tells."""
    try:
        return Chaos(seed).run()
    except Exception as error:
        story = _retell(seed) or f"{type(error).__name__}: {error}"
        raise SimFailure(f"seed {seed}: {story}\nreplay: {replay_command(seed)}") from error


def _retell(seed: int) -> str:
    try:
        Chaos(seed, trace=True).run()
    except SimFailure as failure:
        return str(failure)
    except Exception:
        pass  # a machine broke down, which its own traceback tells best
    return ""


def replay_command(seed: int) -> str:
    """Return the command that runs a seed again."""
    return f"python -m meshq.testing.sim --start {seed} --seeds 1"
