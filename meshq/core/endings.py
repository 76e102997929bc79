"""How a held attempt ends at a node: with a result to be acknowledged, or forgotten, and never to run again."""

from __future__ import annotations

from collections.abc import Sequence

from meshq.core.held import GOES_ON, NODE, ClientAccount, Held, HeldState
from meshq.core.kept import Kept
from meshq.core.reporting import Reports
from meshq.core.tombs import Tombs
from meshq.protocol.messages import Rack, Result, Status
from meshq.protocol.payload import Payload

_MAX_REFUSED = 10_000
"""The threat: a client that sends without end what the node does not take."""


class Endings:
    """The last step of each attempt, with the memory of those that are over."""

    def __init__(self, reports: Reports, kept: Kept) -> None:
        self.tombs = Tombs()
        self.refused = Tombs(_MAX_REFUSED)
        """Attempts that were not taken. A copy of one must not be either: the next may be under way elsewhere."""
        self._kept = kept
        self._reports = reports
        self._budget = reports.budget

    def end(self, held: Held, status: int, serializer: str, payload: Payload, seconds: float, now: float) -> None:
        """End an attempt; where its client has left, nobody is told, and the result is kept for whoever asks."""
        held.result = Result(held.task, held.attempt, status, serializer, payload, seconds)
        self.end_all(held.client, [held], now)

    def end_all(self, client: ClientAccount, helds: Sequence[Held], now: float) -> None:
        """End attempts of one client, which have their results; see ``end``."""
        if not client.leaving:
            self._reports.finished_all(client, helds, now)
            return
        for held in helds:
            self.leave(held, now)

    def leave(self, held: Held, now: float) -> None:
        """Let go of a finished attempt whose client has left, and keep its result."""
        self.keep(held, now)
        self.forget(held)

    def keep(self, held: Held, now: float) -> None:
        """Keep an attempt's result, if it is one of its task, for whoever asks from now on."""
        if held.result is not None and not asks_for_more(held):
            self._kept.put(held.result, now)

    def status_of(self, task: bytes, now: float) -> int | None:
        """Return how the task is known to have ended for good; one whose worker was lost may be tried again."""
        result = self._kept.find(task, now)
        return None if result is None or result.status == Status.WORKER_LOST else result.status

    def forget(self, held: Held) -> None:
        """Let go of an attempt, never to run it again."""
        self.drop(held)
        self.tombs.bury(held.client.client, held.task, held.attempt)

    def drop(self, held: Held) -> None:
        """Let go of an attempt, which may come again."""
        held.state = HeldState.DONE
        if held.booked:
            self._budget.release(held)
        del held.client.held[held.task]
        held.client.unacknowledged.pop(held.task, None)

    def refuse(self, held: Held) -> None:
        """Let go of an attempt that is not taken; the next one may be."""
        self.drop(held)
        self.refused.bury(held.client.client, held.task, held.attempt)

    def on_racks(self, client: ClientAccount, messages: Sequence[Rack], now: float) -> None:
        """Let go of results that the client has."""
        unacknowledged, held_of = client.unacknowledged, client.held
        over: list[Rack] = []
        results: list[Result] = []
        for message in messages:
            task, attempt = message
            held = unacknowledged.get(task)
            # That of an earlier attempt comes from before this one was sent; its own is still to come.
            if held is None or held.attempt != attempt:
                continue
            if held.booked:
                self._budget.release(held)
            del unacknowledged[task], held_of[task]
            over.append(message)
            result = held.result
            if result is not None and (result.status not in GOES_ON or not asks_for_more(held)):
                results.append(result)
        if over:
            self.tombs.bury_all(client.client, over)
            self._kept.put_all(results, now)


def asks_for_more(held: Held) -> bool:
    """Whether an attempt has ended, and its task perhaps not: its owner, or the node that is this, tries it again.

    Where that node has given it up, it says so itself.
    """
    if held.result is None:
        return False
    if held.result.status == Status.WORKER_LOST:
        return held.client.role == NODE and not held.detached
    return held.result.status == Status.RETRY
