"""The network side of a node: who it remembers, and for how long."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from meshq.config import load_settings
from meshq.core.callers import ROUTES_EACH
from meshq.node import listening as listening_module
from meshq.node.listening import Listening, identity
from meshq.protocol.envelope import Header, Outbox, decode, encode_header
from meshq.protocol.messages import Bye, ByeAck, Hello, HelloAck, Message, Refused, Submit
from meshq.protocol.parts import Joiner
from meshq.transport.context import make_context
from meshq.transport.dealer import Dealer
from meshq.transport.loop import Loop

NODE = b"n" * 16


class Listener:
    """A node's listening side, which answers each BYE, and its clients, on one loop."""

    def __init__(self, directory: Path) -> None:
        flags = {"mesh": "listening", "slots": 1, "mdns": False}
        settings = load_settings(flags, environ={}, cwd=directory)
        self.loop = Loop()
        self.context = make_context()
        self.work: list[Message] = []
        self.greeted: list[tuple[bytes, str, str]] = []
        self.side = Listening(
            self.loop, self.context, settings, None, identity(settings, "node", socket.gethostname(), None, NODE),
            on_work=self._on_work, on_command=lambda _: None, on_lost=lambda _: None,
            on_greeted=lambda *greeted: self.greeted.append(greeted),
        )  # fmt: skip
        self._dealers: list[Dealer] = []

    def _on_work(self, client: bytes, messages: list[Message]) -> None:
        self.work += messages
        if any(isinstance(message, Bye) for message in messages):
            self.side.send(client, [ByeAck(0)])
            self.side.flush()
            self.side.forget(client)

    def dial(self) -> tuple[Dealer, list[Message]]:
        """Connect a client; return it with what it is told from now on."""
        told: list[Message] = []
        up: list[str] = []
        dealer = Dealer(
            self.loop, self.context, f"tcp://127.0.0.1:{self.side.port}", None,
            lambda _, frames: told.extend(decode(frames, Joiner()).messages), lambda _, word, __: up.append(word),
        )  # fmt: skip
        self._dealers.append(dealer)
        self.until(lambda: "connected" in up)
        return dealer, told

    def until(self, condition: Callable[[], Any]) -> None:
        """Turn the loop until the condition holds."""
        end_at = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end_at, "it did not come to pass"
            self.loop.turn(0.02)
            self.side.flush()

    def close(self) -> None:
        """Close all that is open."""
        for dealer in self._dealers:
            dealer.close()
        self.side.close()
        self.loop.close()
        self.context.term()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """Listen, without being ready yet."""
    made = Listener(tmp_path)
    yield made
    made.close()


def hello(number: int, lane: str = "work") -> Hello:
    """Return a client's greeting."""
    return Hello(bytes([number]) * 16, b"s" * 16, "listening", lane, "client", 1, 1)


def frames_of(message: Message, header: Header) -> list[list[Any]]:
    """Return a message as it comes over a connection."""
    outbox = Outbox(header)
    outbox.add(message)
    return list(iter(outbox.take, None))


def test_clients_that_have_left_leave_nothing_behind(listener: Listener) -> None:
    """A command in cron is a new client each minute, for years."""
    listener.side.open(listener.side.ack)
    for number in range(1, 4):
        told: list[Message] = []
        for lane in ("control", "work"):
            dealer, told = listener.dial()
            assert dealer.send(frames_of(hello(number, lane), Header(hello(number).client))[0])
            listener.until(lambda told=told: any(isinstance(message, HelloAck) for message in told))
        header = Header(hello(number).client, NODE, listener.side.ack.incarnation)
        assert dealer.send(frames_of(Bye(), header)[0])
        listener.until(lambda told=told: ByeAck(0) in told)
    assert listener.side._routes._routes == {}
    assert (listener.side._callers._callers, listener.side._callers._current) == ({}, {})
    assert (listener.side._callers._routes, listener.side._callers._secrets) == ({}, {})
    assert listener.side._labels == {}


