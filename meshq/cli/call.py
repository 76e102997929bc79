"""``meshq call``: one task from a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshq.cli.absence import absence
from meshq.cli.exits import FAILED, OK
from meshq.cli.flags import json_flag, mesh_flags, open_mesh
from meshq.cli.output import complain, print_json
from meshq.cli.values import object_of, value_of
from meshq.client.mesh import DETACHED_TIMEOUT_S
from meshq.errors import MeshqError, NoNodes, RemoteError
from meshq.observe import escape
from meshq.protocol.failures import remote_traceback

if TYPE_CHECKING:
    from meshq.client.future import Future
    from meshq.client.mesh import Mesh
    from meshq.client.result import AsyncResult


@click.command()
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
    positional, named = tuple(map(value_of, args)), object_of("--kwargs", kwargs)
    with open_mesh(flags) as mesh:
        if detach:
            return _entrust(mesh, mesh.delay(task, *positional, **named), timeout, as_json)
        return _await(mesh, mesh.submit(task, *positional, **named), timeout, as_json)


def _await(mesh: Mesh, future: Future[Any], timeout: float | None, as_json: bool) -> int:
    """Print the result, or how the task failed."""
    try:
        value = future.result(timeout)
    except Exception as error:
        if not future.done():
            raise _out_of_time(mesh, f"no result in {timeout:g} s") from None
        if _is_ours(error):
            raise absence(mesh) if isinstance(error, NoNodes) else error from None
        return _fail(future.task_id, error, as_json)
    if as_json:
        print_json({"task_id": future.task_id, "result": value})
    else:
        click.echo(value if isinstance(value, str) else repr(value))
    return OK


def _entrust(mesh: Mesh, result: AsyncResult[Any], timeout: float | None, as_json: bool) -> int:
    """Print the task's id once a node has accepted it."""
    seconds = DETACHED_TIMEOUT_S if timeout is None else timeout
    if mesh.wait_accepted(seconds):
        raise _out_of_time(mesh, f"no node accepted the task in {seconds:g} s")
    error = result.result if result.failed() else None
    if isinstance(error, MeshqError) and _is_ours(error):
        raise error
    if as_json:
        print_json({"task_id": result.id})
    else:
        click.echo(result.id)
    return OK


def _out_of_time(mesh: Mesh, text: str) -> MeshqError:
    return MeshqError(f"{text}: the task is given up") if mesh.nodes() else absence(mesh)


def _is_ours(error: BaseException) -> bool:
    """Whether meshq says this of the task, and not the task itself."""
    return isinstance(error, MeshqError) and remote_traceback(error) is None


def _fail(task_id: str, error: Exception, as_json: bool) -> int:
    """Say what the task raised, and where."""
    kind = error.type_name if isinstance(error, RemoteError) else type(error).__qualname__
    trace = remote_traceback(error)
    if as_json:
        print_json({"task_id": task_id, "error": str(error), "type": kind, "traceback": trace})
    else:
        for line in (trace or "").splitlines():
            click.echo(escape(line), err=True)
        complain(f"the task failed: {kind}: {error}")
    return FAILED
