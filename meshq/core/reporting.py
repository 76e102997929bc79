"""What a node tells its clients: results until they are acknowledged, and earlier news where those take long."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from meshq.core.budget import SMALL_BYTES, Budget, large_size
from meshq.core.events import Send
from meshq.core.held import ClientAccount, Held, HeldState, is_silent
from meshq.protocol.messages import Accepted, Message, Result, Started
from meshq.protocol.payload import Payload

REPORT_S = 0.010
"""How long a result may take before ACCEPTED is sent of its own."""
BURST_REPORT_S = 0.050
"""The same while the client's runs take less than 0.1 ms. In a burst of no-ops results may take that long, as its
credit follows what a run takes by leaps: of 140,000 no-ops 97,000 had an ACCEPTED of their own after 10 ms, at
0.4 µs a task here and 0.6 at the client; after 50 ms some 3,000 have."""
_SHORT_RUN_S = 0.0001
RESEND_S = 0.5
"""How soon a result is sent again; doubled with each sending, up to 8 s."""
_DOUBLINGS = 4
# Looked up once: a member of an enum takes 60 ns to find.
_QUEUED, _RUNNING, _DONE = HeldState.QUEUED, HeldState.RUNNING, HeldState.DONE
_new = tuple.__new__  # what Send(…) calls, which takes 100 ns more


class Reports:
    """Gathers the messages to clients, one SEND each, and sees to what must be said again."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.out: dict[bytes, list[Message]] = {}
        """What is to be sent, by client."""
        self._fresh: deque[tuple[float, list[Held]]] = deque()
        """When they have taken long, and attempts that were taken at once, of one client."""
        self._fresh_in_burst: deque[tuple[float, list[Held]]] = deque()
        """Those of a client whose runs are so short that they may take longer."""
        self._lines = self._fresh, self._fresh_in_burst
        self._resend_at: float | None = None

    def say(self, client: ClientAccount, message: Message) -> None:
        """Send a message, unless the client is out of reach."""
        if client.connected:
            self.out.setdefault(client.client, []).append(message)

    def begun(self, helds: list[Held]) -> None:
        """Tell the clients of attempts that were just given to workers; the list is emptied."""
        for held in helds:
            self.say(held.client, Started(held.task, held.attempt))
        helds.clear()

    def flush(self) -> list[Send]:
        """Return what is to be sent."""
        out, self.out = self.out, {}
        return [_new(Send, each) for each in out.items()]

    def taken(self, helds: list[Held], now: float) -> None:
        """Take note of a client's attempts just accepted: if they take long, their client is told."""
        mean_s = helds[0].client.mean_s
        if mean_s is None or mean_s >= _SHORT_RUN_S:
            fresh, report_s = self._fresh, REPORT_S
        else:
            fresh, report_s = self._fresh_in_burst, BURST_REPORT_S
        while fresh and fresh[0][1][-1].state is _DONE:
            fresh.popleft()  # or each quick task would wake the node once more, to find that it has ended
        fresh.append((now + report_s, helds))

    def finished(
        self, held: Held, status: int, serializer: str, payload: Payload, seconds: float, now: float
    ) -> None:
        """Make the attempt's result, send it, and keep it until it is acknowledged."""
        held.result = Result(held.task, held.attempt, status, serializer, payload, seconds)
        self.finished_all(held.client, [held], now)

    def finished_all(self, client: ClientAccount, helds: Sequence[Held], now: float) -> None:
        """Send the results of attempts of one client, and keep them until they are acknowledged."""
        unacknowledged, budget, connected = client.unacknowledged, self.budget, client.connected
        client.ended_at = now
        results: list[Message] = []
        for held in helds:
            result = held.result
            assert result is not None  # it was made just now
            results.append(result)
            held.state = _DONE
            held.payload = b""
            unacknowledged[held.task] = held
            if held.booked:
                budget.release(held)
            payload = result.payload
            if type(payload) is not bytes or len(payload) > SMALL_BYTES:
                budget.keep(held, large_size(payload))
            if connected:
                held.sent_at = now
                held.tries += 1
        if connected:
            out = self.out.get(client.client)
            if out is None:
                self.out[client.client] = results
            else:
                out += results
            if self._resend_at is None:
                self._resend_at = now + RESEND_S

    def send_result(self, held: Held, now: float) -> None:
        """Send a kept result, for the first time or again."""
        if held.result is not None and held.client.connected:
            held.sent_at = now
            held.tries += 1
            self.out.setdefault(held.client.client, []).append(held.result)
            if self._resend_at is None:
                self._resend_at = now + RESEND_S

    def tick(self, clients: Iterable[ClientAccount], now: float) -> None:
        """Say what has become due."""
        for fresh in self._lines:
            while fresh and fresh[0][0] <= now:
                self._accept(fresh.popleft()[1])
        if self._resend_at is not None and self._resend_at <= now:
            self._resend_at = None
            for client in clients:
                if client.unacknowledged and client.connected:
                    self._resend(client, now)

    def _accept(self, helds: list[Held]) -> None:
        for held in helds:
            state = held.state
            if state is not _DONE and (state is _QUEUED or (state is _RUNNING and not held.reported)):
                self.say(held.client, Accepted(held.task, held.attempt))

    def _resend(self, client: ClientAccount, now: float) -> None:
        self._resend_at = now + RESEND_S
        if is_silent(client, now):
            return
        for held in client.unacknowledged.values():
            if now >= held.sent_at + RESEND_S * 2 ** min(held.tries - 1, _DOUBLINGS):
                self.send_result(held, now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        due = self._resend_at
        for fresh in self._lines:
            if fresh and (due is None or fresh[0][0] < due):
                due = fresh[0][0]
        return due
