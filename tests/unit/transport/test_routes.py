"""The routes of a node: which are kept, and for how long."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from meshq.protocol.envelope import MAGIC_OF_VERSION, Header, Outbox, decode, encode_header
from meshq.protocol.messages import ByeAck, Message, Pong, Refused, Reply, Result, RevokedIds, Submit
from meshq.protocol.parts import Joiner
from meshq.transport import routes as routes_module
from meshq.transport.routes import RETRY_MOST_S, RETRY_S, Routes

SUBMIT = Submit(b"t" * 16, 1, "f", "raw", bytes(64 * 1024))
RESULT_BYTES = 32 * 1024**2


class Wire:
    """Sockets that say what they are told to, and the routes on them; ``greeted`` are those with a caller."""

    def __init__(self) -> None:
        self.verdict = "sent"
        self.sent: list[tuple[bytes, list[Any]]] = []
        self.frames: list[list[Any]] = []
        self.greeted: set[bytes] = set()
        self.gone: list[bytes] = []
        self.now = 100.0
        self.full: set[bytes] = set()
        self.room = -1
        """How many more messages are taken; below 0, any number."""
        self.tried: list[bytes] = []
        self.routes = Routes(Header(b"n" * 16), self.gone.append, self.greeted.__contains__, RESULT_BYTES)

    def monotonic(self) -> float:
        """Stand in for the clock."""
        return self.now

    def send(self, route: bytes, frames: list[Any]) -> str:
        """Stand in for the ROUTER."""
        self.tried.append(route)
        verdict = "full" if route in self.full or not self.room else self.verdict
        if verdict == "sent":
            self.room -= 1
            self.sent.append((route, decode(frames, Joiner()).messages))
            self.frames.append(frames)
        return verdict

    def flush(self, seconds: float = RETRY_MOST_S) -> None:
        """Send what waits, so many seconds later."""
        self.now += seconds
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
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Begin without routes."""
    wire = Wire()
    monkeypatch.setattr(routes_module, "time", wire)
    return wire


PREFIX = encode_header(Header(b"c" * 16))


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


