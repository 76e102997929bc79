"""Broadcasts: who is listening is known, and whoever is gets everything."""

from __future__ import annotations

import pytest
from transport_harness import HOST, Net, free_port

from meshq.errors import ConfigError
from meshq.transport.keys import generate


@pytest.mark.parametrize("keyed", [False, True])
def test_five_nodes_that_have_subscribed_miss_nothing(net: Net, keyed: bool) -> None:
    """After waiting for the subscriptions, without any sleep, each of 500 broadcasts reaches each of five."""
    key = generate() if keyed else None
    nodes = [net.node(key, authenticator=number == 0) for number in range(5)]
    topics: list[bytes] = []
    publisher = net.publisher(key, lambda topic, on: topics.append(topic) if on else None)
    for number, node in enumerate(nodes):
        node.sockets.subscribe(b"all")
        node.sockets.subscribe(b"node:%d" % number)
        publisher.connect(node.control_endpoint)
    net.until(lambda: set(topics) >= {b"node:%d" % number for number in range(5)})
    net.until(lambda: topics.count(b"all") == 5)
    for number in range(500):
        publisher.publish(b"all", [b"head", b"%d" % number])
    publisher.publish(b"node:3", [b"for you"])
    net.until(lambda: all(len(node.control) >= 500 for node in nodes) and len(nodes[3].control) == 501)
    for node in nodes:
        assert node.control[:500] == [[b"head", b"%d" % number] for number in range(500)]
    assert nodes[3].control[500:] == [[b"for you"]]


def test_a_node_that_leaves_is_told_and_nothing_is_kept_for_it(net: Net) -> None:
    """Its own topic is unsubscribed by the break; what was published meanwhile does not reach its successor."""
    heard: list[tuple[bytes, bool]] = []
    publisher = net.publisher(None, lambda topic, on: heard.append((topic, on)))
    port = free_port()
    first = net.node(port=port)
    first.sockets.subscribe(b"node:1")
    publisher.connect(first.control_endpoint)
    net.until(lambda: heard == [(b"node:1", True)])
    first.sockets.close()
    net.until(lambda: heard[-1] == (b"node:1", False))
    publisher.publish(b"node:1", [b"nobody hears this"])
    second = net.node_at(port)
    second.sockets.subscribe(b"node:1")
    net.until(lambda: heard[-1] == (b"node:1", True))
    publisher.publish(b"node:1", [b"hello again"])
    net.until(lambda: second.control)
    assert second.control == [[b"hello again"]]


def test_disconnecting_ends_it_and_connecting_twice_is_once(net: Net) -> None:
    """A node is dialled once however often it is named, and not heard of after it was left."""
    node = net.node()
    node.sockets.subscribe(b"all")
    heard: list[tuple[bytes, bool]] = []
    publisher = net.publisher(None, lambda topic, on: heard.append((topic, on)))
    publisher.connect(node.control_endpoint)
    publisher.connect(node.control_endpoint)
    net.until(lambda: heard)
    publisher.publish(b"all", [b"once"])
    net.until(lambda: node.control)
    publisher.disconnect(node.control_endpoint)
    publisher.disconnect(node.control_endpoint)
    net.until(lambda: heard[-1] == (b"all", False))
    publisher.publish(b"all", [b"never"])
    net.turn_for(0.1)
    assert node.control == [[b"once"]]
    assert heard == [(b"all", True), (b"all", False)]


def test_a_node_that_is_not_there_yet_is_found_later(net: Net) -> None:
    """Dialling goes on until somebody listens; leaving before that is fine too."""
    port = free_port()
    heard: list[bytes] = []
    publisher = net.publisher(None, lambda topic, on: heard.append(topic))
    publisher.connect(f"tcp://{HOST}:{port + 1}")
    publisher.connect(f"tcp://{HOST}:{free_port()}")
    net.turn_for(0.05)
    node = net.node(port=port)
    node.sockets.subscribe(b"late")
    net.until(lambda: heard == [b"late"])
    publisher.close()
    publisher.close()


def test_a_bad_endpoint_is_named(net: Net) -> None:
    """It says what to type."""
    with pytest.raises(ConfigError, match="is not an endpoint"):
        net.publisher().connect("nowhere:1")
