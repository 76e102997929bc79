"""The control commands that are about nodes: ping, pool-resize, drain, shutdown; and broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshq.cli.commanding import Answers, command, control_flags
from meshq.cli.replies import show_replies
from meshq.cli.values import named_values
from meshq.config.settings import MAX_SLOTS
from meshq.errors import ConfigError, EncodingError

if TYPE_CHECKING:
    from meshq.control.replies import Replies


def answers_of(replies: Replies | None) -> Answers | None:
    """Return the replies as they are shown."""
    return None if replies is None else Answers(replies.by_node(), replies.missing, {})


@click.command()
@control_flags
def ping(as_json: bool, **flags: Any) -> int:
    """Ask who is there."""
    return command(flags, as_json, lambda control, asked: answers_of(control.ping(**asked)), show_replies)


@click.command()
@click.argument("slots", metavar="N", type=click.IntRange(1, MAX_SLOTS))
@control_flags
def pool_resize(slots: int, as_json: bool, **flags: Any) -> int:
    """Give each node N slots. New ones are there at once; surplus ones go when their run is over."""
    return command(
        flags, as_json, lambda control, asked: answers_of(control.pool_resize(slots, reply=True, **asked)),
        show_replies,
    )  # fmt: skip


@click.command()
@control_flags
def drain(as_json: bool, **flags: Any) -> int:
    """Have nodes finish what runs and hand back what waits. They take nothing new, and stay until shutdown."""
    return command(
        flags, as_json, lambda control, asked: answers_of(control.drain(reply=True, **asked)), show_replies
    )


@click.command()
@control_flags
def shutdown(as_json: bool, **flags: Any) -> int:
    """Drain nodes, and end them. The reply comes before the end."""
    return command(
        flags, as_json, lambda control, asked: answers_of(control.shutdown(reply=True, **asked)), show_replies
    )


@click.command()
@click.argument("name")
@click.argument("values", metavar="K=V…", nargs=-1)
@click.option("--reply", is_flag=True, help="Wait for the replies, and print them.")
@control_flags
def broadcast(name: str, values: tuple[str, ...], reply: bool, as_json: bool, **flags: Any) -> int:
    """Send the control command NAME to the nodes; a V is JSON where it parses, else a string.

    NAME may be a function with @control_command in a module that the nodes have loaded.
    """
    if not name.isidentifier():
        raise ConfigError(f"a control command is a name, such as 'ping' (got {name!r})")
    arguments = named_values(values)
    _check_arguments(arguments)  # before nodes are looked for
    return command(
        flags, as_json,
        lambda control, asked: answers_of(control.broadcast(name, arguments, reply=reply, **asked)), show_replies,
    )  # fmt: skip


def _check_arguments(arguments: dict[str, Any]) -> None:
    from meshq.control.giving import pack_arguments

    try:
        pack_arguments(arguments)
    except EncodingError as error:
        raise ConfigError(str(error)) from None
