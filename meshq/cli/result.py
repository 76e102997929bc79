"""``meshq result``: what became of a task, asked from any process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from meshq.cli.absence import FIND_S, absence, settle
from meshq.cli.exits import FAILED, OK
from meshq.cli.failure import print_failure, say_failure
from meshq.cli.flags import Seconds, json_flag, mesh_flags, open_mesh
from meshq.cli.output import note, print_json
from meshq.cli.values import text_of
from meshq.cli.waiting import Waiting
from meshq.errors import MeshqError, ResultGone

if TYPE_CHECKING:
    from meshq.client.result import AsyncResult

_UNKNOWN = "UNKNOWN"
_UNFINISHED = frozenset({"PENDING", "QUEUED", "STARTED", "RETRY"})
_ON_ITS_WAY_S = 1.0
"""How long an unknown task is looked for: it may be on its way to a node."""


class _Seen(NamedTuple):
    """What is known of a task: its state, its value or its error, and what is wrong with the answer."""

    state: str
    value: Any = None
    problem: MeshqError | None = None


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait until the task has ended.")
@click.option("--timeout", type=Seconds(0, min_open=True), metavar="S", help="Wait for at most S seconds.")
@mesh_flags
@json_flag
def result(task_id: str, wait: bool, timeout: float | None, as_json: bool, **flags: Any) -> int:
    """Show what became of the task ID: its state, and its value or its error.

    Exits with 0 if the task is DONE, or is on its way and nobody waits for it; with 1 if it failed, was revoked,
    has expired or was lost, if no node knows it, or if the time to wait is over.
    """
    from meshq.ids import parse_task_id

    parse_task_id(task_id)  # before nodes are looked for
    with open_mesh(flags) as mesh, Waiting("looking for nodes…", as_json) as waiting:
        if not settle(mesh, FIND_S):
            raise absence(mesh)
        waiting.say("running…" if wait else "asking the nodes…")
        found = mesh.result(task_id)
        seen = _look(found, wait or timeout is not None, timeout)
    if as_json:
        _print_json(found.id, seen)
    else:
        _print(seen)
    fine = seen.state == "DONE" or (seen.state in _UNFINISHED and seen.problem is None)
    return OK if fine else FAILED


def _look(found: AsyncResult[Any], waits: bool, timeout: float | None) -> _Seen:
    """Ask the nodes, for as long as the task has not ended if that is waited for."""
    state = found.status
    try:
        if state == _UNKNOWN or (waits and state in _UNFINISHED):
            found.get(timeout if waits else _ON_ITS_WAY_S, propagate=False)
            state = found.status
        return _Seen(state, None if state in _UNFINISHED else found.result)
    except TimeoutError:
        problem = MeshqError(f"the task has not ended in {timeout:g} s") if waits else None
        return _Seen(found.status, None, problem)
    except ResultGone as error:
        return _Seen(found.status, None, error)


def _print_json(task_id: str, seen: _Seen) -> None:
    error = seen.problem or (seen.value if isinstance(seen.value, BaseException) else None)
    if error is None:
        print_json({"task_id": task_id, "state": seen.state, "result": seen.value})
    else:
        print_failure(task_id, error, state=seen.state)


def _print(seen: _Seen) -> None:
    """Print the state and the value; errors go to stderr."""
    click.echo(seen.state)
    if seen.problem is not None:
        note(str(seen.problem))
    elif isinstance(seen.value, BaseException):
        say_failure(seen.value)
    elif seen.state == "DONE":
        click.echo(text_of(seen.value))
