"""What a node announces of itself by mDNS, and the reading of what others announce, which is never trusted."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence

from meshq.transport.addresses import is_loopback
from meshq.transport.discovery import Candidate

SERVICE_TYPE = "_meshq._tcp.local."
LONGEST_TEXT = 64
"""Bytes of a name. All of TXT stays under 400 bytes, and an announcement in one packet, with room to spare."""
MAX_ADDRESSES = 16
"""Read of one node: each is dialled, and a forger could list thousands of somebody else's."""

_HEX_32 = re.compile(r"[0-9a-f]{32}")
_HEX_16 = re.compile(r"[0-9a-f]{16}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{0,16}")
_NUMBER = re.compile(r"[0-9]{1,19}")


def encode_properties(node: Candidate) -> dict[str, str]:
    """Return the TXT properties of a node: those of its fields that SRV and A records do not carry."""
    return {
        "id": node.instance,
        "mesh": node.mesh,
        "key": node.key,
        "name": _cut(node.name),
        "host": _cut(node.host),
        "control": str(node.control_port),
        "version": node.version[:16],
        "incarnation": str(node.incarnation),
    }


def decode_candidate(
    service_name: str, port: int | None, addresses: Sequence[str], properties: Mapping[bytes, bytes | None]
) -> Candidate:
    """Read an announcement; ValueError, saying what is wrong, where it is not one that a node makes."""
    instance = instance_of(service_name)
    text = {key: _text(properties, key) for key in ("id", "mesh", "key", "name", "host", "version")}
    if text["id"] != instance:
        raise ValueError("its id is not its name")
    if not _HEX_16.fullmatch(text["mesh"]) or (text["key"] and not _HEX_16.fullmatch(text["key"])):
        raise ValueError("mesh and key must be 16 hex digits")
    if not _VERSION.fullmatch(text["version"]):
        raise ValueError("its version is none")
    return Candidate(
        source="mdns",
        instance=instance,
        name=text["name"],
        host=text["host"],
        addresses=_usable(addresses, text["host"]),
        port=_port(str(port)),
        control_port=_port(_text(properties, "control")),
        mesh=text["mesh"],
        key=text["key"],
        version=text["version"],
        incarnation=_number(_text(properties, "incarnation")),
    )


def instance_of(service_name: str) -> str:
    """Return the node's id in a service name; ValueError where there is none."""
    instance = service_name.lower().removesuffix("." + SERVICE_TYPE)
    if not _HEX_32.fullmatch(instance):
        raise ValueError("its name is not a node's id")
    return instance


def service_name_of(instance: str) -> str:
    """Return the service name of a node's id."""
    return f"{instance}.{SERVICE_TYPE}"


def _usable(addresses: Sequence[str], host: str) -> tuple[str, ...]:
    """Leave out loopback addresses of other hosts, where they would lead back to this one."""
    here = host == _cut(socket.gethostname())
    usable = tuple(address for address in addresses if here or not is_loopback(address))[:MAX_ADDRESSES]
    if not usable:
        raise ValueError("it gives no address")
    return usable


def _text(properties: Mapping[bytes, bytes | None], key: str) -> str:
    value = properties.get(key.encode()) or b""
    text = value.decode("utf-8") if len(value) <= LONGEST_TEXT else "\n"
    if not text.isprintable():  # what would reach people's terminals and logs
        raise ValueError(f"{key} is too long, or not printable")
    return text


def _port(text: str) -> int:
    number = _number(text)
    if not 1 <= number <= 65535:
        raise ValueError(f"{text} is not a port")
    return number


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text!r} is not a number")
    return int(text)


def _cut(text: str) -> str:
    return text.encode()[:LONGEST_TEXT].decode("utf-8", "ignore")
