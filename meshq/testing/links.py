"""The links of a simulated client, or of a node as its peers' client: what the transport does for a real one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Any

from meshq.protocol.messages import Hello, HelloAck, Message
from meshq.testing.lane import SimLane
from meshq.testing.ledger import Ledger
from meshq.testing.network import Network
from meshq.testing.process import Process


class LinkOwner(Process):
    """A process that has links."""

    @abstractmethod
    def notice(self, event: Any) -> None:
        """Take in an event of a link or a candidate."""

    @abstractmethod
    def receive(self, link: int, messages: list[Message]) -> None:
        """Take the messages of a link."""


class SimLinks:
    """All links of one process, over which it greets with ``hello``; ``flush`` sends what waits."""

    def __init__(self, owner: LinkOwner, network: Network, ledger: Ledger, hello: Hello, rng: Random) -> None:
        self._owner = owner
        self._network = network
        self._ledger = ledger
        self._hello = hello
        self._rng = rng
        self._lanes: dict[int, SimLane] = {}

    def dial(self, number: int, endpoint: str) -> None:
        """Connect a new link."""
        lane = self._lanes[number] = SimLane(number, endpoint, self._hello, self._owner, self._on_up)
        self._network.dial(lane)

    def hang_up(self, number: int) -> None:
        """Close a link, with all that waits on it."""
        lane = self._lanes.pop(number, None)
        if lane is not None:
            lane.closed = True
            if lane.connection is not None:
                self._network.hang_up(lane.connection)

    def greet(self, number: int) -> None:
        """Say HELLO on a link that has just been connected."""
        lane = self._lanes.get(number)
        if lane is not None:
            lane.greet()

    def address(self, number: int, ack: HelloAck) -> None:
        """Address what is sent over a link from now on."""
        lane = self._lanes.get(number)
        if lane is not None:
            lane.address(ack.node, ack.incarnation)

    def send(self, number: int, messages: Sequence[Message]) -> None:
        """Queue messages for a link."""
        lane = self._lanes.get(number)
        if lane is not None:
            self._ledger.said(self._owner.name, messages)
            lane.add(messages)

    def flush(self) -> None:
        """Send what waits on the links that are connected."""
        for lane in self._lanes.values():
            self._flush(lane)

    def close(self) -> None:
        """Be no more."""
        for lane in self._lanes.values():
            lane.closed = True

    def _flush(self, lane: SimLane) -> None:
        if lane.waiting and lane.connection is not None:
            waiting, lane.waiting = lane.waiting, []
            self._network.send_up(lane.connection, lane.header, waiting)

    def _on_up(self, lane: SimLane) -> None:
        """Now and then what had waited gets through before anybody knows that there is a connection."""
        if self._rng.random() < 0.02:
            self._flush(lane)
