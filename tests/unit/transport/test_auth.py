"""Who comes in: the fail-closed row of ZAP's truth table, tried with real connections."""

from __future__ import annotations

import logging

import pytest
import zmq
from transport_harness import HOST, Client, Net

from meshq.transport import dealer
from meshq.transport.auth import Authenticator
from meshq.transport.keys import MeshKey, generate


class Stranger(Client):
    """Knows the node's public key, as anybody may, and proves a key of its own."""

    def __init__(self, net: Net, to: str, server_public: bytes) -> None:
        key = generate()

        def secure(socket: zmq.Socket[bytes], _: MeshKey | None) -> None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, server_public)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dealer, "secure_client", secure)
            super().__init__(net, to, key)


def test_the_meshs_key_comes_in_and_a_stranger_does_not(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    """A stranger who knows the node's public key but proves another gets nothing, and is logged."""
    key = generate()
    node = net.node(key)
    with caplog.at_level(logging.WARNING, logger="meshq.auth"):
        stranger = Stranger(net, node.endpoint, key.public)
        net.until(lambda: stranger.words)
    assert stranger.events == [("auth", "the node refuses this key: it belongs to a mesh with another one")]
    assert not stranger.dealer.send([b"let me in"])
    assert f"refused a connection from {HOST}" in caplog.text
    friend = net.client(node.endpoint, key)
    net.until(lambda: friend.words)
    friend.dealer.send([b"hello"])
    net.until(lambda: friend.got == [[b"hello"]])
    assert len(node.got) == 1


def test_without_a_handler_nobody_comes_in(net: Net) -> None:
    """A node that forgot the handler refuses even its own key: it fails closed."""
    key = generate()
    node = net.node(key, authenticator=False)
    clients = [net.client(node.endpoint, key), Stranger(net, node.endpoint, key.public)]
    clients.append(net.client(node.endpoint, None))
    net.until(lambda: all("auth" in client.words for client in clients))
    assert not any(client.dealer.send([b"x"]) for client in clients)
    assert node.got == []


def test_once_the_handler_is_closed_nobody_new_comes_in(net: Net) -> None:
    """Closing it shuts the door, and leaves those inside."""
    key = generate()
    handler = net.keep(Authenticator(net.context, key))
    node = net.node(key, authenticator=False)
    inside = net.client(node.endpoint, key)
    net.until(lambda: inside.words)
    handler.close()
    handler.close()
    late = net.client(node.endpoint, key)
    net.until(lambda: late.words)
    assert late.words == ["auth"]
    inside.dealer.send([b"x"])
    net.until(lambda: inside.got)


def test_broadcasts_are_closed_to_strangers_too(net: Net) -> None:
    """The control socket of a keyed node takes nothing from a publisher with another key, or none."""
    key = generate()
    node = net.node(key)
    node.sockets.subscribe(b"all")
    heard: list[tuple[str, bytes]] = []
    for name, theirs in (("none", None), ("other", generate()), ("friend", key)):
        net.publisher(theirs, lambda topic, on, name=name: heard.append((name, topic))).connect(
            node.control_endpoint
        )
    net.until(lambda: heard)
    net.turn_for(0.3)
    assert heard == [("friend", b"all")]


def test_a_busy_loop_does_not_hold_up_a_handshake(net: Net) -> None:
    """The handler has its own thread: a key is checked while the loop does not turn at all."""
    key = generate()
    node = net.node(key)
    with net.context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.setsockopt(zmq.CURVE_SERVERKEY, key.public)
        client.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
        client.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        monitor = client.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        client.connect(node.endpoint)
        assert monitor.poll(5_000)
        client.disable_monitor()
        monitor.close()


def test_a_malformed_question_is_refused(net: Net) -> None:
    """Whatever is asked, the answer is no unless everything is right, and the handler lives on."""
    handler = net.keep(Authenticator(net.context, generate()))
    with net.context.socket(zmq.REQ) as asking:
        asking.setsockopt(zmq.LINGER, 0)
        asking.connect("inproc://zeromq.zap.01")
        for question in ([b""], [b"1.0", b"7"], [b"1.0", b"7", b"meshq", b"::1", b"", b"NULL"]):
            asking.send_multipart(question)
            assert asking.poll(5_000)
            answer = asking.recv_multipart()
            assert (answer[0], answer[2], answer[4]) == (b"1.0", b"400", b"")
    handler.close()


def test_two_handlers_in_one_context_are_one_too_many(net: Net) -> None:
    """The second is refused at once, and leaves nothing open."""
    net.keep(Authenticator(net.context, generate()))
    with pytest.raises(zmq.ZMQError):
        Authenticator(net.context, generate())


def test_ending_the_context_ends_the_handler() -> None:
    """A program that ends its context first hangs neither there nor in close."""
    context = zmq.Context()
    handler = Authenticator(context, generate())
    context.term()
    handler.close()