def test_a_client_that_greets_without_end_takes_the_place_of_one(listener: Listener) -> None:
    """Over ever new connections, as one does whose network comes and goes."""
    listener.side.open(listener.side.ack)
    for number in range(3 * ROUTES_EACH):
        listener.side._on_frames(bytes([number]), frames_of(hello(1), Header(hello(1).client))[0], "")
    assert len(listener.side._callers._callers) == ROUTES_EACH
    assert list(listener.side._labels) == [hello(1).client]
    assert len(listener.greeted) == 3 * ROUTES_EACH


def test_parts_from_a_stranger_are_dropped(listener: Listener) -> None:
    """Who has not greeted is told to do so, and what he sent before is never joined to what he sends after."""
    listener.side.open(listener.side.ack)
    dealer, told = listener.dial()
    header = Header(hello(1).client, NODE, listener.side.ack.incarnation)
    parts = frames_of(Submit(b"t" * 16, 1, "f", "raw", bytes(3 * 1024 * 1024)), header)
    assert dealer.send(parts[0])
    listener.until(lambda: told)
    assert isinstance(told[0], Refused)
    assert told[0].code == "stale"
    assert listener.side._routes._routes == {}
    assert dealer.send(frames_of(hello(1), header)[0])
    for frames in [*parts[1:], *frames_of(Bye(), header)]:
        assert dealer.send(frames)
    listener.until(lambda: ByeAck(0) in told)
    assert listener.work == [Bye()]


