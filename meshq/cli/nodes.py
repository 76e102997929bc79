"""``meshq nodes``: who is there, and why others are not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.exits import OK, PARTIAL
from meshq.cli.flags import json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json, print_table
from meshq.cli.waiting import Waiting

if TYPE_CHECKING:
    from meshq.client.nodes import NodeInfo
    from meshq.core.membership import Problem

_MOST_FUNCTIONS = 6
"""How many functions of a node the table names."""


@click.command()
@mesh_flags
@click.option(
    "--timeout", type=click.FloatRange(0, 3600), default=FIND_S, show_default=True, help="Seconds to look for."
)
@click.option("--wait", type=click.IntRange(1), metavar="N", help="Look until N nodes are seen.")
@json_flag
def nodes(timeout: float, wait: int | None, as_json: bool, **flags: Any) -> int:
    """List the nodes that are seen from here: where they are, and what they offer.

    It looks until no further node turns up, or for --timeout seconds if there is none. Where none is found it
    says why, and exits with 3, or with 4 if a key is the reason; with 5 where fewer than --wait are found.
    """
    with open_mesh(flags) as mesh, Waiting("looking for nodes…", as_json):
        found, problems = settle(mesh, timeout, wait), mesh.problems()
        if not found:
            raise absence(mesh)
    found.sort(key=lambda node: (node.host, node.name))
    if as_json:
        print_json({"mesh": mesh.name, "nodes": [_fields(node) for node in found], "problems": _reasons(problems)})
    else:
        _print(found, problems)
    if len(found) >= (wait or 1):
        return OK
    if not as_json:
        note(f"{len(found)} of {wait} nodes were found in {timeout:g} s")
    return PARTIAL


def _fields(node: NodeInfo) -> dict[str, Any]:
    """Return a node's fields; ``name`` is NAME@HOST, as everywhere on the command line."""
    return {**asdict(node), "name": node.full_name}


def _reasons(problems: list[Problem]) -> list[dict[str, str]]:
    return [problem._asdict() for problem in problems]


def _print(found: list[NodeInfo], problems: list[Problem]) -> None:
    columns = ("NODE", "ADDRESS", "STATE", "SLOTS", "KEY", "TAGS", "FUNCTIONS")
    print_table(columns, [_row(node) for node in found])
    for problem in problems:
        note(f"not in the list: {problem.label} ({problem.endpoint}): {problem.text}")


def _row(node: NodeInfo) -> tuple[object, ...]:
    key = "yes" if node.secured else "no"
    tags = " ".join(node.tags) or "-"
    return node.full_name, node.address, node.state, node.slots, key, tags, _functions(node.functions)


def _functions(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_FUNCTIONS
    return (" ".join(names[:_MOST_FUNCTIONS]) + (f" and {more} more" if more > 0 else "")) or "-"