def result(number: int, size: int = 1_000_000) -> Result:
    """Return the result of a task."""
    return Result(number.to_bytes(16, "big"), 1, 0, "raw", bytes(size))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sixteenth of the usual be too much."""
    for name in ("MAX_WAITING_BYTES", "_WEIGH_BYTES"):
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
    for number in range(100):
        wire.routes.send(b"1", [result(number), Pong(2)])
        wire.flush()
    wire.verdict = "sent"
    wire.sent.clear()
    wire.flush()
    (pongs, results) = (sum(message == Pong(2) for _, told in wire.sent for message in told), results_of(wire))
    assert (pongs, wire.gone) == (100, [])
    assert 16 <= results <= 20
    wire.verdict = "full"
    wire.routes.send(b"1", [result(101), result(102), result(103)])
    wire.flush()
    wire.routes.send(b"1", [result(104)])
    wire.verdict = "sent"
    wire.flush()
    assert results_of(wire) == results + 4


def results_of(wire: Wire) -> int:
    """Return how many results have been sent."""
    joiner = Joiner()
    return sum(type(message) is Result for frames in wire.frames for message in decode(frames, joiner).messages)


def test_one_result_of_any_size_may_wait(wire: Wire) -> None:
    """Also where the others take up all the room that there is; a second one is left out."""
    wire.fill(b"1", b"2", b"3")
    wire.verdict = "full"
    for route in (b"1", b"2", b"3"):
        wire.routes.send(route, [Pong(2)])
    wire.flush()
    for number, route in enumerate((b"1", b"1", b"2", b"2", b"3", b"3")):
        wire.routes.send(route, [result(number, RESULT_BYTES * 2 // 3)])
    assert [wire.routes._routes[route].result_bytes > 0 for route in (b"1", b"2", b"3")] == [True] * 3
    wire.verdict = "sent"
    wire.flush()
    assert results_of(wire) == 3
    assert wire.routes._result_bytes == 0


def test_what_has_gone_out_makes_room(wire: Wire) -> None:
    """A route that is blocked still, but moves, takes results again."""
    wire.fill(b"1")
    wire.room = 0
    wire.routes.send(b"1", [Pong(2)])
    wire.flush()
    for number in range(50):
        wire.routes.send(b"1", [result(number)])
    waiting = len(wire.routes._routes[b"1"].told)
    assert 15 <= waiting <= 20
    wire.room = 5
    wire.flush()
    for number in range(50, 100):
        wire.routes.send(b"1", [result(number)])
    assert waiting + 5 <= len(wire.routes._routes[b"1"].told) <= waiting + 12


def test_a_result_that_is_sent_again_waits_only_once(wire: Wire) -> None:
    """Small or large: a client that reads slowly gets no copies of what is still on its way to it."""
    wire.fill(b"1")
    wire.verdict = "full"
    wire.routes.send(b"1", [Pong(2)])
    wire.flush()
    for _ in range(5):
        wire.routes.send(b"1", [result(1), result(2, 10), result(2, 10)._replace(attempt=2)])
        wire.flush()
    wire.verdict = "sent"
    wire.flush()
    assert results_of(wire) == 3
    wire.routes.send(b"1", [result(2, 10)])
    wire.flush()
    assert results_of(wire) == 4


def test_blocked_routes_hold_up_nobody_and_are_tried_ever_less_often(wire: Wire) -> None:
    """At first soon; as soon as one moves again, soon again. They cost others nothing meanwhile."""
    stalled = [bytes([number]) for number in range(100)]
    wire.fill(b"other", *stalled)
    assert wire.routes.retry_at is None
    wire.full.update(stalled)
    for route in stalled:
        wire.routes.send(route, [Pong(2)])
    wire.flush(0.0)
    assert wire.routes.retry_at == wire.now + RETRY_S
    wire.tried.clear()
    for _ in range(1_000):
        wire.routes.send(b"other", [Pong(3)])
        wire.flush(0.01)
    assert wire.tried.count(b"other") == 1_000
    assert wire.tried.count(stalled[0]) <= 6 + 10 / RETRY_MOST_S
    wire.full.clear()
    wire.flush()
    assert wire.sent[-1][1] == [Pong(2)]
    assert wire.routes.retry_at is None
    wire.full.update(stalled)
    wire.routes.send(stalled[0], [Pong(4)])
    wire.flush(0.0)
    assert wire.routes.retry_at == wire.now + RETRY_S


def test_a_client_that_is_slow_keeps_its_connection(wire: Wire) -> None:
    """However much it is sent in all, as long as it reads."""
    wire.fill(b"1")
    for number in range(400):
        wire.verdict = "full" if number % 2 else "sent"
        wire.routes.send(b"1", [REPLY])
        wire.flush()
    assert wire.gone == []


def test_peers_of_other_versions_are_answered(wire: Wire) -> None:
    """A version that is not spoken, and verbs that are not known, once; the rest of the batch is handed on."""
    wire.greeted.add(b"newer")
    [[head]] = frames_of(Pong(1))
    assert wire.routes.decode(b"newer", [b"meshq\x09" + head[6:]]) is None
    strange = msgpack.packb([[99, [1]], [14, [1]]])
    for _ in range(2):
        incoming = wire.routes.decode(b"newer", [PREFIX + strange])
        assert incoming is not None
        assert incoming.messages == [Pong(1)]
    wire.flush()
    [(_, refusals)] = wire.sent
    assert [(type(each), each.code) for each in refusals] == [(Refused, "version"), (Refused, "verb")]
    assert "this is version 9: upgrade meshq there" in refusals[0].text


def test_a_flood_of_unknown_verbs_is_answered_in_brief(wire: Wire) -> None:
    """A stranger's too, who is not remembered."""
    flood = msgpack.packb([[number] for number in range(1_000, 150_000)])
    assert wire.routes.decode(b"stranger", [PREFIX + flood]) is not None
    wire.flush()
    [(_, [refused])] = wire.sent
    assert len(refused.text) < 200
    assert wire.kept() == set()


def test_each_route_speaks_the_version_that_was_agreed_there(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of two clients may differ; who has agreed on none is answered in the first one."""
    monkeypatch.setitem(MAGIC_OF_VERSION, 2, b"meshq\x02")
    wire.fill(b"old", b"new")
    wire.routes.speak(b"new", 2)
    wire.frames.clear()
    for route in (b"old", b"new", b"other"):
        wire.fill(route)
    assert [frames[0][5] for frames in wire.frames] == [1, 2, 1]
    assert [wire.routes.version(route) for route in (b"old", b"new", b"unknown")] == [1, 2, 1]


def test_a_route_for_which_there_is_no_room_agrees_on_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not remembered."""
    monkeypatch.setattr(routes_module, "MAX_ROUTES", 1)
    wire.fill(b"first")
    wire.routes.speak(b"second", 1)
    assert wire.routes.decode(b"second", [PREFIX + msgpack.packb([[99]])]) is not None
    assert wire.kept() == {b"first"}


def test_what_cannot_be_sent_is_dropped_alone(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """A message that is too large for the wire ends neither the node nor the connection, and is logged."""
    wire.fill(b"1", b"2")
    wire.routes.send(b"1", [Pong(2), REPLY._replace(value=bytes(2_000_000)), Pong(3)])
    wire.routes.send(b"2", [Pong(4)])
    wire.sent.clear()
    wire.flush()
    told = {
        route: [message for each, said in wire.sent if each == route for message in said] for route in (b"1", b"2")
    }
    assert told == {b"1": [Pong(2), Pong(3)], b"2": [Pong(4)]}
    assert wire.gone == []
    assert caplog.text.count("a Reply of") == 1
