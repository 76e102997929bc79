"""``meshq call``: one task from a shell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meshq.cli.absence import absence
from meshq.cli.exits import FAILED, OK, code_of
from meshq.cli.failure import is_ours, print_failure, say_failure
from meshq.cli.flags import Seconds, json_flag, mesh_flags, open_mesh
from meshq.cli.output import print_json
from meshq.cli.values import object_of, text_of, value_of
from meshq.cli.waiting import Waiting
from meshq.errors import MeshqError, NoNodes

if TYPE_CHECKING:
    from meshq.client.future import Future
    from meshq.client.mesh import Mesh
    from meshq.client.result import AsyncResult

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = Seconds(0, min_open=True)
_OPTIONS = ("countdown", "expires", "priority", "tags", "time_limit", "soft_time_limit")
_OPTION_FLAGS = (
    click.option("--countdown", type=Seconds(0), metavar="S", help="Start in S seconds, not sooner."),
    click.option("--expires", type=_SECONDS, metavar="S", help="Do not start it after S seconds."),
    click.option("--priority", type=click.IntRange(0, 9), metavar="N", help="0 to 9; 9 goes first. [default: 5]"),
    click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only where there is this. May be repeated."),
    click.option("--time-limit", type=_SECONDS, metavar="S", help="Kill its worker after S seconds."),
    click.option(
        "--soft-time-limit", type=_SECONDS, metavar="S", help="Raise SoftTimeLimitExceeded in it after S seconds."
    ),
)


def _option_flags(function: F) -> F:
    for option in reversed(_OPTION_FLAGS):
        function = option(function)
    return function


@click.command()
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("--kwargs", metavar="JSON", help="Keyword arguments, as a JSON object.")
@click.option("--timeout", type=_SECONDS, metavar="S", help="Give up after so many seconds.")
@click.option("--detach", is_flag=True, help="Print the task's id as soon as a node has accepted it.")
@_option_flags
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
    from meshq.tasks.names import normalise_name
    from meshq.tasks.options import TaskOptions

    name, positional, named = normalise_name(task), tuple(map(value_of, args)), object_of("--kwargs", kwargs)
    given = {option: flags.pop(option) for option in _OPTIONS}
    changes = {option: value for option, value in given.items() if value not in (None, ())}
    options = TaskOptions().changed(changes).compared_to(TaskOptions())
    with open_mesh(flags) as mesh:
        if detach:
            result = mesh.submit_detached(name, positional, named, options)
            return _entrust(mesh, result, timeout, as_json)
        return _await(mesh, mesh.submit_call(name, positional, named, options), timeout, as_json)


def _await(mesh: Mesh, future: Future[Any], timeout: float | None, as_json: bool) -> int:
    """Print the result, or how the task failed."""
    try:
        with Waiting("running…", as_json):
            value = future.result(timeout)
    except Exception as error:
        failure = error if future.done() else _out_of_time(mesh, f"no result in {timeout:g} s")
        return _fail(mesh, future.task_id, failure, as_json)
    if as_json:
        print_json({"task_id": future.task_id, "result": value})
    else:
        click.echo(text_of(value))
    return OK


def _entrust(mesh: Mesh, result: AsyncResult[Any], timeout: float | None, as_json: bool) -> int:
    """Print the task's id once a node has accepted it."""
    from meshq.client.base import DETACHED_TIMEOUT_S

    seconds = DETACHED_TIMEOUT_S if timeout is None else timeout
    with Waiting("looking for a node that accepts it…", as_json):
        unaccepted = mesh.wait_accepted(seconds)
    if unaccepted:
        return _fail(mesh, result.id, _out_of_time(mesh, f"no node accepted the task in {seconds:g} s"), as_json)
    error = result.result if result.failed() else None
    if isinstance(error, MeshqError) and is_ours(error):
        return _fail(mesh, result.id, error, as_json)
    if as_json:
        print_json({"task_id": result.id})
    else:
        click.echo(result.id)
    return OK


def _out_of_time(mesh: Mesh, text: str) -> MeshqError:
    return MeshqError(f"{text}: the task is given up") if mesh.nodes() else absence(mesh)


def _fail(mesh: Mesh, task_id: str, error: BaseException, as_json: bool) -> int:
    """Say what became of the task, and withdraw it if it has not ended; return the exit code."""
    if isinstance(error, NoNodes) and is_ours(error):
        error = absence(mesh)  # which may say that a key is the reason
    mesh.close(cancel=True)
    if as_json:
        print_failure(task_id, error)
    else:
        say_failure(error)
    return code_of(error) if is_ours(error) else FAILED
