"""A controller's lanes: nodes that cannot be dialled, and a mesh that is closed meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshq.control.lanes import ControlLanes, Reach
from meshq.protocol.messages import Command, Hello
from meshq.transport.context import make_context
from meshq.transport.loop import Loop

COMMAND = Command(b"k" * 16, b"c" * 16, "ping", b"\x80", [], "", True, 1.0)


class Controller:
    """Lanes on a loop, to one node that listens and never says a word."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.context = make_context()
        self._mute = socket.create_server(("127.0.0.1", 0))
        self.port = self._mute.getsockname()[1]
        self.reach = Reach(b"n" * 16, 1, "node@h", f"tcp://127.0.0.1:{self.port}", self.port)
        hello = Hello(COMMAND.client, b"s" * 16, "m", "control", "client", 1, 1)
        self.lanes = ControlLanes(self.loop, self.context, None, hello, lambda: [self.reach])
        self.finished: list[dict[str, str]] = []

    def begin(self, timeout: float) -> None:
        """Give the command."""
        self.lanes.begin(
            COMMAND, timeout=timeout, limit=None, gather=False, on_reply=lambda *_: None,
            on_finish=self.finished.append,
        )  # fmt: skip

    def until_finished(self) -> dict[str, str]:
        """Turn the loop until the command is over; return the missing."""
        end_at = time.monotonic() + 10
        while not self.finished:
            assert time.monotonic() < end_at, "the command did not end"
            self.loop.turn(self.lanes.timeout())
            self.lanes.step()
        return self.finished[0]

    def close(self) -> None:
        """Close all that is open."""
        self.lanes.close()
        self.loop.close()
        self.context.term()
        self._mute.close()


@pytest.fixture
def controller() -> Iterator[Controller]:
    """Make lanes that have not been used."""
    made = Controller()
    yield made
    made.close()


@pytest.mark.parametrize("wrong", ["endpoint", "control_port"])
def test_a_node_that_cannot_be_dialled_is_unreachable(controller: Controller, wrong: str) -> None:
    """The command goes on, and says so; the next one dials the node anew."""
    good = controller.reach
    bad: dict[str, Any] = {"endpoint": {"endpoint": "tcp://127.0.0.1:0"}, "control_port": {"control_port": 0}}
    controller.reach = good._replace(**bad[wrong])
    controller.begin(0.3)
    assert controller.until_finished() == {"node@h": "unreachable"}
    first = controller.lanes._link_of[good.node]
    controller.reach = good
    controller.lanes.refresh()
    assert controller.lanes._link_of[good.node] != first
    assert controller.lanes._broken == set()


def test_a_mesh_that_is_closed_misses_who_has_not_answered(controller: Controller) -> None:
    """An early end does not look as if all had answered."""
    controller.begin(60)
    controller.lanes.close()
    assert controller.finished == [{"node@h": "the mesh was closed"}]


def test_an_effect_that_is_unknown_raises(controller: Controller) -> None:
    """What the machine decides is never passed over in silence."""
    controller.begin(60)
    running = controller.lanes._running[COMMAND.command]
    with pytest.raises(AssertionError):
        controller.lanes._apply(running, [object()])  # type: ignore[list-item]
