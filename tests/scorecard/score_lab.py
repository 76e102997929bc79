"""A lab whose nodes have ``score_tasks``, and whose network can fail in one direction, or now and then."""

from __future__ import annotations

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


def nft(host: Host, *commands: str) -> None:
    """Run nft commands on a host; ``RuntimeError`` where one fails."""
    for command in commands:
        inside = ["ip", "netns", "exec", host.namespace, "nft", command]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=20)
        if done.returncode:
            raise RuntimeError(f"nft {command}: {done.stderr.strip()}")


_TABLE = (
    "add table inet score",
    "add chain inet score in { type filter hook input priority 0; policy accept; }",
)


def lose_packets(host: Host, percent: int) -> None:
    """Let the host lose this share of what comes to it."""
    nft(host, *_TABLE, f'add rule inet score in iifname "eth0" numgen random mod 100 < {percent} drop')


def go_deaf(host: Host, towards: Host) -> None:
    """Let a host receive nothing from another; what it sends there arrives."""
    nft(host, *_TABLE, f"add rule inet score in ip saddr {towards.address} drop")


def hear_again(host: Host) -> None:
    """Undo ``go_deaf`` and ``lose_packets``."""
    nft(host, "flush ruleset")
