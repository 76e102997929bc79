"""What a task needs to reach, by its default mesh, the mesh that it runs on."""

from __future__ import annotations

import ipaddress

from meshq.config import Settings
from meshq.transport.addresses import endpoint, is_ipv6, resolve


def task_environment(settings: Settings, host: str, port: int) -> dict[str, str]:
    """Return the variables for the workers of a node that is bound to ``host`` and ``port``.

    The node itself is among the peers, so that a task finds at least it, without mDNS too.
    """
    peers = dict.fromkeys([*settings.peers, endpoint(_from_here(host), port)])
    environment = {
        "MESHQ_MESH": settings.mesh,
        "MESHQ_MDNS": "1" if settings.mdns else "0",
        "MESHQ_PEERS": ",".join(peers),
    }
    if settings.key is not None:
        environment["MESHQ_KEY"] = str(settings.key)
    if settings.insecure:
        environment["MESHQ_INSECURE"] = "1"
    return environment


def _from_here(host: str) -> str:
    """Return the address at which this host reaches what is bound to ``host``."""
    address = resolve(host)
    if not ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return address
    return "::1" if is_ipv6(address) else "127.0.0.1"
