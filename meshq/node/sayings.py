"""What a node says in its log to whoever runs it, at its begin and at its end."""

from __future__ import annotations

import logging

from meshq.config import Settings
from meshq.node.listening import OPEN_HINT
from meshq.transport.addresses import is_loopback

log = logging.getLogger("meshq.node")


def say_ready(name: str, settings: Settings, functions: int, address: str, host: str, secured: bool) -> None:
    """Say what the node offers and where, and what its owner may not have meant. ``name`` is its NAME@HOST.

    That it is ready comes last: whoever waits for it has read the rest.
    """
    own = name.partition("@")[0]
    if own != settings.name and "name" in settings.origins:
        log.warning("another node of this host is called %s: this one is %s", settings.name, own)
    if not functions:
        log.warning("this node offers no function: name modules, as in 'meshq node photos'")
    if not secured and is_loopback(host):
        log.info("without a key, only this machine can reach it: to open it, %s", OPEN_HINT)
    elif not secured:
        log.warning("--insecure: anybody who reaches %s can run this node's functions", address)
    log.info(
        "node %s is ready: mesh %s, %d slots, %d functions, at %s",
        name, settings.mesh, settings.slots, functions, address,
        extra={"node": name},
    )  # fmt: skip


def say_what_it_waits_for(name: str, runs: int, count: int, seconds: float, leaving: bool) -> None:
    """Tell whoever drains the node of ``count`` tasks that are left to it: the last may be for tomorrow."""
    log.info("draining: taking nothing new, finishing %s", _count(runs, "run"), extra={"node": name})
    if count:
        end = "a second signal, or" if leaving else "'meshq ctl shutdown', and then"
        log.warning(
            "waiting for %s, as no other node can take them now; the last may start in %.0f s. To end it at once, "
            "and lose them: %s 'meshq ctl shutdown' again",
            _count(count, "detached task"), seconds, end, extra={"node": name},
        )  # fmt: skip


def say_that_grace_is_over(name: str, seconds: float, count: int) -> None:
    """Tell whoever drains the node that runs are ended now, but for the tasks that are left to it."""
    left = f", but for {_count(count, 'detached task')} that no other node can take" if count else ""
    log.warning("%g s of grace are over: ending what still runs%s", seconds, left, extra={"node": name})


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
