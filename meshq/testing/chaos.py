"""A scenario made of a seed: a mesh, work for it, faults for a while, and a quiet end in which all must finish."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from random import Random
from time import process_time
from typing import NamedTuple

from meshq.testing.audit import ghosts
from meshq.testing.bounds import small_tables
from meshq.testing.course import Keep, plan
from meshq.testing.deeds import FUNCTIONS, WEIGHTS, Deeds
from meshq.testing.mesh import SimMesh

QUIET_S = 120.0
"""What may take longest: a node dialled again after the longest pause (38 s), and runs that die there."""
# Longer than a node keeps the results of a client that is gone.
_LEASES_S = 2 * 3600.0
# Few seeds try what takes as long as all the rest.
_LEASES_EVERY = 20
_NOTICED_EVERY = 3
_ENCODE_EVERY = 5
_EVERY_STEP_EVERY = 15
"""In one of so many seeds the books of a process are looked into whenever it has been at work."""
_SMALL_EVERY = 4
"""In one of so many seeds the tables are small."""
_NOTICED_S = 10.0
"""Longer than it takes to see that a node is dead, also where most are silent at once."""
_YEAR_S = 365 * 86_400.0
_ORIGINS_S = (100_000.0, _YEAR_S, -_YEAR_S, 1e9, -1e9)


class Summary(NamedTuple):
    """What a seed came to: counts, and the seconds of processor time it took."""

    tasks: int
    starts: int
    events: int
    seconds: float


class Chaos:
    """One seed's scenario. All that happens in it follows from the seed, and from what is kept of its course.

    ``origins``: whether the clocks of processes have nothing in common; in half of the seeds, if not said.
    """

    def __init__(
        self,
        seed: int,
        trace: bool = False,
        keep: Collection[str] | None = None,
        *,
        origins: bool | None = None,
    ) -> None:
        self.seed = seed
        rng = Random(f"chaos:{seed}")
        self.mesh = SimMesh(
            seed,
            transport="tcp" if seed % 2 else "udp",
            encode=seed % _ENCODE_EVERY == 0,
            functions=FUNCTIONS,
            trace=trace,
        )
        # A far network has more on its way when a connection breaks.
        self.mesh.network.delay_s = rng.choice([(0.0001, 0.005), (0.01, 0.08)])
        if seed // 2 % 2 if origins is None else origins:
            self.mesh.agenda.origins = self._origin
        if seed % _EVERY_STEP_EVERY == 1:
            self.mesh.agenda.on_turn = self.mesh.audit_one
        self.steps = plan(rng, WEIGHTS, rng.uniform(4.0, 15.0))
        self._small = seed % _SMALL_EVERY == 3
        self.deeds = Deeds(self.mesh, seed, Keep(keep), self._small)

    def run(self) -> Summary:
        """Play it through. Raises SimFailure."""
        began = process_time()
        tables: AbstractContextManager[None] = small_tables() if self._small else nullcontext()
        with tables:
            for step in self.steps:
                if step.wait_s:
                    self.mesh.run(step.wait_s)
                self.deeds.do(step)
            self.mesh.quiet(within=QUIET_S)
            self._end()
        records = list(self.mesh.ledger.all())
        starts = sum(record.starts for record in records)
        return Summary(len(records), starts, self.mesh.agenda.events, process_time() - began)

    def _origin(self, name: str) -> float:
        """Return what the clock of a process says more than the agenda, whichever its life."""
        rng = Random(f"clock:{self.seed}:{name}")
        return rng.choice(_ORIGINS_S) * rng.random()

    def _end(self) -> None:
        mesh = self.mesh
        for record in mesh.ledger.all():
            if record.client.alive and record.withdraw_asked and not record.answers:
                mesh.ledger.fail("a withdrawal was never answered", record.task.id)
        for client in mesh.clients:
            mesh.ledger.check_discarded(client)
        if self.seed % _NOTICED_EVERY == 0:
            mesh.run(_NOTICED_S)
            for text in (text for client in mesh.living_clients() for text in ghosts(client, mesh.nodes)):
                mesh.ledger.fail(text)
        for client in mesh.living_clients():
            mesh.leave(client)
        mesh.quiet(within=1.0)
        if self.seed % _LEASES_EVERY == 0:
            mesh.part()
            mesh.audit_s = 60.0
            mesh.run(_LEASES_S)
            mesh.gone.clear()
            mesh.left.clear()
            mesh.quiet(within=1.0)
