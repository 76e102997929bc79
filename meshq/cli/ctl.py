"""``meshq ctl``: control commands to the nodes, and their replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.exits import FAILED, OK, PARTIAL
from meshq.cli.flags import json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json, print_table
from meshq.cli.values import named_values
from meshq.control.control import check_signal
from meshq.control.matching import matches
from meshq.control.replies import UNFOUND
from meshq.errors import NoNodes
from meshq.ids import parse_task_id

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh
    from meshq.control.replies import Replies

F = TypeVar("F", bound=Callable[..., Any])

_ASKED = ("destination", "pattern", "timeout", "limit")
_CTL_FLAGS = (
    click.option("--destination", metavar="NAME", multiple=True, help="NAME, HOST or NAME@HOST. May be repeated."),
    click.option("--pattern", metavar="GLOB", help="Only nodes whose NAME@HOST matches."),
    click.option(
        "--timeout", type=click.FloatRange(0, 86_400, min_open=True), default=1.0, show_default=True,
        help="Seconds for all replies together, once nodes are found.",
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="So many replies are enough."),
)  # fmt: skip


def _ctl_flags(function: F) -> F:
    for option in reversed(_CTL_FLAGS):
        function = option(function)
    return mesh_flags(json_flag(function))


@click.group()
def ctl() -> None:
    """Steer the nodes.

    Each command prints one line for each node. It exits with 0 when all nodes have replied, with 1 if a reply
    is an error, 3 if there is no node, 4 if a key is the reason, 5 if a node that was expected is silent.
    """


@ctl.command()
@_ctl_flags
def ping(as_json: bool, **flags: Any) -> int:
    """Ask who is there."""
    return _command(flags, as_json, lambda mesh, asked: mesh.control.ping(**asked))


@ctl.command()
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@click.option("--terminate", is_flag=True, help="Also end those that run.")
@click.option("--signal", metavar="NAME", default="TERM", show_default=True, help="The signal that ends them.")
@_ctl_flags
def revoke(ids: tuple[str, ...], terminate: bool, signal: str, as_json: bool, **flags: Any) -> int:
    """Withdraw tasks: no node starts them from its reply on."""
    tasks, name = [parse_task_id(text) for text in ids], check_signal(signal)  # before nodes are looked for
    return _command(
        flags, as_json, lambda mesh, asked: mesh.control.revoke(tasks, terminate, name, reply=True, **asked)
    )


@ctl.command()
@click.argument("name")
@click.argument("values", metavar="K=V…", nargs=-1)
@click.option("--reply", is_flag=True, help="Wait for the replies, and print them.")
@_ctl_flags
def broadcast(name: str, values: tuple[str, ...], reply: bool, as_json: bool, **flags: Any) -> int:
    """Send the control command NAME to the nodes; a V is JSON where it parses, else a string."""
    arguments = named_values(values)
    return _command(
        flags, as_json, lambda mesh, asked: mesh.control.broadcast(name, arguments, reply=reply, **asked)
    )


def _command(flags: dict[str, Any], as_json: bool, give: Callable[[Mesh, dict[str, Any]], Replies | None]) -> int:
    """Give a command, print the replies, and return the exit code."""
    asked = {name: flags.pop(name) for name in _ASKED}
    with open_mesh(flags, role="controller") as mesh:
        if not settle(mesh, FIND_S):
            raise absence(mesh)
        replies = give(mesh, asked)
        seen = [node.full_name for node in mesh.nodes()]
    if replies is None:
        if as_json:
            print_json({"replies": None, "missing": {}})
        return OK
    _check_asked(replies, seen, asked)
    _print(replies, as_json)
    return _exit_code(replies, asked["limit"])


def _check_asked(replies: Replies, seen: list[str], asked: dict[str, Any]) -> None:
    """Raise ``NoNodes`` if nobody was asked."""
    names = {*seen, *replies.by_node(), *(name for name, why in replies.missing.items() if why != UNFOUND)}
    if not any(matches(name, asked["destination"], asked["pattern"] or "") for name in names):
        whom = " ".join([*asked["destination"], *filter(None, [asked["pattern"]])])
        raise NoNodes(f"no node matches {whom}; seen: {', '.join(sorted(names))}")


def _exit_code(replies: Replies, limit: int | None) -> int:
    if any("error" in value for value in replies.by_node().values()):
        return FAILED
    enough = limit is not None and len(replies) >= limit
    return PARTIAL if replies.missing and not enough else OK


def _print(replies: Replies, as_json: bool) -> None:
    by_node = dict(sorted(replies.by_node().items()))
    if as_json:
        print_json({"replies": by_node, "missing": replies.missing})
        return
    print_table(("NODE", "REPLY"), [(name, _text(value)) for name, value in by_node.items()])
    for name, reason in sorted(replies.missing.items()):
        note(f"{name} is missing: {reason}")


def _text(value: dict[str, Any]) -> str:
    """Return a reply in one line: what it says, then its further fields."""
    if "error" in value:
        return f"error: {value['error']}"
    said = value.get("ok")
    fields = dict(said) if isinstance(said, dict) else {}
    fields |= {name: item for name, item in value.items() if name != "ok"}
    first = "" if isinstance(said, dict) else str(said)
    return " ".join([first, *(f"{name}={item}" for name, item in fields.items())]).strip()
