"""A lab whose nodes have ``score_tasks``, and whose network can fail in one direction, or now and then."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from lab import Lab, MeshOfLab
from lab_segment import Host

HERE = Path(__file__).parent


class ScoreLab(Lab):
    """The lab of the scorecard; its client is ``score_client.py``."""

    module = "score_tasks"
    script = HERE / "score_client.py"
    rooms = (*Lab.rooms, HERE)

    def open_mesh(self) -> MeshOfLab:
        """Return a mesh without a key."""
        return MeshOfLab("open", None)


def nft(host: Host, command: str) -> str:
    """Run nft commands on a host and return what it says; ``RuntimeError`` where it fails."""
    inside = ["ip", "netns", "exec", host.namespace, "nft", command]
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise RuntimeError(f"nft {command}: {done.stderr.strip()}")
    return done.stdout


def lose_packets(host: Host, percent: int) -> None:
    """Let the host lose this share of what comes to it."""
    _drop(host, f'iifname "eth0" numgen random mod 100 < {percent}')


def go_deaf(host: Host, towards: Host) -> None:
    """Let a host receive nothing from another; what it sends there arrives."""
    _drop(host, f"ip saddr {towards.address}")


def hear_again(host: Host) -> int:
    """Undo ``go_deaf`` and ``lose_packets``; return how many packets were lost."""
    counters = re.findall(r"counter packets (\d+)", nft(host, "list ruleset"))
    nft(host, "flush ruleset")
    return sum(map(int, counters))


def _drop(host: Host, packets: str) -> None:
    chain = "type filter hook input priority 0; policy accept;"
    nft(host, f"add table inet score; add chain inet score in {{ {chain} }}")
    nft(host, f"add rule inet score in {packets} counter drop")
