"""What all control commands of the command line share: their flags, the way to the nodes, the exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.exits import FAILED, OK, PARTIAL
from meshq.cli.flags import Seconds, json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json
from meshq.cli.waiting import Waiting
from meshq.errors import NoNodes

if TYPE_CHECKING:
    from meshq.control.control import Control

F = TypeVar("F", bound=Callable[..., Any])

_ASKED = ("destination", "pattern", "timeout", "limit")


class Answers(NamedTuple):
    """The replies to one command: by node, and why others are missing; ``fields`` are for JSON beside them."""

    by_node: dict[str, Any]
    missing: dict[str, str]
    fields: dict[str, Any]


Give = Callable[["Control", dict[str, Any]], "Answers | None"]
"""Gives a command, with what the flags ask for; None where nobody waits for replies."""


def control_flags(function: F) -> F:
    """Add the flags of all control commands: whom to ask, how long, ``--json``, and which mesh."""
    return control_flags_for(1.0)(function)


def control_flags_for(timeout: float) -> Callable[[F], F]:
    """Return what adds these flags, with a default ``--timeout`` of so many seconds."""
    flags = (
        click.option(
            "--destination", metavar="NAME", multiple=True, help="NAME, HOST or NAME@HOST. May be repeated."
        ),
        click.option("--pattern", metavar="GLOB", help="Only nodes whose NAME@HOST matches."),
        click.option(
            "--timeout", type=Seconds(0, 86_400, min_open=True), default=timeout, show_default=True,
            metavar="S", help="Seconds for all replies together, once nodes are found.",
        ),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="So many replies are enough."),
    )  # fmt: skip

    def add(function: F) -> F:
        function = mesh_flags(json_flag(function))
        for flag in reversed(flags):
            function = flag(function)
        return function

    return add


def command(flags: dict[str, Any], as_json: bool, give: Give, show: Callable[[Answers], None]) -> int:
    """Give a command, print the replies with ``show``, and return the exit code."""
    from meshq.control.matching import check_destination

    asked = {name: flags.pop(name) for name in _ASKED}
    check_destination(asked["destination"])  # before nodes are looked for
    answers = _give(flags, asked, as_json, give)
    if as_json:
        _print_json(answers)
    elif answers is not None:
        show(answers)
        for name, reason in sorted(answers.missing.items()):
            note(f"{name} is missing: {reason}")
    return OK if answers is None else exit_code(answers, asked["limit"])


def exit_code(answers: Answers, limit: int | None) -> int:
    """Return the exit code: an error counts for most, then whoever is silent, unless enough have replied."""
    if any(map(error_in, answers.by_node.values())):
        return FAILED
    enough = limit is not None and len(answers.by_node) >= limit
    return PARTIAL if answers.missing and not enough else OK


def error_in(value: Any) -> str:
    """Return the error that a reply is, "" for any other reply."""
    return str(value["error"]) if isinstance(value, dict) and "error" in value else ""


def _give(flags: dict[str, Any], asked: dict[str, Any], as_json: bool, give: Give) -> Answers | None:
    with open_mesh(flags, role="controller") as mesh, Waiting("looking for nodes…", as_json) as waiting:
        found = settle(mesh, FIND_S)
        if not found:
            raise absence(mesh)
        waiting.say(f"waiting for {_count(_meant([node.full_name for node in found], asked))}…")
        answers = give(mesh.control, asked)
        seen = [node.full_name for node in mesh.nodes()]
    _check_asked(answers or Answers({}, {}, {}), seen, asked)
    return answers


def _check_asked(answers: Answers, seen: list[str], asked: dict[str, Any]) -> None:
    """Raise ``NoNodes`` if nobody was asked."""
    from meshq.control.replies import UNFOUND

    names = {*seen, *answers.by_node, *(name for name, why in answers.missing.items() if why != UNFOUND)}
    if not _meant(names, asked):
        whom = " ".join([*asked["destination"], *filter(None, [asked["pattern"]])])
        raise NoNodes(f"no node matches {whom}; seen: {', '.join(sorted(names))}")


def _meant(names: Any, asked: dict[str, Any]) -> list[str]:
    """Return those of the nodes that the command is for."""
    from meshq.control.matching import matches

    return [name for name in names if matches(name, asked["destination"], asked["pattern"] or "")]


def _count(nodes: list[str]) -> str:
    return "1 reply" if len(nodes) == 1 else f"{len(nodes)} replies"


def _print_json(answers: Answers | None) -> None:
    if answers is None:
        print_json({"replies": None, "missing": {}})
        return
    print_json({**answers.fields, "replies": dict(sorted(answers.by_node.items())), "missing": answers.missing})
