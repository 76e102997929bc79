"""``meshq nodes``: who is there, and why others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.exits import OK, PARTIAL
from meshq.cli.flags import Seconds, json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json, print_table
from meshq.cli.waiting import Waiting
from meshq.ids import ID_BYTES, format_id

if TYPE_CHECKING:
    from meshq.client.nodes import NodeInfo
    from meshq.core.membership import Absent, Problem

UNREACHABLE = "unreachable"
"""The state of a node that should be there and does not answer."""
_MOST_FUNCTIONS = 6
"""How many functions of a node the table names."""


@click.command()
@mesh_flags
@click.option("--timeout", type=Seconds(0, 3600), default=FIND_S, show_default=True, help="Seconds to look for.")
@click.option("--wait", type=click.IntRange(1), metavar="N", help="Look until N nodes are seen.")
@json_flag
def nodes(timeout: float, wait: int | None, as_json: bool, **flags: Any) -> int:
    """List the nodes that are seen from here: where they are, and what they offer.

    It looks until no further node turns up, or for --timeout seconds if there is none. Where none is found it
    says why, and exits with 3, or with 4 if a key is the reason; with 5 where fewer than --wait are found.
    Those that were announced, or are known to others, and do not answer are listed as unreachable.
    """
    with open_mesh(flags) as mesh, Waiting("looking for nodes…", as_json):
        found, problems, absent = settle(mesh, timeout, wait), mesh.problems(), mesh.absent()
        if not found:
            raise absence(mesh)
    rows = [*map(_fields, found), *_unreachable(absent, problems)]
    rows.sort(key=lambda row: (row["host"], row["name"]))
    if as_json:
        print_json({"mesh": mesh.name, "nodes": rows, "problems": _reasons(problems)})
    else:
        _print(rows, problems)
    if len(found) >= (wait or 1):
        return OK
    if not as_json:
        note(f"{len(found)} of {wait} nodes were found in {timeout:g} s")
    return PARTIAL


def _fields(node: NodeInfo) -> dict[str, Any]:
    """Return a node's fields; ``name`` is NAME@HOST, as everywhere on the command line."""
    return {**asdict(node), "name": node.full_name}


def _unreachable(absent: list[Absent], problems: list[Problem]) -> Iterator[dict[str, Any]]:
    """Yield the fields of nodes that do not answer, as far as they are known."""
    where = {problem.label: problem.endpoint for problem in problems}
    for each in absent:
        yield {
            "name": each.name,
            "host": each.name.rpartition("@")[2],
            "id": format_id(each.node) if len(each.node) == ID_BYTES else "",
            "address": where.get(each.name, ""),
            "state": UNREACHABLE,
            "slots": 0,
            "functions": (),
            "tags": (),
            "secured": None,
        }


def _reasons(problems: list[Problem]) -> list[dict[str, str]]:
    return [problem._asdict() for problem in problems]


def _print(rows: list[dict[str, Any]], problems: list[Problem]) -> None:
    columns = ("NODE", "ADDRESS", "STATE", "SLOTS", "KEY", "TAGS", "FUNCTIONS")
    print_table(columns, map(_row, rows))
    listed = {row["name"] for row in rows}
    for problem in problems:
        which = f"{problem.label} ({problem.endpoint})"
        note(f"{which if problem.label in listed else f'not in the list: {which}'}: {problem.text}")


def _row(node: dict[str, Any]) -> tuple[object, ...]:
    key = {True: "yes", False: "no"}.get(node["secured"], "-")
    tags = " ".join(node["tags"]) or "-"
    functions = _functions(node["functions"])
    return node["name"], node["address"] or "-", node["state"], node["slots"] or "-", key, tags, functions


def _functions(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_FUNCTIONS
    return (" ".join(names[:_MOST_FUNCTIONS]) + (f" and {more} more" if more > 0 else "")) or "-"
