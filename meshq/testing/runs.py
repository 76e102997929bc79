"""The runs that a simulated node has given to its workers: whose they are, and who is to blame where one dies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshq.core.holder import Holder
from meshq.core.holding import RateLimitSet, StartRuns
from meshq.core.work import WorkerGone
from meshq.testing.ledger import Ledger
from meshq.testing.slots import Observer
from meshq.workers.backlog import Row

if TYPE_CHECKING:
    from meshq.testing.node import SimNode


class SimRuns(Observer):
    """Tells the ledger what becomes of runs."""

    def __init__(self, node: SimNode, holder: Holder, ledger: Ledger) -> None:
        self._node = node
        self._holder = holder
        self._ledger = ledger
        self._clients: dict[int, bytes] = {}
        """Run → client, of all that was handed to workers."""
        self.given: Counter[str] = Counter()
        """How many runs of each function workers have and have not started, or once had."""

    def handed(self, effect: StartRuns) -> None:
        """Take note of runs that are handed to a worker."""
        for run in effect.runs:
            held = self._holder._dispatch.find(run.run)
            assert held is not None, "a run that is handed out is in the node's books"
            self._clients[run.run] = held.client.client
            self.given[run.function] += 1
        self._ledger.handed(self._node, effect)

    def started(self, slot: int, run: int) -> None:
        """A worker begins with a run."""
        row = self._row(slot)
        assert row is not None
        self.given[row[3]] -= 1
        self._check_slot(slot, run, row[1])
        self._ledger.started(self._node, slot, self._clients[run], row)

    def _check_slot(self, number: int, run: int, task: bytes) -> None:
        """Complain where a worker starts what is not its slot's, or more run than there are slots."""
        name, slots = self._node.name, self._holder._dispatch.slots.all
        if number not in slots or run not in slots[number].runs:
            self._ledger.fail(f"slot {number} of {name} starts a run that is not its own", task)
        busy = sum(worker.alive and worker.current is not None for worker in self._node.workers.all.values())
        closing = len(self._holder._resizing._closing)
        if busy > self._node.slots + closing:
            counts = f"{self._node.slots} slots, and {closing} that are to go"
            self._ledger.fail(f"{name} runs {busy} tasks on {counts}", task)

    def killed(self, slot: int, run: int) -> None:
        """A worker dies under a run."""
        row = self._row(slot)
        assert row is not None
        self._ledger.killed(self._node.name, slot, row[1])

    def ended(self, task: bytes, status: int) -> None:
        """A worker says what has come of a run."""
        self._ledger.ended_run(task, status)

    def gone(self, event: WorkerGone) -> None:
        """Tell the ledger of a run whose worker was meant to die for another one's sake: it may start again."""
        slot, row = self._holder._dispatch.slots.all.get(event.slot), self._row(event.slot)
        if slot is not None and row is not None and slot.signalled not in (0, row[0]):
            self._ledger.spared(self._node, self._clients[row[0]], row)

    def limited(self, event: RateLimitSet) -> None:
        """Tell the ledger of a rate limit, which does not hold for what workers have already."""
        given = self.given[event.function]
        self._ledger.promises.rate_set(self._node.ack.node, event.function, event.rate, given)

    def _row(self, slot: int) -> Row | None:
        return self._node.workers.all[slot].current
