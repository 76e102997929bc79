"""A link's messages: what waits for HELLO to be answered, and what is dropped with a connection."""

from __future__ import annotations

import pytest
import zmq
from transport_harness import Net

from meshq.protocol.envelope import Header, Incoming, decode
from meshq.protocol.messages import Hello, Ping
from meshq.protocol.parts import Joiner
from meshq.transport.links import Link, Links

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
