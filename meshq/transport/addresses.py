"""Addresses: which ones this host has, and how endpoints are written and read."""

from __future__ import annotations

import ipaddress
import re
import socket

import ifaddr

from meshq.errors import ConfigError

_CONTAINER_BRIDGES = re.compile(r"(docker|veth|virbr|br-|cni|podman|lxcbr)")
"""Interfaces behind which only containers and guests of this host live. Told by name, as the only network of a
container is a veth too, but is called eth0."""
_ENDPOINT = re.compile(r"tcp://(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})")
_SCOPE = "%"


def local_addresses(include_loopback: bool) -> list[str]:
    """Return this host's addresses, IPv4 first, link-local ones with their interface, as in ``fe80::1%eth0``."""
    found = (address for addresses in _interfaces().values() for address in addresses)
    chosen = (address for address in found if include_loopback or not is_loopback(address))
    return sorted(dict.fromkeys(chosen), key=_preference)


def multicast_addresses() -> list[str]:
    """Return the addresses that stand for the interfaces to send multicast on, loopback included.

    IPv6 stands for an interface only where it has no IPv4: one hears the others on either, and need not on both.
    """
    chosen: list[str] = []
    for addresses in _interfaces().values():
        ipv4 = [address for address in addresses if not is_ipv6(address)]
        ipv6 = [address for address in addresses if is_ipv6(address) and not is_loopback(address)]
        chosen += ipv4 or sorted(ipv6, key=_preference)[:1]
    return chosen


def reachable_addresses(host: str) -> list[str]:
    """Return the addresses at which others reach a node that is bound to ``host``.

    For 0.0.0.0 and :: those are this host's, without loopback unless there is no other; else the one bound.
    """
    address = resolve(host)
    if not ipaddress.ip_address(address).is_unspecified:
        return [address]
    usable = [found for found in local_addresses(True) if is_ipv6(address) or not is_ipv6(found)]
    return [found for found in usable if not is_loopback(found)] or usable


def resolve(host: str) -> str:
    """Return the numeric address of a host name; ConfigError where it has none."""
    host = host.strip("[]")
    if host == "*":
        return "0.0.0.0"
    if host == "localhost":
        return "127.0.0.1"  # whatever a hosts file says: loopback is promised by that name
    if _numeric(host) is not None:
        return host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ConfigError(f"the host {host!r} is not known: give an IP address, or a name that resolves") from None
    return sorted((str(entry[4][0]) for entry in found), key=_preference)[0]


def is_loopback(host: str) -> bool:
    """Tell whether only this host can reach ``host``; of names, this is believed of ``localhost`` alone."""
    if host == "localhost":
        return True
    address = _numeric(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address is not None and address.is_loopback


def is_numeric(host: str) -> bool:
    """Tell whether ``host`` needs no name server."""
    return host == "localhost" or _numeric(host) is not None


def is_ipv6(host: str) -> bool:
    """Tell whether ``host`` is an IPv6 address, as against an IPv4 address or a name."""
    return ":" in host


def endpoint(host: str, port: int) -> str:
    """Write an endpoint: ``tcp://10.0.0.5:7700``, ``tcp://[fe80::1%eth0]:7700``."""
    return f"tcp://[{host}]:{port}" if is_ipv6(host) else f"tcp://{host}:{port}"


def parse_endpoint(text: str) -> tuple[str, int]:
    """Read ``tcp://HOST:PORT`` into host and port; IPv6 addresses stand in brackets."""
    match = _ENDPOINT.fullmatch(text)
    port = int(match["port"]) if match else 0
    host = (match["v6"] or match["host"]) if match else ""
    if not 1 <= port <= 65535 or (is_ipv6(host) and _numeric(host) is None):
        raise ConfigError(
            f"{text!r} is not an endpoint: give tcp://HOST:PORT, as in tcp://10.0.0.5:7700 or tcp://[fd00::5]:7700"
        )
    return host, port


def _numeric(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _interfaces() -> dict[str, list[str]]:
    """Return the addresses of each interface, without those of containers unless there are no others."""
    interfaces = {
        adapter.name: [_text(ip.ip, adapter.name) for ip in adapter.ips] for adapter in ifaddr.get_adapters()
    }
    own = {name: found for name, found in interfaces.items() if not _CONTAINER_BRIDGES.match(name)}
    alone = all(is_loopback(address) for found in own.values() for address in found)
    return interfaces if alone else own


def _text(ip: str | tuple[str, int, int], interface: str) -> str:
    if isinstance(ip, str):
        return ip
    address = ip[0].partition(_SCOPE)[0]
    return f"{address}{_SCOPE}{interface}" if ipaddress.ip_address(address).is_link_local else address


def _preference(address: str) -> tuple[bool, bool]:
    """IPv4 before IPv6, and link-local addresses last; otherwise as found."""
    plain = ipaddress.ip_address(address)
    return (plain.version == 6, plain.is_link_local)
