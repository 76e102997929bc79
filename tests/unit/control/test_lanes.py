"""A controller's lanes: nodes that cannot be dialled, and a mesh that is closed meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshq.control import lanes as lanes_module
from meshq.control.lanes import ControlLanes, Reach, topic_of
from meshq.core.candidates import Absent
from meshq.protocol.messages import Command, Hello, HelloAck, Message, Refused, Reply
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
        self.present = True
        self.away: list[Absent] = []
        self.changes = 0
        hello = Hello(COMMAND.client, b"s" * 16, "m", "control", "client", 1, 1)
        self.lanes = ControlLanes(self.loop, self.context, None, hello, self)
        self.finished: list[dict[str, str]] = []
        self.replies: list[tuple[str, Any]] = []

    def reaches(self) -> list[Reach]:
        """Return the one node."""
        return [self.reach] if self.present else []

    def absent(self) -> list[Absent]:
        """Return who should be there and is not."""
        return self.away

    def miss(self, *away: Absent) -> None:
        """Let these be absent from now on."""
        self.away = list(away)
        self.changes += 1

    def hear(self, *messages: Message) -> None:
        """Take messages of the node's lane."""
        self.lanes._on_messages(self.lanes._link_of[self.reach.node], list(messages))

    def begin(self, timeout: float, command: Command = COMMAND) -> None:
        """Give the command."""
        self.lanes.begin(
            command, timeout=timeout, limit=None, gather=False,
            on_reply=lambda *reply: self.replies.append(reply), on_finish=self.finished.append,
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


@pytest.mark.parametrize("value", [b"\xc1", b"\x81\x91\x01\x02"], ids=["no msgpack", "a list as a key"])
def test_a_reply_that_cannot_be_read_is_an_error(controller: Controller, value: bytes) -> None:
    """It counts as this node's reply, and says what is wrong with it."""
    controller.begin(60)
    controller.hear(Reply(COMMAND.command, controller.reach.node, "node@h", value))
    ((name, said),) = controller.replies
    assert (name, controller.finished) == ("node@h", [{}])
    assert "cannot be read" in said["error"]


def test_a_node_answers_for_itself_alone(controller: Controller) -> None:
    """Neither by the id nor by the name of another, nor over a lane that was closed."""
    controller.miss(AWAY)
    controller.begin(60)
    controller.hear(Reply(COMMAND.command, AWAY.node, AWAY.name, b"\x80"))
    controller.lanes._on_messages(99, [Reply(COMMAND.command, controller.reach.node, "node@h", b"\x80")])
    assert controller.replies == []
    controller.hear(Reply(COMMAND.command, controller.reach.node, AWAY.name, b"\x80"))
    assert controller.replies == [("node@h", {})]
    assert controller.lanes._running[COMMAND.command].machine.silent == ["away@h"]


def test_a_node_that_has_forgotten_us_is_greeted_anew(controller: Controller) -> None:
    """Once for all that it says of it, and again if it forgets again."""
    greeted: list[int] = []
    controller.lanes.refresh()
    controller.lanes._links.greet = greeted.append  # type: ignore[method-assign]
    ack = HelloAck(controller.reach.node, 1, 1, "node", "h", 1, {}, [], [], [], False)
    stale = Refused("stale", "greet this node first")
    controller.hear(stale)
    for count in (1, 2):
        controller.hear(ack)
        assert controller.lanes._up == {controller.reach.node}
        controller.hear(stale, stale, Refused("verb", "not known"))
        assert (len(greeted), controller.lanes._up) == (count, set())


def test_an_effect_that_is_unknown_raises(controller: Controller) -> None:
    """What the machine decides is never passed over in silence."""
    controller.begin(60)
    running = controller.lanes._running[COMMAND.command]
    with pytest.raises(AssertionError):
        controller.lanes._apply(running, [object()])  # type: ignore[list-item]


AWAY = Absent(b"a" * 16, "away@h", "silent")


@pytest.mark.parametrize(
    ("code", "reason"),
    [("silent", "unreachable"), ("auth", "authentication refused"), ("version", "it speaks version 9")],
)
def test_who_is_absent_is_missing(controller: Controller, code: str, reason: str) -> None:
    """With the reason; a command for others has nothing to do with it."""
    controller.present = False
    controller.miss(AWAY._replace(code=code, text=reason if code == "version" else ""))
    controller.begin(0.2)
    assert controller.until_finished() == {"away@h": reason}
    controller.finished.clear()
    controller.begin(0.2, COMMAND._replace(command=b"l" * 16, destination=["other"]))
    assert controller.until_finished() == {}


def test_who_turns_out_to_be_absent_or_to_have_ended_changes_what_a_command_waits_for(
    controller: Controller,
) -> None:
    """While it is under way: a node that others name is waited for, until it is known to be no more."""
    controller.present = False
    controller.miss(AWAY)
    controller.begin(60)
    controller.miss(AWAY, AWAY._replace(node=b"b" * 16, name="late@h"))
    controller.lanes.step()
    assert controller.lanes._running[COMMAND.command].machine.silent == ["away@h", "late@h"]
    controller.miss(AWAY._replace(node=b"b" * 16, name="late@h"))
    controller.lanes.step()
    assert controller.lanes._running[COMMAND.command].machine.silent == ["late@h"]
    controller.miss()
    controller.lanes.step()
    assert controller.finished == [{}]


@pytest.mark.parametrize("left", [False, True])
def test_a_node_that_is_gone_is_not_waited_for(controller: Controller, left: bool) -> None:
    """Neither one that has ended, nor one that took leave and whose connection is lost, while commands run."""
    controller.begin(60)
    assert controller.lanes._running[COMMAND.command].machine.silent == ["node@h"]
    controller.present = left
    controller.reach = controller.reach._replace(left=left)
    controller.changes += 1
    controller.lanes.step()
    assert controller.finished == [{}]
    assert controller.lanes._link_of == {}
    controller.begin(0.2, COMMAND._replace(command=b"l" * 16))
    assert controller.lanes._running[b"l" * 16].machine.silent == []


def take_leave(controller: Controller) -> None:
    """Let the node, which the command has reached, say that it ends, and lose its work lane."""
    lanes, node = controller.lanes, controller.reach.node
    lanes._on_subscription(topic_of(node), True)
    controller.hear(HelloAck(node, 1, 1, "node", "h", 1, {}, [], [], [], False))
    controller.reach = controller.reach._replace(left=True)
    controller.changes += 1
    lanes.step()


def test_a_node_that_has_left_may_still_answer(controller: Controller) -> None:
    """Its lanes break one after the other, and its last words come over the one that is left."""
    controller.begin(60)
    take_leave(controller)
    assert controller.finished == []
    controller.hear(Reply(COMMAND.command, controller.reach.node, "node@h", b"\x80"))
    assert (controller.replies, controller.finished) == ([("node@h", {})], [{}])
    controller.begin(60, COMMAND._replace(command=b"l" * 16))
    assert controller.finished == [{}, {}]  # a new command is not for it


@pytest.mark.parametrize("buried", [False, True])
@pytest.mark.parametrize(("name", "missing"), [("ping", {}), ("shutdown", {"node@h": "unreachable"})])
def test_a_node_that_has_left_is_gone_with_its_lane(
    controller: Controller, name: str, missing: dict[str, str], buried: bool
) -> None:
    """It is excused, but from saying that it ends; so too where it is no longer known by then."""
    controller.begin(0.5, COMMAND._replace(name=name))
    take_leave(controller)
    if buried:
        controller.present = False
        controller.changes += 1
    else:
        number = controller.lanes._link_of[controller.reach.node]
        controller.lanes._on_link_event(number, "disconnected", "the connection broke")
    controller.lanes.step()
    assert controller.lanes._link_of == {}
    assert controller.finished == ([] if missing else [{}])
    assert controller.until_finished() == missing


def test_a_last_answer_is_read_before_the_lane_is_closed(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has come in the turn of the loop in which the node is found to be gone."""
    controller.begin(60)
    reply = Reply(COMMAND.command, controller.reach.node, "node@h", b"\x80")
    monkeypatch.setattr(controller.lanes._links, "catch_up", lambda _: controller.hear(reply))
    controller.present = False
    controller.changes += 1
    controller.lanes.step()
    assert (controller.replies, controller.finished) == ([("node@h", {})], [{}])


def test_a_node_that_has_fallen_silent_is_waited_for(controller: Controller) -> None:
    """It is missing, as it may be there."""
    controller.begin(0.3)
    controller.present = False
    controller.miss(AWAY._replace(node=controller.reach.node, name=controller.reach.name))
    assert controller.until_finished() == {"node@h": "unreachable"}


def test_who_comes_up_is_not_absent(controller: Controller) -> None:
    """Its lane is opened, and it is expected as before."""
    controller.present = False
    controller.miss(AWAY._replace(node=controller.reach.node, name=controller.reach.name))
    controller.begin(60)
    controller.present = True
    controller.miss()
    controller.lanes.refresh()
    assert controller.lanes._running[COMMAND.command].machine.silent == ["node@h"]


def test_so_many_absent_ones_are_waited_for(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not all that a spoofer makes up."""
    monkeypatch.setattr(lanes_module, "MAX_ABSENT", 2)
    controller.present = False
    controller.miss(*(AWAY._replace(node=bytes([number]) * 16, name=f"{number}@h") for number in range(5)))
    controller.begin(0.2)
    assert list(controller.until_finished()) == ["0@h", "1@h"]
