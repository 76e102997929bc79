"""What attached work may take up at a node, in bytes: arguments that wait or run, results not yet acknowledged.

Half of the total is for arguments, of which one client gets three quarters: past that an attempt is refused as
``full``. The credit says how much a client may send, so that this happens to those alone that do not keep to it.

A quarter is for the results of clients within reach. A client that does not acknowledge them has nothing more
started as soon as it has as much there as there is room left: alone half of it, two a third each. The others go
on. The last quarter is for the results of clients out of reach. When that is used up the oldest give way: of such
a task it stays known that it has ended, and how.

Small payloads are not weighed: their number is bounded, and a plain task is to pay no more than a comparison.
"""

from __future__ import annotations

from collections.abc import Callable

from meshq.core.held import ClientAccount, Held, last_wanted_at
from meshq.protocol.messages import Status
from meshq.protocol.payload import Payload, payload_size

SMALL_BYTES = 1024
"""Payloads of up to this are not weighed: what else is kept of an attempt takes as much."""
NO_LIMIT = 2**62
_SERVED_PART = 128
"""Whatever the others leave unacknowledged, a client is served that has less than one in so many parts there."""
_GIVES_WAY = frozenset({int(Status.OK), int(Status.FAILURE)})
"""The results of all others are a few words."""

_Tell = Callable[[ClientAccount], None]


def large_size(payload: Payload) -> int:
    """Return a payload's length in bytes, 0 where it is small. Where speed counts, look before calling this."""
    size = payload_size(payload)
    return size if size > SMALL_BYTES else 0


def _nobody(client: ClientAccount) -> None:
    """Is told, where nobody else is."""


class Budget:
    """The books of a node. ``total`` is in bytes, 0 for no limit.

    ``pause`` is told of a client of which nothing more is to be started, ``resume`` when that is over.
    """

    def __init__(self, total: int = 0, pause: _Tell = _nobody, resume: _Tell = _nobody) -> None:
        self.total = total or NO_LIMIT
        self.arguments = 0
        """Of all clients."""
        self.results = 0
        """Of clients within reach."""
        self.absent_results = 0
        """Of clients out of reach."""
        self._half, self._quarter = self.total // 2, self.total // 4
        self._client_most = 3 * self.total // 8
        self._pause = pause
        self._resume = resume
        self._absent: dict[ClientAccount, dict[Held, None]] = {}
        """The clients out of reach, each with its booked results that may give way, the oldest first."""

    def figures(self) -> dict[str, int | None]:
        """Return what is booked, and the total, None for no limit."""
        limit = None if self.total == NO_LIMIT else self.total
        booked = {"arguments": self.arguments, "results": self.results, "absent_results": self.absent_results}
        return {**booked, "limit": limit}

    # ------------------------------------------------------------------ arguments

    def leave(self, active: int) -> int:
        """Return how many bytes of arguments each of so many active clients may have here; 0 for any."""
        return 0 if self.total == NO_LIMIT else max(1, min(self._client_most, self._half // active))

    def refusal(self, client: ClientAccount, size: int) -> str:
        """Say why there is no room for arguments of this size; "" where there is. A node with none takes any."""
        if client.arguments + size > self._client_most and self.arguments:
            return f"the client has {client.arguments} bytes of arguments here, and comes with {size} more"
        if self.arguments + size > self._half and self.arguments:
            return f"the node has {self.arguments} bytes of arguments, of the {self._half} that it takes"
        return ""

    def take(self, held: Held, size: int) -> None:
        """Book the arguments of an attempt, of which nothing is booked."""
        held.booked = size
        held.client.arguments += size
        self.arguments += size

    # ------------------------------------------------------------------ results

    def keep(self, held: Held, size: int) -> None:
        """Book the result of an attempt, of which nothing else is booked."""
        held.booked = -size
        client = held.client
        self._add(client, size)
        if not client.connected:
            if _may_give_way(held):
                self._absent[client][held] = None
            self._give_way()
        if not client.stalled and self._has_its_share(client):
            self._pause(client)

    def release(self, held: Held) -> None:
        """Take what is booked of an attempt off the books."""
        booked, held.booked = held.booked, 0
        client = held.client
        if booked > 0:
            client.arguments -= booked
            self.arguments -= booked
        else:
            if client in self._absent:
                self._absent[client].pop(held, None)
            self._add(client, booked)
            self._review(client)

    def _add(self, client: ClientAccount, size: int) -> None:
        client.results += size
        if client.connected:
            self.results += size
        else:
            self.absent_results += size

    def _has_its_share(self, client: ClientAccount) -> bool:
        left = self._quarter - (self.results if client.connected else self.absent_results)
        return client.results > max(left, self.total // _SERVED_PART)

    def _review(self, client: ClientAccount) -> None:
        if client.stalled and not self._has_its_share(client):
            self._resume(client)

    # ------------------------------------------------------------------ clients come and go

    def lose(self, client: ClientAccount) -> None:
        """Take note that a client is out of reach; its results, and those of its like, may have to give way."""
        if client.connected:
            self.results -= client.results
            self.absent_results += client.results
            client.connected = False
            self._absent[client] = dict.fromkeys(filter(_may_give_way, client.unacknowledged.values()))
            self._give_way()

    def regain(self, client: ClientAccount) -> None:
        """Take note that a client is within reach."""
        if not client.connected:
            self.absent_results -= client.results
            self.results += client.results
            client.connected = True
            del self._absent[client]
            self._review(client)

    def close(self, client: ClientAccount) -> None:
        """Take all that is left of a client, which are results, off the books."""
        for held in client.unacknowledged.values():
            if held.booked:
                self.release(held)
        self._absent.pop(client, None)

    def _give_way(self) -> None:
        """Let go of what absent clients have no room for: first of the one that was not wanted for longest."""
        if self.absent_results <= self._quarter:
            return
        for client in sorted(filter(self._absent.get, self._absent), key=last_wanted_at):
            for held in list(self._absent[client]):
                self.release(held)
                assert held.result is not None  # else it was not noted there
                held.result = held.result._replace(serializer="", payload=b"")
                if self.absent_results <= self._quarter:
                    return


def _may_give_way(held: Held) -> bool:
    return held.booked < 0 and held.result is not None and held.result.status in _GIVES_WAY
