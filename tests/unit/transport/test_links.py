"""A link's messages: what waits for HELLO to be answered, and what is dropped with a connection."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest
import zmq
from transport_harness import Net

from meshq.protocol.envelope import MAGIC_OF_VERSION, Header, Incoming, Outbox, decode, encode_header
from meshq.protocol.messages import Dead, Hello, HelloAck, Message, Ping, Pong, Rack, Refused, Result, Submit
from meshq.protocol.parts import Joiner
from meshq.transport.links import COMPANY, Link, Links

SOURCE, NODE, OTHER = b"s" * 16, b"n" * 16, b"o" * 16


@pytest.fixture
def link() -> Link:
    """Make a link that has been answered by a node, and is then connected anew."""
    link = Link(1, "tcp://127.0.0.1:1", SOURCE)
    link.address(NODE, 7)
    link.greet()
    return link


def sent(link: Link) -> list[Incoming]:
    """Return what would be sent now."""
    return [decode(frames, Joiner()) for frames in iter(link.outbox.take, None)]


def test_messages_wait_until_hello_is_answered(link: Link) -> None:
    """Before that the node takes them for a stranger's; then they go out, addressed to it."""
    link.add([Ping(1), Ping(2)])
    assert sent(link) == []
    link.address(NODE, 7)
    link.add([Ping(3)])
    assert sent(link) == [Incoming(Header(SOURCE, NODE, 7), [Ping(1), Ping(2), Ping(3)], [])]


@pytest.mark.parametrize(("node", "incarnation"), [(OTHER, 7), (NODE, 8)])
def test_messages_for_who_answered_before_are_dropped(link: Link, node: bytes, incarnation: int) -> None:
    """Where another process answers, what was meant for the earlier one does not go to it."""
    link.add([Ping(1)])
    link.address(node, incarnation)
    assert sent(link) == []
    link.add([Ping(2)])
    assert sent(link) == [Incoming(Header(SOURCE, node, incarnation), [Ping(2)], [])]


def test_an_answer_that_comes_twice_changes_nothing(link: Link) -> None:
    """What had waited is sent once."""
    link.add([Ping(1)])
    link.address(NODE, 7)
    link.address(NODE, 7)
    assert [incoming.messages for incoming in sent(link)] == [[Ping(1)]]


def test_nothing_of_a_lost_connection_is_continued(link: Link) -> None:
    """What waited, for HELLO's answer or to be sent, is dropped when HELLO is said anew."""
    link.add([Ping(1)])
    link.greet()
    link.address(NODE, 7)
    link.add([Ping(2)])
    link.greet()
    assert sent(link) == []
    link.address(NODE, 7)
    assert sent(link) == []


@pytest.mark.parametrize(("endpoint", "sockets"), [("tcp://127.0.0.1:0", 64), ("tcp://127.0.0.1:9", 1)])
def test_a_link_that_cannot_be_dialled_is_told_of_as_refused(net: Net, endpoint: str, sockets: int) -> None:
    """Be the endpoint wrong, or no socket to be had: an event of that link, and never in the midst of ``dial``."""
    events: list[tuple[int, str]] = []
    links = Links(
        net.loop, net.context, None, Hello(SOURCE, b"s" * 16, "m", "work", "client", 1, 1),
        lambda *_: None, lambda number, word, text: events.append((number, word)),
    )  # fmt: skip
    net.context.set(zmq.MAX_SOCKETS, sockets)  # a link needs two
    links.dial(1, endpoint)
    links.dial(2, endpoint)
    links.hang_up(2)
    links.greet(1)
    links.flush()
    assert events == []
    net.loop.turn(0)
    assert events == [(1, "refused")]
    assert not links.is_dialled(1)
    links.close()


def links_of(net: Net, told: list[Message]) -> Links:
    """Make links with one that is up; what comes over it is told."""
    hello = Hello(SOURCE, b"s" * 16, "m", "work", "client", 1, 2)
    links = Links(net.loop, net.context, None, hello, lambda _, messages: told.extend(messages), lambda *_: None)
    links.dial(1, "tcp://127.0.0.1:9")
    links.greet(1)
    return links


def test_a_node_that_speaks_another_version_has_refused(net: Net) -> None:
    """Whatever it said in it; people are told which side to upgrade."""
    told: list[Message] = []
    links = links_of(net, told)
    links._receive(links._links[1], [b"meshq\x09", b"", b""])
    assert told == [
        Refused("version", "it speaks version 9 of the wire, and this is version 1: upgrade meshq here")
    ]
    links._receive(links._links[1], [b"GET /", b"", b""])
    assert len(told) == 1
    links.close()


