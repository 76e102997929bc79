"""The routes of a node: which are kept, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.protocol.envelope import Header, Outbox, decode
from meshq.protocol.messages import ByeAck, Message, Pong, Reply, Result, RevokedIds, Submit
from meshq.protocol.parts import Joiner
from meshq.transport import routes as routes_module
from meshq.transport.routes import Routes

SUBMIT = Submit(b"t" * 16, 1, "f", "raw", bytes(64 * 1024))


class Wire:
    """Sockets that say what they are told to, and the routes on them; ``greeted`` are those with a caller."""

    def __init__(self) -> None:
        self.verdict = "sent"
        self.sent: list[tuple[bytes, list[Any]]] = []
        self.frames: list[list[Any]] = []
        self.greeted: set[bytes] = set()
        self.gone: list[bytes] = []
        self.routes = Routes(Header(b"n" * 16), self.gone.append, self.greeted.__contains__)

    def send(self, route: bytes, frames: list[Any]) -> str:
        """Stand in for the ROUTER."""
        if self.verdict == "sent":
            self.sent.append((route, decode(frames, Joiner()).messages))
            self.frames.append(frames)
        return self.verdict

    def flush(self) -> None:
        """Send what waits."""
        self.routes.flush(self)  # type: ignore[arg-type]

    def kept(self) -> set[bytes]:
        """Return the routes in the table."""
        return set(self.routes._routes)

    def fill(self, *numbers: bytes) -> None:
        """Have a caller on each of these routes."""
        self.greeted.update(numbers)
        for number in numbers:
            self.routes.send(number, [Pong(1)])
        self.flush()


@pytest.fixture
def wire() -> Wire:
    """Begin without routes."""
    return Wire()


def frames_of(*messages: Any) -> list[list[Any]]:
    """Return the messages as they come over one connection."""
    outbox = Outbox(Header(b"c" * 16))
    for message in messages:
        outbox.add(message)
    return list(iter(outbox.take, None))


def test_a_stranger_is_answered_and_not_remembered(wire: Wire) -> None:
    """Whoever has not greeted leaves nothing behind, however often he comes."""
    for number in range(5):
        route = bytes([number])
        assert wire.routes.decode(route, frames_of(SUBMIT)[0]) is not None
        wire.routes.send(route, [Pong(number)])
    wire.flush()
    assert len(wire.sent) == 5
    assert wire.kept() == set()


def test_large_payloads_are_joined_for_callers_only(wire: Wire) -> None:
    """The pieces that come before a greeting are dropped, and take no memory."""
    wire.greeted.add(b"friend")
    for route, expected in ((b"friend", 1), (b"stranger", 0)):
        messages = []
        parts = frames_of(SUBMIT._replace(payload=bytes(3 * 1024 * 1024)))
        assert len(parts) > 1
        for frames in parts:
            incoming = wire.routes.decode(route, frames)
            assert incoming is not None
            messages += incoming.messages
        assert len(messages) == expected
    assert wire.kept() == {b"friend"}


@pytest.mark.parametrize("verdict", ["sent", "full"])
def test_a_route_whose_caller_leaves_goes_when_all_is_sent(wire: Wire, verdict: str) -> None:
    """The last answer still goes out, at once or when there is room; then the route is forgotten."""
    wire.fill(b"1")
    wire.verdict = verdict
    wire.routes.send(b"1", [ByeAck(0)])
    wire.flush()
    wire.greeted.clear()
    wire.routes.leave(b"1")
    assert wire.kept() == ({b"1"} if verdict == "full" else set())
    wire.verdict = "sent"
    wire.flush()
    assert wire.sent[-1] == (b"1", [ByeAck(0)])
    assert wire.kept() == set()


def test_a_full_table_makes_room_of_strangers_only(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """No live client loses what waits for it; where all are live, the newcomer is ignored."""
    monkeypatch.setattr(routes_module, "MAX_ROUTES", 2)
    wire.fill(b"1", b"2")
    assert not wire.routes.has_room(b"3")
    wire.routes.send(b"3", [Pong(3)])
    assert wire.kept() == {b"1", b"2"}
    wire.greeted.discard(b"2")
    assert wire.routes.has_room(b"3")
    assert wire.kept() == {b"1"}


REPLY = Reply(b"c" * 16, b"n" * 16, "node@host", bytes(500_000))
PAGE = RevokedIds([[b"t" * 16, 900.0]] * 2_000)
RESULT = Result(b"t" * 16, 1, 0, "raw", bytes(1_000_000))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sixteenth of the usual be too much."""
    for name in ("MAX_WAITING_BYTES", "MAX_RESULT_BYTES", "_WEIGH_BYTES"):
        monkeypatch.setattr(routes_module, name, getattr(routes_module, name) // 16)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("message", [REPLY, PAGE, Pong(1)], ids=["replies", "ids", "pongs"])
def test_who_asks_and_does_not_read_loses_the_connection(
    wire: Wire, caplog: pytest.LogCaptureFixture, message: Message
) -> None:
    """What waits for it has an end, whatever it asks for; the others' connections stay."""
    wire.fill(b"1", b"2")
    wire.verdict = "full"
    sent = 0
    while not wire.gone:
        wire.routes.send(b"1", [message] * (1 if message is REPLY else 100))
        wire.flush()
        sent += 1
        assert sent < 10_000, "there is no end of it"
    assert wire.gone == [b"1"]
    assert wire.kept() == {b"2"}
    assert caplog.text.count("nobody reads what is sent there") == 1


@pytest.mark.usefixtures("small")
def test_a_crowd_of_results_costs_nobody_the_connection(wire: Wire) -> None:
    """They come from the memory in which they are kept; so many wait, and the rest is sent again by and by."""
    wire.fill(b"1")
    wire.verdict = "full"
    for _ in range(100):
        wire.routes.send(b"1", [RESULT, Pong(2)])
        wire.flush()
    wire.verdict = "sent"
    wire.sent.clear()
    wire.flush()
    (pongs, results) = (sum(message == Pong(2) for _, told in wire.sent for message in told), results_of(wire))
    assert (pongs, wire.gone) == (100, [])
    assert 16 <= results <= 20
    wire.verdict = "full"
    wire.routes.send(b"1", [RESULT] * 3)
    wire.flush()
    wire.routes.send(b"1", [RESULT])
    wire.verdict = "sent"
    wire.flush()
    assert results_of(wire) == results + 4


def results_of(wire: Wire) -> int:
    """Return how many results have been sent."""
    joiner = Joiner()
    return sum(type(message) is Result for frames in wire.frames for message in decode(frames, joiner).messages)


def test_a_client_that_is_slow_keeps_its_connection(wire: Wire) -> None:
    """However much it is sent in all, as long as it reads."""
    wire.fill(b"1")
    for number in range(400):
        wire.verdict = "full" if number % 2 else "sent"
        wire.routes.send(b"1", [REPLY])
        wire.flush()
    assert wire.gone == []
