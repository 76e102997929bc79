"""One connection to one node: messages there and back, and the story that its events tell."""

from __future__ import annotations

import errno
import socket
import threading
import time
from itertools import pairwise

import pytest
import zmq
from transport_harness import HOST, Client, Net, free_port

from meshq.errors import ConfigError
from meshq.transport.dealer import Dealer
from meshq.transport.keys import generate
from meshq.transport.loop import Loop
from meshq.transport.monitor import ConnectionStory
from meshq.transport.sockets import DRAIN_LIMIT, MAX_FRAME_BYTES, WORK_SEND_HWM


@pytest.mark.parametrize("keyed", [False, True])
def test_messages_go_there_and_back(net: Net, keyed: bool) -> None:
    """Small and large frames come back as they were, with a key and without; the node learns the user."""
    key = generate() if keyed else None
    node = net.node(key)
    client = net.client(node.endpoint, key)
    net.until(lambda: client.words == ["connected"])
    message = [b"hello", b"", bytes(range(256)) * 4096, memoryview(b"view" * 20_000), bytearray(b"bytes")]
    assert client.dealer.send(message)
    net.until(lambda: client.got)
    assert client.got == [[bytes(frame) for frame in message]]
    assert bool(node.got[0][2]) is keyed


@pytest.mark.parametrize("keyed", [False, True])
def test_ipv6_works(net: Net, keyed: bool) -> None:
    """The same over ::1."""
    key = generate() if keyed else None
    try:
        node = net.node(key, host="::1")
    except ConfigError:
        pytest.skip("this host has no IPv6")
    client = net.client(node.endpoint, key)
    net.until(lambda: client.words)
    client.dealer.send([b"x"])
    net.until(lambda: client.got == [[b"x"]])


def test_nothing_is_sent_before_the_connection(net: Net) -> None:
    """Without a node, sending says False at once, and nothing is kept for whoever comes later."""
    port = free_port()
    client = net.client(f"tcp://{HOST}:{port}")
    assert client.dealer.send([b"early"]) is False
    net.until(lambda: "refused" in client.words)
    node = net.node(port=port)
    net.until(lambda: "connected" in client.words)
    assert client.dealer.send([b"late"])
    net.until(lambda: node.got)
    assert [frames for _, frames, _ in node.got] == [[b"late"]]


def test_a_port_where_nothing_listens_is_refused(net: Net) -> None:
    """The word comes at once, and again with each attempt."""
    client = net.client(f"tcp://{HOST}:{free_port()}")
    net.until(lambda: len(client.events) >= 2)
    assert set(client.events) == {("refused", "nothing listens there")}


def test_an_unreachable_host_is_not_called_refused(net: Net) -> None:
    """What cannot be reached may live; only an answer from its host says that nothing listens."""
    client = net.client("tcp://255.255.255.255:9")  # refused by the kernel, and not for want of a listener
    net.until(lambda: client.words)
    assert set(client.words) == {"unreachable"}
    assert client.events[0][1]


def test_a_node_that_dies_and_comes_back(net: Net) -> None:
    """The break, the refusals and the new connection are told; nothing sent in between is kept."""
    port = free_port()
    node = net.node(port=port)
    client = net.client(node.endpoint)
    net.until(lambda: client.words == ["connected"])
    node.sockets.close()
    net.until(lambda: "refused" in client.words)
    assert client.words[:2] == ["connected", "disconnected"]
    assert client.dealer.send([b"lost"]) is False
    again = net.node_at(port)
    net.until(lambda: client.words[-1] == "connected")
    assert client.dealer.send([b"new"])
    net.until(lambda: client.got == [[b"new"]])
    assert len(again.got) == 1


def test_what_has_come_over_a_connection_that_broke_is_kept(net: Net) -> None:
    """Though the loop had no time to read it before; ``take_in`` reads it without the loop."""
    node = net.node()
    clients = [net.client(node.endpoint, keeps=True) for _ in range(2)]
    net.until(lambda: all(client.words for client in clients))
    for client in clients:
        client.dealer.send([b"x"])
    net.until(lambda: len(node.got) == 2)  # echoed, and not read yet
    node.sockets.close(1.0)
    time.sleep(0.2)  # the I/O thread sees the end of the connections
    clients[0].dealer.take_in()
    assert (clients[0].got, clients[0].words) == ([[b"x"]], ["connected"])
    net.until(lambda: all("disconnected" in client.words for client in clients))
    assert [client.got for client in clients] == [[[b"x"]]] * 2


