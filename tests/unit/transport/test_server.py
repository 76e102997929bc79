"""A node's two sockets: where they bind, and what becomes of what they send."""

from __future__ import annotations

import socket

import pytest
from transport_harness import HOST, Net, free_port

from meshq.errors import ConfigError
from meshq.transport.sockets import WORK_RECEIVE_HWM, WORK_SEND_HWM

MANY = 2_500
"""By default, 2,000 messages are all that two sockets within a process hold between them."""


def test_free_ports_are_found(net: Net) -> None:
    """Without a port, each socket gets one of its own."""
    one, other = net.node(), net.node()
    ports = {node.sockets.port for node in (one, other)} | {node.sockets.control_port for node in (one, other)}
    assert len(ports) == 4


def test_a_given_port_and_the_next_are_used(net: Net) -> None:
    """Port N is for work, N + 1 for control."""
    port = free_port()
    node = net.node(port=port)
    assert (node.sockets.port, node.sockets.control_port) == (port, port + 1)


@pytest.mark.parametrize("offset", [0, 1])
def test_a_port_in_use_is_named(net: Net, offset: int) -> None:
    """Either of the two being taken is a ConfigError with its number, and leaves nothing bound."""
    port = free_port()
    with socket.create_server((HOST, port + offset)), pytest.raises(ConfigError, match=f"port {port + offset} of"):
        net.node(port=port)
    net.node_at(port)


def test_an_address_of_another_host_is_named(net: Net) -> None:
    """Binding what this host does not have says so, not EADDRNOTAVAIL."""
    with pytest.raises(ConfigError, match=r"no interface of this host has the address 203\.0\.113\.9"):
        net.node(host="203.0.113.9")


@pytest.mark.parametrize("port", [0, -1, 65535, 70000])
def test_impossible_ports_are_refused(net: Net, port: int) -> None:
    """The next port must exist as well."""
    with pytest.raises(ConfigError, match="from 1 to 65534"):
        net.node(port=port)


def test_what_follows_a_message_that_was_seen_to_come_is_read_in_the_next_turn(net: Net) -> None:
    """One at a time then: to look whether there are more takes longer than to come back."""
    node = net.node()
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    for number in range(3):
        client.dealer.send([bytes([number])])
    while not node.sockets._router.poll(5_000):
        pass
    net.loop.saw_it_come = True
    node.sockets._drain_router()
    assert [frames for _, frames, _ in node.got] == [[b"\0"]]
    net.until(lambda: len(node.got) == 3)


def test_all_interfaces_can_be_bound(net: Net) -> None:
    """A node on 0.0.0.0 is reached over loopback."""
    node = net.node(host="0.0.0.0")
    client = net.client(f"tcp://{HOST}:{node.sockets.port}")
    net.until(lambda: client.words == ["connected"])


def test_many_connections_that_nobody_has_looked_at_hold_nothing_up(net: Net) -> None:
    """A peer may connect faster than a busy node looks; others still come in, and the node can still close."""
    node = net.node()
    for _ in range(MANY):
        socket.create_connection((HOST, node.sockets.port)).close()
    client = net.client(node.endpoint)
    net.until(lambda: client.words == ["connected"])
    for _ in range(MANY):
        socket.create_connection((HOST, node.sockets.port)).close()
    node.sockets.close()


def test_a_client_that_has_gone_is_told(net: Net) -> None:
    """Sending to a route that is over says "gone", as does one that never was; nothing is dropped in silence."""
    node = net.node()
    client = net.client(node.endpoint)
    net.until(lambda: client.words)
    client.dealer.send([b"hello"])
    net.until(lambda: client.got)
    route = node.got[0][0]
    assert node.sockets.send(route, [b"x"]) == "sent"
    client.dealer.close()
    net.until(lambda: node.sockets.send(route, [b"x"]) == "gone")
    assert node.sockets.send(b"nobody", [b"x"]) == "gone"


def test_a_client_that_does_not_read_is_full_and_holds_up_nobody(net: Net) -> None:
    """A stalled client's queue ends after a bounded number; another client is served meanwhile."""
    node = net.node(echo=False)
    stalled, lively = net.client(node.endpoint), net.client(node.endpoint)
    net.until(lambda: stalled.words and lively.words)
    stalled.dealer.send([b"stalled"])
    lively.dealer.send([b"lively"])
    net.until(lambda: len(node.got) == 2)
    routes = {frames[0]: route for route, frames, _ in node.got}
    net.loop.unregister(stalled.dealer._socket)  # it does not read any more
    sent = 0
    while node.sockets.send(routes[b"stalled"], [b"x" * 100_000]) == "sent":
        sent += 1
        assert sent < 10 * (WORK_SEND_HWM + WORK_RECEIVE_HWM)
    assert node.sockets.send(routes[b"stalled"], [b"x"]) == "full"
    assert node.sockets.send(routes[b"lively"], [b"hello"]) == "sent"
    net.until(lambda: lively.got == [[b"hello"]])


def test_each_reconnection_is_a_new_route(net: Net) -> None:
    """Routes are not claimed by clients, so nobody can take over another's."""
    node = net.node()
    clients = [net.client(node.endpoint) for _ in range(3)]
    net.until(lambda: all(client.words for client in clients))
    for client in clients:
        client.dealer.send([b"x"])
    net.until(lambda: len(node.got) == 3)
    assert len({route for route, _, _ in node.got}) == 3


def test_what_was_taken_goes_out_after_the_close(net: Net) -> None:
    """Within the time that it is given, however much it is."""
    node, frame = net.node(echo=False), b"x" * 1024 * 1024
    client = net.client(node.endpoint, keeps=True)
    net.until(lambda: client.words)
    client.dealer.send([b"hello"])
    net.until(lambda: node.got)
    sent = 0
    while sent < 40 and node.sockets.send(node.got[0][0], [frame]) == "sent":
        sent += 1
    node.sockets.close(10.0)
    net.until(lambda: len(client.got) == sent)


def test_closing_twice_is_fine_and_frees_the_port(net: Net) -> None:
    """After close, another node can bind the same port."""
    port = free_port()
    node = net.node(port=port)
    node.sockets.close()
    node.sockets.close()
    net.node_at(port)
