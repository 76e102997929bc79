"""Endpoints and addresses: how they are read, written and chosen."""

from __future__ import annotations

from types import SimpleNamespace

import ifaddr
import pytest

from meshq.errors import ConfigError
from meshq.transport.addresses import (
    endpoint,
    is_loopback,
    is_numeric,
    local_addresses,
    multicast_addresses,
    parse_endpoint,
    reachable_addresses,
    resolve,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://10.0.0.5:7700", "10.0.0.5", 7700),
        ("tcp://gpu-1.lab:1", "gpu-1.lab", 1),
        ("tcp://[fd00::5]:65535", "fd00::5", 65535),
        ("tcp://[fe80::1%eth0]:7700", "fe80::1%eth0", 7700),
    ],
)
def test_endpoints_are_read_and_written_alike(text: str, host: str, port: int) -> None:
    """What is read from an endpoint writes the same endpoint."""
    assert parse_endpoint(text) == (host, port)
    assert endpoint(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "10.0.0.5:7700", "tcp://10.0.0.5", "tcp://:7700", "tcp://a:0", "tcp://a:65536", "udp://a:1",
        "tcp://a:1 ", "tcp://fd00::5:7700", "tcp://[::z]:1", "tcp://[12]:1:2", "tcp://[:::]:1", "ipc:///x",
        "tcp://a b:1",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_says_what_to_type(text: str) -> None:
    """The error shows what was given, and an example."""
    with pytest.raises(ConfigError, match="give tcp://HOST:PORT"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("a.example", False),
        ("localhost.example", False), ("::ffff:10.0.0.1", False), ("*", False),
    ],
)  # fmt: skip
def test_loopback_is_told(host: str, loopback: bool) -> None:
    """Only what cannot be reached from outside counts, and a name other than localhost never does."""
    assert is_loopback(host) is loopback


def test_names_are_resolved() -> None:
    """Numbers stay, localhost is 127.0.0.1 whatever a hosts file says, and an unknown name is named."""
    assert [resolve(host) for host in ("10.0.0.5", "[::1]", "*", "localhost")] == [
        "10.0.0.5", "::1", "0.0.0.0", "127.0.0.1",
    ]  # fmt: skip
    assert is_numeric("localhost")
    assert not is_numeric("gpu-1")
    with pytest.raises(ConfigError, match=r"no-such-host\.invalid"):
        resolve("no-such-host.invalid")


def _interfaces(monkeypatch: pytest.MonkeyPatch, **addresses: list[str | tuple[str, int, int]]) -> None:
    adapters = [
        SimpleNamespace(name=name.replace("_", "-"), ips=[SimpleNamespace(ip=ip) for ip in ips])
        for name, ips in addresses.items()
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters)


def test_addresses_come_in_the_order_to_dial_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv4 first, link-local last and with its interface; without the bridges of containers and guests."""
    _interfaces(
        monkeypatch,
        lo=["127.0.0.1", ("::1", 0, 0)],
        eth0=[("fe80::2%eth0", 0, 2), ("fd00::2", 0, 0), "192.0.2.2"],
        docker0=["172.17.0.1"],
        br_12ab=["172.18.0.1"],
        veth77=[("fe80::7", 0, 7)],
        virbr0=["192.168.122.1"],
    )
    assert local_addresses(False) == ["192.0.2.2", "fd00::2", "fe80::2%eth0"]
    assert local_addresses(True) == ["127.0.0.1", "192.0.2.2", "::1", "fd00::2", "fe80::2%eth0"]
    assert multicast_addresses() == ["127.0.0.1", "192.0.2.2"]
    assert reachable_addresses("0.0.0.0") == ["192.0.2.2"]
    assert reachable_addresses("::") == ["192.0.2.2", "fd00::2", "fe80::2%eth0"]
    assert reachable_addresses("192.0.2.2") == ["192.0.2.2"]
    assert reachable_addresses("localhost") == ["127.0.0.1"]


def test_bridges_count_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose only network is a bridge is still reached; one without a network, on loopback."""
    _interfaces(monkeypatch, lo=["127.0.0.1"], docker0=["172.17.0.1"])
    assert local_addresses(False) == ["172.17.0.1"]
    _interfaces(monkeypatch, lo=["127.0.0.1"])
    assert local_addresses(False) == []
    assert reachable_addresses("0.0.0.0") == ["127.0.0.1"]


def test_an_interface_without_ipv4_is_used_with_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address stands for it, and a scope that is not link-local is dropped."""
    _interfaces(monkeypatch, lo=["127.0.0.1", ("::1", 0, 0)], eth0=[("fe80::2", 0, 2), ("fd00::2%eth0", 0, 0)])
    assert multicast_addresses() == ["127.0.0.1", "fd00::2"]


def test_this_host_has_loopback() -> None:
    """The real interfaces are read."""
    assert "127.0.0.1" in local_addresses(True)
    assert "127.0.0.1" not in local_addresses(False)