def test_all_that_has_come_is_read_at_once(net: Net) -> None:
    """Though the loop has seen it come: the next turn may be far, and what is unread goes with the connection."""
    node = net.node()
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    net.loop.unregister(client.dealer._socket)

    def takes_several() -> bool:
        client.dealer.send([b"x"])  # echoed while the loop is turned
        client.got.clear()
        net.loop.saw_it_come = True
        if len(node.got) % 10 == 0:
            client.dealer.take_in()
        return len(client.got) > 1

    net.until(takes_several)


def test_a_stream_of_messages_keeps_its_order(net: Net) -> None:
    """Sending again whatever was not taken at first loses nothing and doubles nothing."""
    client = net.client(net.node().endpoint)
    net.until(lambda: client.words)
    for number in range(600):
        net.until(lambda number=number: client.dealer.send([b"%d" % number]))
    net.until(lambda: len(client.got) == 600)
    assert client.got == [[b"%d" % number] for number in range(600)]


def test_a_full_link_says_so_and_tells_when_there_is_room(net: Net) -> None:
    """A node that does not read stops the sender after a bounded number; room is told once."""
    context = net.context
    frozen = context.socket(zmq.ROUTER)
    frozen.setsockopt(zmq.RCVHWM, 1)
    frozen.setsockopt(zmq.RCVBUF, 4096)
    port = frozen.bind_to_random_port(f"tcp://{HOST}")
    client = net.client(f"tcp://{HOST}:{port}")
    net.until(lambda: client.words)
    piece = b"x" * 500_000
    sent = 0
    while client.dealer.send([piece]):
        sent += 1
        assert sent < 10 * WORK_SEND_HWM
    assert sent >= WORK_SEND_HWM
    told: list[Dealer] = []
    client.dealer.want_write(told.append)
    net.turn_for(0.05)
    assert told == []
    while not told:
        if frozen.poll(10):
            frozen.recv_multipart()
        net.loop.turn(0)
    assert client.dealer.send([b"more"])
    net.turn_for(0.02)
    assert told == [client.dealer]
    frozen.close(0)


def test_want_write_waits_for_the_connection(net: Net) -> None:
    """While there is none, the loop sleeps; with it, room is told."""
    port = free_port()
    client = net.client(f"tcp://{HOST}:{port}")
    told: list[Dealer] = []
    client.dealer.want_write(told.append)
    net.turn_for(0.05)
    assert told == []
    net.node(port=port)
    net.until(lambda: told)


def test_one_link_delivers_a_bounded_number_a_turn(net: Net) -> None:
    """A flood on one link leaves room for the others after DRAIN_LIMIT messages; none is lost."""
    node = net.node()
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    client.dealer.send([b"hello"])
    net.until(lambda: client.got)
    route, total = node.got[0][0], 3 * DRAIN_LIMIT
    sent, deadline = 0, time.monotonic() + 10
    while sent < total and time.monotonic() < deadline:  # the I/O thread brings them over; the loop stands still
        sent += node.sockets.send(route, [b"x"]) == "sent"
    sizes = [len(client.got)]
    while len(client.got) < total + 1 and time.monotonic() < deadline:
        net.loop.turn(0.1)
        sizes.append(len(client.got))
    assert len(client.got) == total + 1
    assert max(after - before for before, after in pairwise(sizes)) <= DRAIN_LIMIT


def test_closing_inside_a_callback_ends_it(net: Net) -> None:
    """A dealer closed by its own callback delivers nothing more, and closing again does nothing."""
    node = net.node()
    got: list[list[bytes]] = []

    def once(dealer: Dealer, frames: list[bytes]) -> None:
        got.append(frames)
        dealer.close()

    events: list[str] = []
    dealer = net.keep(
        Dealer(net.loop, net.context, node.endpoint, None, once, lambda _, word, text: events.append(word))
    )
    net.until(lambda: events)
    for number in range(5):
        dealer.send([b"%d" % number])
    net.until(lambda: dealer.closed)
    net.turn_for(0.05)
    assert got == [[b"0"]]
    assert events == ["connected"]
    dealer.close()


