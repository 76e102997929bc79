"""The one question from a port of our own: it is answered at once, and only its own answers count."""

from __future__ import annotations

import socket
import struct
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from zeroconf import ServiceInfo, Zeroconf

from meshq.transport import mdns_query
from meshq.transport.mdns_query import ask_once
from meshq.transport.mdns_records import SERVICE_TYPE
from meshq.transport.multicast import Mdns


@pytest.fixture
def asker() -> Iterator[Mdns]:
    """An mDNS instance on loopback, which nothing browses with."""
    mdns = Mdns(loopback_only=True)
    yield mdns
    mdns.close()


@pytest.fixture
def service() -> Iterator[ServiceInfo]:
    """A service that is announced on loopback by another instance."""
    name = uuid.uuid4().hex
    info = ServiceInfo(
        SERVICE_TYPE, f"{name}.{SERVICE_TYPE}", port=7700, server=f"{name}.local.", parsed_addresses=["127.0.0.1"]
    )
    zeroconf = Zeroconf(interfaces=["127.0.0.1"])
    zeroconf.register_service(info, cooperating_responders=True)
    yield info
    zeroconf.close()


def _knows(mdns: Mdns, service: ServiceInfo) -> bool:
    assert mdns.zeroconf is not None
    return any(
        getattr(record, "alias", "") == service.name
        for record in mdns.zeroconf.cache.entries_with_name(SERVICE_TYPE)
    )


def _ask(mdns: Mdns, interfaces: list[str]) -> Any:
    return mdns.spawn(lambda zeroconf: ask_once(zeroconf, SERVICE_TYPE, interfaces))


def test_a_service_of_the_same_host_is_found_at_once(asker: Mdns, service: ServiceInfo) -> None:
    """Several processes share port 5353, and the answer still reaches the one that has asked."""
    # Unlike for what zeroconf itself asks, it does not matter that this was multicast a moment ago.
    assert asker.zeroconf is not None
    asker.zeroconf.cache.async_remove_records(asker.zeroconf.cache.entries_with_name(SERVICE_TYPE))
    began = time.monotonic()
    asking = _ask(asker, ["127.0.0.1"])
    while not _knows(asker, service):
        assert time.monotonic() - began < 5.0, "it was not answered"
        time.sleep(0.005)
    asking.result(5.0)


def test_it_ends_by_itself_and_leaves_no_socket_open(asker: Mdns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces that cannot be used, and those of IPv6, are passed over; an open socket would be a warning."""
    monkeypatch.setattr(mdns_query, "LISTEN_S", 0.01)
    _ask(asker, ["192.0.2.77", "::1", "127.0.0.1"]).result(5.0)


@pytest.mark.parametrize("wrong", ["number", "query", "garbage"])
def test_only_answers_to_the_question_count(wrong: str) -> None:
    """Anybody may send to the port: what does not bear the question's number, or is no answer, is dropped."""
    taken: list[Any] = []

    class Manager:
        async_updates_from_response = staticmethod(taken.append)

    class Instance:
        record_manager = Manager

    number, flags = (8 if wrong == "number" else 7), (0 if wrong == "query" else 0x8400)
    answers = mdns_query._Answers(Instance, 7)  # type: ignore[arg-type]
    data = b"\x00garbage" if wrong == "garbage" else struct.pack("!6H", number, flags, 0, 0, 0, 0)
    answers.datagram_received(data, ("127.0.0.1", 5353))
    assert taken == []
    answers.datagram_received(struct.pack("!6H", 7, 0x8400, 0, 0, 0, 0), ("127.0.0.1", 5353))
    assert len(taken) == 1


def test_the_socket_is_not_the_shared_one() -> None:
    """It has a port of its own, and multicasts on the interface that it was asked to."""
    with mdns_query._socket_on("127.0.0.1") as opened:
        assert opened.getsockname()[0] == "127.0.0.1"
        assert opened.getsockname()[1] != 5353
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 255
