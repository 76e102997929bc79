"""``meshq call``: one task from a shell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.exits import FAILED, OK
from meshq.cli.flags import json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json
from meshq.cli.values import object_of, value_of
from meshq.errors import MeshqError

if TYPE_CHECKING:
    from meshq.client.mesh import Mesh


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("--kwargs", metavar="JSON", help="Keyword arguments, as a JSON object.")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="Give up after so many seconds."
)
@click.option("--detach", is_flag=True, help="Print the task's id as soon as a node has accepted it.")
@mesh_flags
@json_flag
def call(
    task: str, args: tuple[str, ...], kwargs: str | None, timeout: float | None, detach: bool, as_json: bool,
    **flags: Any,
) -> int:  # fmt: skip
    """Run TASK, a MODULE.FUNCTION that a node offers, and print its result.

    Each of ARGS is JSON where it parses, else a string; `--` goes before what begins with a dash. Exits with 1
    if the task fails, and says with what.
    """
    named = object_of("--kwargs", kwargs)
    positional = tuple(map(value_of, args))
    with open_mesh(flags) as mesh:
        if detach:
            return _detach(mesh, task, positional, named, timeout, as_json)
        return _run(mesh, task, positional, named, timeout, as_json)
