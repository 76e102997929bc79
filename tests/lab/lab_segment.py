"""A network segment of the lab: hosts as network namespaces on one bridge, with cables that can be pulled.

The names of the namespaces carry the pid of the run that made them. What a killed run leaves behind is swept
by the next one; what belongs to a run that still goes on is left alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_OURS = re.compile(r"mqlab(\d+)-[\w-]+")
_numbers = itertools.count(1)


class Host:
    """One host: a namespace with a name of its own, and one cable to the bridge."""

    def __init__(self, segment: Segment, name: str, number: int) -> None:
        self.name = name
        self.address = f"10.77.{segment.number % 250}.{number}"
        self.namespace = f"{segment.prefix}{name}"
        self._segment = segment
        self._port = f"v{number}"

    def build(self, plugged: bool) -> None:
        """Make the namespace; without ``plugged`` it has only its loopback so far."""
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        if plugged:
            self.plug_in()

    def plug_in(self) -> float:
        """Lay the cable and give the interface its address; return the monotonic instant of the beginning.

        There is no route but the segment's own, unless the segment is to have one for multicast.
        """
        began_at = time.monotonic()
        hub, own = self._segment.hub, self.namespace
        ip("-n", hub, "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", own)
        ip("-n", hub, "link", "set", self._port, "master", "br0", "up")
        ip("-n", own, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", own, "link", "set", "eth0", "up")
        if self._segment.multicast_route:
            ip("-n", own, "route", "add", "224.0.0.0/4", "dev", "eth0")
        return began_at

    def pull(self) -> float:
        """Pull the cable; return the monotonic instant."""
        ip("-n", self._segment.hub, "link", "set", self._port, "down")
        return time.monotonic()

    def heal(self) -> float:
        """Plug the cable in again; return the monotonic instant."""
        ip("-n", self._segment.hub, "link", "set", self._port, "up")
        return time.monotonic()

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command that runs ``arguments`` on this host, under its own host name."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name, *arguments]
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", *named]


class Segment:
    """A bridge, and the hosts on it; ``remove`` takes all of it away, with every process inside."""

    def __init__(self, multicast_route: bool) -> None:
        self.number = next(_numbers)
        self.multicast_route = multicast_route
        self.prefix = f"mqlab{os.getpid()}-{secrets.token_hex(2)}"
        self.hub = f"{self.prefix}hub"
        self.hosts: list[Host] = []

    def build(self) -> None:
        """Make the bridge."""
        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
        ip("-n", self.hub, "link", "set", "br0", "up")

    def add_hosts(self, *names: str, plugged: bool = True) -> list[Host]:
        """Make hosts and lay their cables, unless those are to come later (``plug_in``)."""
        added = []
        for name in names:
            host = Host(self, name, len(self.hosts) + 1)
            self.hosts.append(host)
            added.append(host)
            host.build(plugged)
        return added

    def remove(self) -> None:
        """Kill what runs on the segment, and remove its namespaces; the cables go with them."""
        for namespace in (*(host.namespace for host in self.hosts), self.hub):
            remove_namespace(namespace)


def ip(*arguments: str) -> str:
    """Run ``ip`` and return what it says; RuntimeError where it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def remove_namespace(namespace: str) -> None:
    """Kill all processes of a namespace and remove it; nothing happens where there is none."""
    if namespace not in _namespaces():
        return
    for pid in map(int, ip("netns", "pids", namespace).split()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    ip("netns", "del", namespace)


def sweep() -> None:
    """Remove what runs that are over, killed ones say, have left behind."""
    for namespace in _namespaces():
        match = _OURS.fullmatch(namespace)
        if match and _has_ended(match[1]):
            remove_namespace(namespace)


@functools.cache
def reason_against() -> str | None:
    """Return why no lab can be made here, or None where it can; what earlier runs have left is swept then."""
    reason = _reason_against()
    if reason is None:
        sweep()
    return reason


def _reason_against() -> str | None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "the lab needs root, to make network namespaces"
    missing = [tool for tool in ("ip", "unshare", "hostname") if shutil.which(tool) is None]
    if missing:
        return f"the lab needs {', '.join(missing)} (iproute2, util-linux, hostname)"
    trial = Segment(False)
    try:
        trial.build()
        (host,) = trial.add_hosts("trial")
        subprocess.run(host.command(["true"]), check=True, capture_output=True, timeout=20)
    except (RuntimeError, subprocess.SubprocessError) as error:
        return f"network namespaces cannot be made here: {error}"
    finally:
        trial.remove()
    return None


def _has_ended(pid: str) -> bool:
    """Tell whether a process has ended; one that nobody has reaped is still listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _namespaces() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]
