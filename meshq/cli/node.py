"""``meshq node``: serve this host's slots to the mesh."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.exits import OK
from meshq.cli.flags import mesh_flags
from meshq.config.settings import LOG_LEVELS

if TYPE_CHECKING:
    from types import FrameType

    from meshq.node.node import Node


@click.command()
@click.argument("modules", metavar="[MODULE…]", nargs=-1)
@mesh_flags
@click.option("--name", metavar="NAME", help="The node's name on this host. [default: node, node-2, …]")
@click.option("--slots", metavar="N", help="Worker processes, one running task each. [default: one for each CPU]")
@click.option("--bind", metavar="HOST", help="The address to bind. [default: loopback, or all if there is a key]")
@click.option("--port", metavar="N", help="The port for work; N+1 is for control. [default: any that are free]")
@click.option(
    "--allow", metavar="MODULE[:GLOB]", multiple=True, help="Offer plain functions as well. May be repeated."
)
@click.option("--allow-pickle", is_flag=True, default=None, help="Accept pickles from the holders of the key.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="What the node is good for. May be repeated.")
@click.option("--hold", "hold_bytes", metavar="SIZE", help="What arguments and results may take up, such as 2GiB.")
@click.option("--state", metavar="DIR", help="Where to keep what outlasts the node.")
@click.option("--grace", metavar="SECONDS", help="How long a drain leaves runs alone. [default: to their end]")
@click.option("--max-tasks-per-child", metavar="N", help="Replace a worker process after N tasks.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), help="[default: info]")
@click.option("--log-format", type=click.Choice(("text", "json")), help="[default: text]")
@click.option("--mdns/--no-mdns", default=None, help="Announce the node on the network. [default: yes]")
def node(**flags: Any) -> int:
    """Run the functions of MODULEs for the mesh, on this host.

    MODULE is imported from the current directory or from what is installed: `meshq node photos` runs the task
    functions of photos.py. The log goes to stderr. SIGTERM or Ctrl-C drains: what runs is finished, what waits
    is handed back or goes to other nodes; with --grace, what takes longer is ended, and tried again elsewhere. A
    second signal stops at once.
    """
    from meshq.config import load_settings
    from meshq.node.collecting import spare_collections
    from meshq.node.node import Node
    from meshq.observe import configure_logging
    from meshq.workers.memory import keep_large_blocks

    keep_large_blocks()
    configure_logging()  # for what the loading of the settings has to say
    settings = load_settings(flags)
    configure_logging(settings.log_level, settings.log_format)
    serving = Node(settings)
    stops = _Stops(serving)
    spare_collections()
    serving.run()
    return stops.exit_code


class _Stops:
    """The signals that end a node: the first drains it, the second stops it.

    Set before the node runs, and so before it is announced: a node that is killed by a signal stays announced.
    """

    def __init__(self, node: Node) -> None:
        self.exit_code = OK
        self._node = node
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            self._node.drain()
        else:
            self.exit_code = 128 + number
            self._node.stop()
