"""What has become of each task, and the rules that everybody is held to while it happens.

A broken rule raises ``SimFailure``, whose text is the story of the task concerned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from meshq.core.accounts import NodeAccount
from meshq.core.holding import StartRuns
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.protocol.messages import Message, Status
from meshq.testing.agenda import Agenda
from meshq.testing.promises import Promises
from meshq.testing.record import Record
from meshq.testing.slots import SimFunction
from meshq.workers.backlog import Row

if TYPE_CHECKING:
    from meshq.testing.client import SimClient
    from meshq.testing.node import SimNode

_LAST_FAULTS = 30


class SimFailure(AssertionError):
    """A rule was broken; the text tells how it came to that. ``task`` is the one concerned, if it is one."""

    task: bytes | None = None


class Ledger:
    """The books of a simulation. With ``trace`` it keeps the last events of each task, for the story."""

    def __init__(self, agenda: Agenda, functions: dict[str, SimFunction], trace: bool) -> None:
        self._agenda = agenda
        self._functions = functions
        self._trace = trace
        self.records: dict[bytes, Record] = {}
        """By task id; of an id that several clients share, that of the first."""
        self.promises = Promises(agenda, functions, self.fail)
        self._starts: set[tuple[bytes, bytes, bytes, int]] = set()
        self._answered: list[tuple[Record, bool]] = []
        self._faults: deque[tuple[float, str]] = deque(maxlen=_LAST_FAULTS)

    def all(self) -> Iterator[Record]:
        """Yield the records of all clients."""
        for record in self.records.values():
            yield record
            yield from record.twins

    def of(self, client: SimClient, task: bytes) -> Record:
        """Return a client's record of a task."""
        record = self.records[task]
        return next((twin for twin in record.twins if twin.client is client), record)

    # ------------------------------------------------------------------ the story

    def fault(self, text: str) -> None:
        """Write down what was done to the mesh."""
        self._faults.append((self._agenda.now, text))

    def note(self, task: bytes, who: str, text: str) -> None:
        """Write down what happened to a task."""
        record = self.records.get(task)
        if record is not None:
            record.lines.append((self._agenda.now, who, text))

    def heard(self, who: str, messages: Iterable[Message]) -> None:
        """Write down what has arrived."""
        if self._trace:
            self._tell(who, "<-", messages)

    def said(self, who: str, messages: Iterable[Message]) -> None:
        """Write down what was sent."""
        if self._trace:
            self._tell(who, "->", messages)

    def _tell(self, who: str, arrow: str, messages: Iterable[Message]) -> None:
        for message in messages:
            task = getattr(message, "task", None)
            if task is not None:
                self.note(task, who, f"{arrow} {_brief(message)}")

    def fail(self, text: str, task: bytes | None = None) -> None:
        """Raise SimFailure with the story of a task."""
        lines = [text]
        record = self.records.get(task) if task is not None else None
        if record is not None:
            what = f"{record.task.function} of {record.client.name}{', detached' * record.task.detached}"
            lines.append(f"task {record.task.id.hex()[:8]} ({what}), as last seen:")
            lines += [f"  {at:9.4f}  {who:8}  {event}" for at, who, event in record.lines]
        lines.append(f"the last faults, until {self._agenda.now:.4f}:")
        lines += [f"  {at:9.4f}  {fault}" for at, fault in self._faults]
        failure = SimFailure("\n".join(lines))
        failure.task = task
        raise failure

    # ------------------------------------------------------------------ owners

    def submitted(self, client: SimClient, tasks: Iterable[OwnedTask]) -> None:
        """Take new tasks into the books."""
        for task in tasks:
            first = self.records.get(task.id)
            if first is None:
                self.records[task.id] = Record(client, task)
            else:
                first.twins.append(Record(client, task, first))
            client.unsettled += 1
            self.note(task.id, client.name, "submitted")

    def withdraw_asked(self, client: SimClient, tasks: Iterable[bytes]) -> None:
        """Note that a client wants tasks back."""
        for task in tasks:
            self.of(client, task).withdraw_asked = True
            self.note(task, client.name, "withdraw asked")

    def revoke_asked(self, tasks: Iterable[bytes], what: str = "revoke") -> None:
        """Note that tasks may end as revoked."""
        for task in tasks:
            if task in self.records:
                self.records[task].revoked = True
                self.note(task, "control", f"{what} asked")

    def purge_asked(self, client: SimClient | None = None) -> None:
        """Note that all that is unsettled, or all of a client's, may end as revoked."""
        unsettled = (record for record in self.all() if record.outcome is None)
        self.revoke_asked([each.task.id for each in unsettled if client in (None, each.client)], "purge")

    def begun(self, tasks: Iterable[OwnedTask]) -> None:
        """Note that an owner takes tasks on now."""
        for task in tasks:
            self.promises.submitted(task)

    def over_credit(self, client: str, node: NodeAccount) -> None:
        """Complain of an owner that has sent a node more than it has leave for."""
        text = f"{client} has {node.used} attempts at {node.name}, whose credit is {node.cap}"
        self.fail(text, next(reversed(node.in_flight)))

    def settled(self, client: SimClient, ended: Iterable[tuple[OwnedTask, Outcome]]) -> None:
        """Check that each task ends once, and as it may."""
        for task, outcome in ended:
            record = self.of(client, task.id)
            self.note(task.id, client.name, f"settled: {outcome.ending.value} {outcome.text}")
            if record.client is not client:
                self.fail(f"{client.name} settles a task of {record.client.name}", task.id)
            if record.outcome is not None:
                self.fail("a task is settled twice", task.id)
            record.outcome = outcome
            client.unsettled -= 1
            if not self._may_end(record, outcome):
                self.fail(f"a task ends as {outcome.ending.value}, for which there is no reason", task.id)
            wrong = record.wrong_deaths(outcome)
            if wrong:
                self.fail(wrong, task.id)

    def _may_end(self, record: Record, outcome: Outcome) -> bool:
        if outcome.ending is Ending.EXPIRED:
            return self.promises.may_expire(record.task)
        return record.may_end(outcome, self._functions.get(record.task.function))

    def moved(self, client: SimClient, tasks: Iterable[bytes]) -> None:
        """Note that an owner takes tasks back from a node that may have run them, or may do so still."""
        for task in tasks:
            self.of(client, task).moves += 1
            self.note(task, client.name, "its node is given up")

    def retry_planned(self, client: SimClient, task: bytes, seconds: float) -> None:
        """Note that an owner is to try a task again."""
        record = self.of(client, task)
        record.retries += 1
        if record.is_counted_twice():
            self.fail(f"a task that was started {record.first.starts} times has failed once more than that", task)
        self.note(task, client.name, f"to be tried again in {seconds:.3f} s")
        self.promises.retry_planned(client.name, record.task, seconds, record.retries)

    def check_discarded(self, client: SimClient) -> None:
        """Check that a client has counted no more tasks as discarded than have ended so."""
        counted = self.promises.discarded(client.name)
        revoked = sum(record.is_discarded() for record in self.all() if record.client is client)
        if counted > revoked:
            self.fail(f"{client.name} says that it has discarded {counted}, and only {revoked} ended as revoked")

    def withdrawn(self, client: SimClient, task: bytes, withdrawn: bool) -> None:
        """Note what a withdrawal is answered with; ``check_answers`` sees whether it is so."""
        self.of(client, task).answers += 1
        self.note(task, client.name, f"withdraw answered: {withdrawn}")
        self._answered.append((self.of(client, task), withdrawn))

    def check_answers(self) -> None:
        """Check, after each step of a client, that what was withdrawn is cancelled."""
        for record, withdrawn in self._answered:
            cancelled = record.outcome is not None and record.outcome.ending is Ending.CANCELLED
            if not record.withdraw_asked or (withdrawn and not cancelled):
                self.fail(f"a withdrawal is answered with {withdrawn}, which is not so", record.task.id)
        self._answered.clear()

    # ------------------------------------------------------------------ nodes

    def handed(self, node: SimNode, effect: StartRuns) -> None:
        """Check that runs are given only to a worker that is ready, as far as its node knows."""
        slot = node.holder._dispatch.slots.all[effect.slot]
        for run in effect.runs:
            if self._trace:
                self.note(run.task, node.name, f"run {run.run} (attempt {run.attempt}) to slot {effect.slot}")
            self.promises.handed(node.ack.node, run)
            if not slot.ready:
                self.fail(f"{node.name} gives a run to slot {effect.slot}, which is not ready", run.task)

    def started(self, node: SimNode, slot: int, client: bytes, row: Row) -> None:
        """Check that no attempt starts twice in one life of a node, and none that may not."""
        task, attempt = row[1], row[2]
        record = self.records[task]
        record.starts += 1
        self.note(task, node.name, f"started on slot {slot} (attempt {attempt})")
        key = (node.ack.node, client, task, attempt)
        if key in self._starts:
            self.fail(f"{node.name} runs attempt {attempt} twice", task)
        self._starts.add(key)
        if client == record.client.hello.client and not record.twins and record.starts > record.reasons():
            self.fail(f"a task starts {record.starts} times, with reason for {record.reasons()}", task)
        self.promises.started(node.ack.node, node.name, row)

    def ended_run(self, task: bytes, status: int) -> None:
        """Note what a worker says of a run."""
        if status == Status.RETRY:
            self.promises.retry_asked(task)

    def spared(self, node: SimNode, client: bytes, row: Row) -> None:
        """Note that a run's worker was killed for another run's sake: the attempt may start again."""
        self.note(row[1], node.name, "its worker was meant to die for another task")
        self.records[row[1]].spared += 1
        self._starts.discard((node.ack.node, client, row[1], row[2]))

    def killed(self, who: str, slot: int, task: bytes) -> None:
        """Note that a worker died under a task."""
        self.records[task].blames += 1
        self.note(task, who, f"the worker of slot {slot} dies")

    def ended(self, node: SimNode) -> None:
        """Note the end of a node: what it held may be charged with it."""
        clients: Iterable[Any] = node.holder._accounts.values()
        for task in {task: None for client in clients for task in client.held}:
            self.records[task].blames += 1
            self.note(task, node.name, "the node ends")


def _brief(message: Message) -> str:
    fields = [f"{name}={value!r}" for name, value in zip(message._fields, message, strict=True) if name in _SHOWN]
    return f"{type(message).__name__}({', '.join(fields)})"


_SHOWN = ("attempt", "status", "reason", "outcome")