def test_early_greetings_are_bounded(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that still loads its modules notes each connection once, and not without end."""
    monkeypatch.setattr(listening_module, "MAX_EARLY", 2)
    for number in (1, 1, 2, 3):
        listener.side._on_frames(bytes([number]), frames_of(hello(number), Header(b"c" * 16))[0], "")
    assert list(listener.side._early) == [b"\1", b"\2"]


def test_a_node_with_all_its_connections_taken_ignores_the_next(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who are there stay; the newcomer gets no answer, and is tried again by its client."""
    monkeypatch.setattr("meshq.transport.routes.MAX_ROUTES", 1)
    listener.side.open(listener.side.ack)
    (first, told), (second, ignored) = listener.dial(), listener.dial()
    assert first.send(frames_of(hello(1), Header(b"c" * 16))[0])
    listener.until(lambda: told)
    assert second.send(frames_of(hello(2), Header(b"d" * 16))[0])
    listener.until(lambda: "ignored a client on" in caplog.text)
    header = Header(hello(1).client, NODE, listener.side.ack.incarnation)
    assert first.send(frames_of(Bye(), header)[0])
    listener.until(lambda: ByeAck(0) in told)
    assert ignored == []


def test_the_node_is_told_who_greets(listener: Listener) -> None:
    """By id, role and a name for people; also when a client goes on over a connection that it had before."""
    listener.side.open(listener.side.ack)
    who = hello(1)._replace(role="node", host="there", pid=7)
    strange = hello(2)._replace(host="\x1b[2J" + "x" * 100, pid=8)
    (first, told), (second, told_second), (third, told_third) = (listener.dial() for _ in range(3))
    for dealer, greeting, answers in (
        (first, who, told),
        (second, who, told_second),
        (third, strange, told_third),
    ):
        assert dealer.send(frames_of(greeting, Header(greeting.client))[0])
        listener.until(lambda answers=answers: answers)
    node = (who.client, "node", "pid 7 on there")
    assert listener.greeted == [node, node, (strange.client, "client", "pid 8")]
    header = Header(who.client, NODE, listener.side.ack.incarnation)
    assert first.send(frames_of(Bye(), header)[0])
    listener.until(lambda: ByeAck(0) in told)
    assert listener.greeted[3:] == [node]


def test_who_greets_is_told_of_the_peers(listener: Listener) -> None:
    """Of those that are known at that time, whether they were found before the node was ready or after."""
    early, late = [b"e" * 16, "early@h", "tcp://h:1"], [b"l" * 16, "late@h", "tcp://h:2"]
    listener.side.name_peers([early])
    listener.side.open(listener.side.ack._replace(peers=[]))
    for number, peers in enumerate(([early], [early, late]), start=1):
        listener.side.name_peers(peers)
        dealer, told = listener.dial()
        assert dealer.send(frames_of(hello(number), Header(hello(number).client))[0])
        listener.until(lambda told=told: told)
        assert isinstance(told[0], HelloAck)
        assert told[0].peers == peers


class Air:
    """What a node is announced by; it takes down what is announced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        monkeypatch.setattr("meshq.transport.mdns.MdnsAnnouncer", self._announce)

    def _announce(self, candidate: Any, host: str, mdns: Any) -> Any:
        assert mdns is self
        return SimpleNamespace(
            start=lambda: self.said.append(f"{candidate.name} at {host}"), close=lambda: self.said.append("gone")
        )


@pytest.mark.parametrize("ready_first", [True, False])
def test_a_node_is_announced_once_it_is_ready_and_on_the_air(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, ready_first: bool
) -> None:
    """Whichever comes first; until it is withdrawn."""
    air: Any = Air(monkeypatch)
    steps = [lambda: listener.side.open(listener.side.ack), lambda: listener.side.go_on_air(air)]
    for step in steps if ready_first else reversed(steps):
        assert air.said == []
        step()
    assert air.said == ["node at 127.0.0.1"]
    listener.side.withdraw()
    assert air.said == ["node at 127.0.0.1", "gone"]


def test_a_node_that_was_withdrawn_before_it_was_on_the_air_stays_unannounced(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drains already."""
    air: Any = Air(monkeypatch)
    listener.side.open(listener.side.ack)
    listener.side.withdraw()
    listener.side.go_on_air(air)
    assert air.said == []


def test_a_newer_client_is_answered_in_the_version_that_both_speak(listener: Listener) -> None:
    """It speaks 1 to 3, and this node 1; one that speaks none of ours is told so, and may stay connected."""
    listener.side.open(listener.side.ack)
    (dealer, told), (other, refused) = listener.dial(), listener.dial()
    assert dealer.send(frames_of(hello(1)._replace(highest=3), Header(hello(1).client))[0])
    assert other.send(frames_of(hello(2)._replace(lowest=2, highest=3), Header(hello(2).client))[0])
    listener.until(lambda: told and refused)
    assert isinstance(told[0], HelloAck)
    assert told[0].version == 1
    text = "it speaks version 1 of the wire, and this is version 2 to 3: upgrade meshq there"
    assert refused == [Refused("version", text)]
    assert [client for client, _, _ in listener.greeted] == [hello(1).client]
    listener.side.resize(7)
    listener.until(lambda: len(told) > 1)
    assert isinstance(told[1], HelloAck)
    assert (told[1].version, told[1].slots) == (1, 7)


def test_what_a_newer_client_says_besides_is_answered(listener: Listener) -> None:
    """Unknown verbs and frames of a version that was not agreed; what came with the former is taken."""
    listener.side.open(listener.side.ack)
    dealer, told = listener.dial()
    header = Header(hello(1).client, NODE, listener.side.ack.incarnation)
    assert dealer.send(frames_of(hello(1), header)[0])
    prefix = encode_header(header)
    assert dealer.send([b"meshq\x02" + prefix[6:] + b"whatever it holds"])
    assert dealer.send([prefix + msgpack.packb([[99, [1]], [15, ["bye"]], [98]])])
    listener.until(lambda: ByeAck(0) in told)
    assert [each.code for each in told if isinstance(each, Refused)] == ["version", "verb"]
    assert listener.work == [Bye("bye")]