def test_a_node_is_told_once_of_verbs_that_are_not_known(net: Net) -> None:
    """The rest of its message is read."""
    told: list[Message] = []
    links = links_of(net, told)
    links.address(1, HelloAck(NODE, 7, 1, "n", "h", 1, {}, [], [], [], False))
    link = links._links[1]
    for _ in range(2):
        batch = msgpack.packb([[99, []], [14, [1]]])
        links._receive(link, [encode_header(Header(NODE, b"", 7)) + batch])
    assert told == [Pong(1), Pong(1)]
    said = [message for incoming in sent(link) for message in incoming.messages]
    assert [message.code for message in said if isinstance(message, Refused)] == ["verb"]
    links.close()


def test_what_an_earlier_life_of_a_node_has_said_is_not_heard(net: Net) -> None:
    """It comes late over a connection that another process has answered meanwhile; only greetings are answered."""
    told: list[Message] = []
    links = links_of(net, told)
    links.address(1, HelloAck(NODE, 7, 1, "n", "h", 1, {}, [], [], [], False))
    for source, incarnation in ((NODE, 6), (b"o" * 16, 7), (NODE, 7)):
        outbox = Outbox(Header(source, b"", incarnation))
        outbox.add(Pong(incarnation))
        outbox.add(Refused("stale", "greet first"))
        links._receive(links._links[1], outbox.take() or [])
    refused = Refused("stale", "greet first")
    assert told == [refused, refused, Pong(7), refused]
    again = HelloAck(NODE, 8, 1, "n", "h", 1, {}, [], [], [], False)
    outbox = Outbox(Header(NODE, b"", 8))
    outbox.add(again)
    outbox.add(Pong(8))
    links._receive(links._links[1], outbox.take() or [])
    assert told[-2:] == [again, Pong(8)]
    links.close()


def test_only_the_latest_greeting_is_answered_by_another_process(net: Net) -> None:
    """The answer of an earlier life, late, makes nobody greet it again; one that names no greeting may be new."""
    told: list[Message] = []
    links = links_of(net, told)
    link = links._links[1]
    for life, greeting in ((7, 2), (8, 3), (7, 2), (9, 0)):
        while link.greeting < greeting:
            links.greet(1)
        ack = HelloAck(NODE, life, 1, "n", "h", 1, {}, [], [], [], False, greeting=greeting)
        outbox = Outbox(Header(NODE, b"", life))
        outbox.add(ack)
        before = len(told)
        links._receive(link, outbox.take() or [])
        if len(told) > before:
            links.address(1, ack)
    assert [message.incarnation for message in told if isinstance(message, HelloAck)] == [7, 8, 9]
    links.greet(1)
    assert [m.greeting for each in sent(link) for m in each.messages if isinstance(m, Hello)] == [link.greeting]
    links.close()


def test_the_pieces_of_a_large_payload_are_a_sign_of_life(net: Net) -> None:
    """Each is told of, though it is no message yet: or a node that sends for long would be taken for dead."""
    told: list[list[Message]] = []
    hello = Hello(SOURCE, b"s" * 16, "m", "work", "client", 1, 1)
    links = Links(net.loop, net.context, None, hello, lambda _, messages: told.append(messages), lambda *_: None)
    links.dial(1, "tcp://127.0.0.1:9")
    node = Outbox(Header(NODE))
    node.add(Result(b"t" * 16, 1, 0, "raw", bytes(3 * 1024**2)))
    for frames in iter(node.take, None):
        links._receive(links._links[1], frames)
    assert list(map(len, told)) in ([0, 0, 1], [0, 0, 0, 1])
    links.close()