def test_an_oversized_frame_is_not_taken(net: Net) -> None:
    """A frame beyond the limit breaks the connection instead of filling the node's memory."""
    node = net.node()
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    client.dealer.send([b"x" * (MAX_FRAME_BYTES + 1)])
    net.until(lambda: "disconnected" in client.words)
    assert node.got == []


@pytest.mark.parametrize("endpoint", ["tcp://nowhere", "ipc:///tmp/x"])
def test_a_bad_endpoint_is_named(net: Net, endpoint: str) -> None:
    """It is refused before anything is opened."""
    with pytest.raises(ConfigError, match="is not an endpoint"):
        net.client(endpoint)


def _auth(client: Client) -> str:
    assert client.words == ["auth"]
    return client.events[0][1]


def test_a_client_without_the_key_is_told(net: Net) -> None:
    """A keyed node lets nobody in without a key."""
    node = net.node(generate())
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    assert _auth(client) == "the node wants the key of its mesh"


def test_a_client_with_a_key_is_told_of_a_node_without(net: Net) -> None:
    """A client with a key does not talk to a node that cannot prove the same."""
    client = net.client(net.node().endpoint, generate())
    net.until(lambda: client.words)
    assert _auth(client) == "the node runs without a key"


def test_a_client_of_another_mesh_is_told(net: Net) -> None:
    """With the key of another mesh the node hangs up, again and again; that is told once, and ends it."""
    node = net.node(generate())
    client = net.client(node.endpoint, generate())
    net.until(lambda: client.words)
    assert "holds another key" in _auth(client)
    net.turn_for(0.5)
    assert client.words == ["auth"]
    assert node.got == []


def test_a_node_that_hangs_up_while_it_restarts_is_not_another_mesh(net: Net) -> None:
    """One connection that is closed in the handshake is tried again, without a word."""
    port = free_port()
    listener = socket.create_server((HOST, port))
    client = net.client(f"tcp://{HOST}:{port}")

    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.close()
        listener.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    net.until(lambda: client.words)
    thread.join()
    assert client.words[0] == "refused"  # the next attempt found nobody
    net.node_at(port)
    net.until(lambda: "connected" in client.words)
    assert "auth" not in client.words


def test_a_silent_peer_is_unreachable_and_not_another_mesh() -> None:
    """A frozen node accepts connections through its kernel, and must not be taken for one with another key."""
    story = ConnectionStory(keyed=True)
    for _ in range(10):
        word, text = story.feed(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EAGAIN) or ("", "")
        assert (word, "has not answered within 5 s" in text) == ("unreachable", True)
        assert story.feed(zmq.EVENT_DISCONNECTED, 7) is None


def test_a_peer_that_speaks_otherwise_is_named() -> None:
    """A protocol error other than a missing key is told with its number."""
    word, text = ConnectionStory(keyed=True).feed(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 0x10000001) or ("", "")
    assert (word, "0x10000001" in text) == ("auth", True)


def test_hanging_up_without_a_word_counts_too() -> None:
    """A disconnection in the handshake that libzmq does not call a failure is one."""
    story = ConnectionStory(keyed=False)
    told = [story.feed(zmq.EVENT_DISCONNECTED, 7) for _ in range(3)]
    assert told[:2] == [None, None]
    assert told[2] is not None
    assert told[2][0] == "auth"


def test_a_dealer_that_fails_to_open_leaves_nothing_behind(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal by libzmq is a ConfigError that names the endpoint, and the loop has nothing of it."""

    def refuse(self: object, endpoint: str) -> None:
        raise zmq.ZMQError(errno.EINVAL)

    monkeypatch.setattr(zmq.Socket, "connect", refuse)
    loop = net.keep(Loop())
    watched = len(loop._poller.sockets)
    monkeypatch.setattr("meshq.transport.dealer.ConnectionMonitor", _NoMonitor)
    with pytest.raises(ConfigError, match=r"tcp://10\.0\.0\.5:1 cannot be dialled"):
        Dealer(loop, net.context, "tcp://10.0.0.5:1", None, lambda *_: None, lambda *_: None)
    assert len(loop._poller.sockets) == watched


class _NoMonitor:
    def __init__(self, *args: object) -> None: ...

    def close(self) -> None: ...
