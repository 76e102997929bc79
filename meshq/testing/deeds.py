"""What is done to a mesh in the course of a scenario: work for it, control commands, and faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, TypeVar
from zlib import crc32

from meshq.testing.bounds import refuse_few
from meshq.testing.client import SimClient
from meshq.testing.course import Keep, Step
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
    "flaky": SimFunction(0.001, 0.05, "flaky", options={"max_retries": 2, "retry_backoff": 0.2}),
}
_ODDS = (6, 8, 2, 1, 0.3, 1.5, 0.3, 0.3, 2.5)
_RATES = (0.0, 5.0, 30.0, 200.0)
_LARGE_BYTES = 40_000
_MOST_TASKS, _MOST_NODES = 400, 5

WEIGHTS = {
    "crash": 3, "kill_worker": 3, "freeze": 2, "freeze_client": 1, "lag": 1, "stall": 0.5, "cut": 4,
    "cut_peers": 1.5, "heal": 3,
    "break": 4, "drain": 1, "crash_client": 0.5, "leave": 1, "withdraw": 2, "revoke": 2, "revoke_unheard": 1,
    "join": 1, "submit": 3, "purge": 1, "limit": 0.7, "resize": 2,
}  # fmt: skip
"""How often each thing is done."""


class _Named(Protocol):
    name: str


T = TypeVar("T", bound=_Named)


class Deeds:
    """Does what a course says. Each step, and each task, draws from chance of its own.

    ``items`` are the steps taken so far, and their tasks; ``items_of`` says which task is which.
    """

    def __init__(self, mesh: SimMesh, seed: int, keep: Keep, small: bool) -> None:
        self.mesh = mesh
        self.items: list[str] = []
        self.items_of: dict[bytes, str] = {}
        self._seed = seed
        self._keep = keep
        self._small = small
        self._step = Step(0, 0.0, "")
        self.rng = Random(0)

    def do(self, step: Step) -> None:
        """Take a step, if it is among those to be taken."""
        if self._keep.has(step):
            self._step, self.rng = step, Random(f"{self._seed}:{step.number}")
            action: Callable[[], None] = getattr(self, f"_{step.action}")
            before = len(self.items)
            action()
            if len(self.items) == before:
                self.items.append(str(step.number))

    # ------------------------------------------------------------------ who is chosen

    def _one(self, among: Sequence[T]) -> T | None:
        """Choose one, by chance; who else is there, or is not, hardly matters to whether it is this one."""
        salt = str(self.rng.random())
        return max(among, key=lambda each: crc32((salt + each.name).encode()), default=None)

    def _node(self) -> SimNode | None:
        return self._one(self.mesh.living_nodes())

    def _client(self) -> SimClient | None:
        return self._one([client for client in self.mesh.living_clients() if not client.leaving])

    def _some_tasks(self, most: int) -> list[bytes]:
        salt = self.rng.randbytes(4)
        tasks = [task for task, record in self.mesh.ledger.records.items() if record.outcome is None]
        return sorted(tasks, key=lambda task: crc32(salt + task))[: self.rng.randint(1, most)]

    # ------------------------------------------------------------------ work

    def _arrive(self) -> None:
        """A client comes, with tasks."""
        self._work(self._new_client(), self.rng.randint(1, 80))

    def _submit(self) -> None:
        client = self._one(self.mesh.living_clients())
        if client is not None and len(self.mesh.ledger.records) < _MOST_TASKS:
            self._work(client, self.rng.randint(1, 60))

    def _new_client(self) -> SimClient:
        return self.mesh.add_client(f"client{self._step.number}")

    def _work(self, client: SimClient, count: int) -> None:
        for number in range(count):
            if self._keep.has_task(self._step, number):
                item = f"{self._step.number}.{number}"
                self.items.append(item)
                for task in _submit_one(client, Random(f"{self._seed}:{item}")):
                    self.items_of[task] = item

    def _withdraw(self) -> None:
        for task in self._some_tasks(5):
            client = self.mesh.ledger.records[task].client
            if client.alive:
                client.withdraw([task])

    # ------------------------------------------------------------------ control

    def _revoke(self) -> None:
        tasks = self._some_tasks(15)
        if tasks:
            self.mesh.revoke(tasks, self.rng.choice([0, 15]))

    def _revoke_unheard(self) -> None:
        """Tasks are revoked while their owner is out of reach, and nodes that know of it start again."""
        client, nodes = self._client(), self.mesh.living_nodes()
        if client is not None:
            for node in nodes:
                self.mesh.cut(node, client)
            records = self.mesh.ledger.records.items()
            tasks = [task for task, record in records if record.client is client and record.outcome is None]
            self.mesh.revoke(tasks[: self.rng.randint(1, 60)])
            self.mesh.run(0.2)
            for node in nodes:
                if node.alive and self.rng.random() < 0.6:
                    self.mesh.crash(node)
                    self._restart(node, same_port=self.rng.random() < 0.5)

    def _purge(self) -> None:
        client = self._client() if self.rng.random() < 0.7 else None
        self.mesh.purge(self.rng.choice([0.3, 2.0]), client)

    def _limit(self) -> None:
        self.mesh.rate_limit(self.rng.choice(["limited", "short"]), self.rng.choice(_RATES))

    def _resize(self) -> None:
        busy = [node for node in self.mesh.living_nodes() if node.holder.counts()["running"]]
        node = self._one(busy) or self._node()
        if node is not None:
            self.mesh.resize(node, self.rng.choice([1, 1, 2, 3, 4]))

    # ------------------------------------------------------------------ faults of nodes

    def _join(self) -> None:
        if len(self.mesh.living_nodes()) < _MOST_NODES:
            slots, max_tasks = self.rng.randint(1, 4), self.rng.choice([0, 0, 7])
            self._made(self.mesh.add_node(slots, name=f"node{self._step.number}", max_tasks=max_tasks))

    def _made(self, node: SimNode) -> None:
        if self._small:
            refuse_few(node)

    def _crash(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.crash(node, silent=self.rng.random() < 0.3)
            same_port = self.rng.random() < 0.5
            pause_s = self.rng.choice([0.2, 4.0]) * self.rng.random()  # back before it is missed, or not
            self.mesh.agenda.later(pause_s, lambda: self._restart(node, same_port))

    def _restart(self, node: SimNode, same_port: bool) -> None:
        self._made(self.mesh.restart(node, same_port=same_port))

    def _kill_worker(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.kill_worker(node, self.rng.choice(list(node.workers.all)))

    def _drain(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.drain(node, self.rng.choice([None, None, 0.3]))

    # ------------------------------------------------------------------ faults of both

    def _freeze(self) -> None:
        node = self._node()
        if node is not None:
            self.mesh.freeze(node, self.rng.choice([0.3, 2.0, 4.0, 9.0]) * self.rng.uniform(0.7, 1.3))

    def _freeze_client(self) -> None:
        client = self._client()
        if client is not None:
            self.mesh.freeze(client, self.rng.choice([0.3, 2.0, 9.0]) * self.rng.uniform(0.7, 1.3))

    def _lag(self) -> None:
        """A loop is late again and again, as on a machine that has too much to do."""
        process = self._node() if self.rng.random() < 0.5 else self._client()
        if process is not None:
            at = 0.0
            for _ in range(self.rng.randint(2, 5)):
                seconds = self.rng.uniform(0.5, 2.0)
                self.mesh.agenda.later(at, lambda s=seconds: self.mesh.freeze(process, s, connected=True))  # type: ignore[misc]
                at += seconds + self.rng.uniform(0.05, 0.5)

    def _stall(self) -> None:
        """A client takes nothing in for long, while its connections stay."""
        client = self._client()
        if client is not None:
            self.mesh.freeze(client, self.rng.uniform(5.0, 20.0), connected=True)

    def _crash_client(self) -> None:
        client = self._client()
        if client is not None:
            self.mesh.crash_client(client)
            self._new_client()

    def _leave(self) -> None:
        client = self._client()
        if client is not None:
            client.submit(self.rng.choice(["short", "long"]), self.rng.randint(0, 60))
            self.mesh.run(0.2)
            self.mesh.leave(client)
            self._new_client()

    # ------------------------------------------------------------------ faults of the network

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
        one, other = self._node(), self._node()
        if one is not None and other is not None and one is not other:
            self.mesh.cut(one, other, both=self.rng.random() < 0.7)

    def _heal(self) -> None:
        self.mesh.heal()

    def _break(self) -> None:
        process = self._node() if self.rng.random() < 0.5 else self._client()
        if process is not None:
            self.mesh.break_connections(process)


# ---------------------------------------------------------------------- one task


def _submit_one(client: SimClient, rng: Random) -> list[bytes]:
    function = rng.choices(list(FUNCTIONS), _ODDS)[0]
    detached = rng.random() < 0.2
    if rng.random() < 0.03:
        return client.submit(function, detached=detached, key=rng.choice("abcd"))
    return client.submit(
        function,
        detached=detached,
        padding=_LARGE_BYTES if rng.random() < 0.02 else 0,
        spread_s=rng.choice([0.0, 1.0]),
        options=_options(rng, function),
        rng=rng,
    )


def _options(rng: Random, function: str) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    if rng.random() < 0.15:
        options["countdown"] = rng.choice([0.05, 0.5, 4.0]) * rng.uniform(0.5, 1.5)
    if rng.random() < 0.1:
        options["expires"] = options.get("countdown", 0.0) + rng.choice([0.0, 0.1, 1.0, 8.0])
    if rng.random() < 0.2:
        options["priority"] = rng.randint(0, 9)
    if rng.random() < 0.03:
        options["rate_limit"] = "10/s"
    if rng.random() < 0.1:
        options["once"] = True
    if function == "flaky" and rng.random() < 0.7:
        options["max_retries"] = rng.randint(0, 5)
        options["retry_backoff"] = rng.choice([0.0, 0.3, 1.0])
        options["retry_jitter"] = rng.random() < 0.5
    return options or None