def test_the_version_agreed_is_spoken_until_the_connection_is_lost(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The greeting goes in the first version, by which all understand it."""
    monkeypatch.setitem(MAGIC_OF_VERSION, 2, b"meshq\x02")
    spoken = []
    for version in (2, 1):
        link.greet()
        link.outbox.add(Hello(SOURCE, b"s" * 16, "m", "work", "client", 1, 2))
        spoken += [frames[0][5] for frames in iter(link.outbox.take, None)]
        link.address(NODE, 7, version)
        link.add([Ping(1)])
        spoken += [frames[0][5] for frames in iter(link.outbox.take, None)]
    assert spoken == [1, 2, 1, 1]


def test_what_cannot_be_sent_is_dropped_alone(
    net: Net, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is too large for the wire does not end the client, and is logged; the others go out."""
    links = links_of(net, [])
    links.address(1, HelloAck(NODE, 7, 1, "n", "h", 1, {}, [], [], [], False))
    dealer = links._links[1].dealer
    assert dealer is not None
    sent: list[Message] = []

    def send(frames: list[bytes]) -> bool:
        sent.extend(decode(frames, Joiner()).messages)
        return True

    monkeypatch.setattr(dealer, "send", send)
    links.send(1, [Ping(1), Dead(b"t" * 16, "f", "x" * 2_000_000), Ping(2)])
    links.flush()
    assert [message for message in sent if isinstance(message, Ping)] == [Ping(1), Ping(2)]
    assert not any(isinstance(message, Dead) for message in sent)
    assert caplog.text.count("a Dead of") == 1
    links.close()


def test_who_wants_to_know_is_told_when_messages_are_dealt_with(net: Net) -> None:
    """How many they were; what cannot be read is none."""
    told: list[int] = []
    links = links_of(net, [])
    links._on_dealt_with = told.append
    links._links[1].address(NODE, 7)
    outbox = Outbox(Header(NODE, SOURCE, 7))
    for number in range(3):
        outbox.add(Pong(number))
    frames = outbox.take()
    assert frames is not None
    links._take_in(links._links[1], frames)
    links._take_in(links._links[1], [b"GET /", b"", b""])
    assert told == [3]
    links.close()


@pytest.fixture
def flushed(net: Net, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Links, list[list[Message]]]]:
    """The links of a client, of which the first was answered, and what each of their messages has in it."""
    messages: list[list[Message]] = []
    monkeypatch.setattr(Links, "_flush", lambda _, link: messages.extend(said.messages for said in sent(link)))
    links = Links(
        net.loop, net.context, None, Hello(SOURCE, b"s" * 16, "m", "work", "client", 1, 1),
        lambda *_: None, lambda *_: None,
    )  # fmt: skip
    links.dial(1, "tcp://127.0.0.1:9")
    links.address(1, HelloAck(NODE, 7, 1, "n", "host", 1, {}, ["msgpack"], [], [], False))
    yield links, messages
    links.close()


def test_patient_messages_wait_for_company(flushed: tuple[Links, list[list[Message]]]) -> None:
    """Few go only when told to; many go with the next that is sent, none twice."""
    links, messages = flushed
    few = [Pong(number) for number in range(COMPANY - 1)]
    links.send_patient(1, few, False)
    links.flush()
    links.send(1, [Ping(1)])
    links.flush()
    links.send_patient(1, [Pong(COMPANY)], False)
    links.send(1, [Ping(2)])
    links.flush()
    links.send(1, [Ping(3)])
    links.send_patient(1, [*few, Pong(COMPANY)], False)
    links.flush()
    links.send_patient(1, few, False)
    links.flush(all=True)
    links.flush(all=True)
    links.send_patient(9, few, False)  # of a link that was hung up
    links.flush(all=True)
    assert messages == [[Ping(1)], [*few, Pong(COMPANY), Ping(2)], [Ping(3), *few, Pong(COMPANY)], few]


def test_what_is_said_of_one_task_stays_in_its_order(flushed: tuple[Links, list[list[Message]]]) -> None:
    """Were the acknowledgement of its result to come after a task of the same id, that had the earlier result."""
    links, messages = flushed
    acknowledged = Rack(b"t" * 16, 1)
    links.send_patient(1, [acknowledged], False)
    links.send(1, [Ping(1), Submit(b"u" * 16, 1, "f", "raw", b"")])
    links.flush()
    links.send(1, [again := Submit(acknowledged.task, 1, "f", "raw", b"")])
    links.flush()
    assert [each for message in messages for each in message if type(each) is not Ping] == [
        Submit(b"u" * 16, 1, "f", "raw", b""), acknowledged, again,
    ]  # fmt: skip


def test_patient_messages_of_a_lost_connection_are_dropped(link: Link) -> None:
    """They belong to it, as all others do."""
    link.address(NODE, 7)
    link.patient.append(Ping(1))
    link.greet()
    link.address(NODE, 7)
    link.add_patient()
    assert sent(link) == []
