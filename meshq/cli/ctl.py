"""``meshq ctl``: the table of control commands."""

from __future__ import annotations

import click

from meshq.cli.lazy import Lazy, LazyGroup

_COMMANDS = {
    "ping": Lazy("meshq.cli.ctl_nodes:ping", "Ask who is there."),
    "inspect": Lazy("meshq.cli.ctl_inspect:inspect", "Look into the nodes: what runs, what waits."),
    "revoke": Lazy("meshq.cli.ctl_tasks:revoke", "Withdraw tasks: no node starts them from its reply on."),
    "terminate": Lazy("meshq.cli.ctl_tasks:terminate", "Withdraw tasks, and end those that run."),
    "purge": Lazy("meshq.cli.ctl_tasks:purge", "Discard all tasks that wait."),
    "rate-limit": Lazy("meshq.cli.ctl_tasks:rate_limit", "Say how often each node may start a function."),
    "time-limit": Lazy("meshq.cli.ctl_tasks:time_limit", "Say for how long a function may run."),
    "pool-resize": Lazy("meshq.cli.ctl_nodes:pool_resize", "Give each node N slots."),
    "drain": Lazy("meshq.cli.ctl_nodes:drain", "Have nodes finish what runs, and take nothing new."),
    "shutdown": Lazy("meshq.cli.ctl_nodes:shutdown", "Drain nodes, and end them."),
    "broadcast": Lazy("meshq.cli.ctl_nodes:broadcast", "Send any control command, one of your own too."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def ctl() -> None:
    """Steer the nodes: all of them, or those that --destination or --pattern name.

    Each command waits for the replies, and prints them by node. It exits with 0 when all nodes have replied, with
    1 if a reply is an error, 3 if there is no node, 4 if a key is the reason, 5 if somebody expected is silent.
    """
