"""How the failure of one task is told: to people, and as JSON."""

from __future__ import annotations

from typing import Any

import click

from meshq.cli.output import complain, print_json
from meshq.errors import MeshqError, RemoteError
from meshq.observe import escape


def is_ours(error: BaseException) -> bool:
    """Whether meshq says this of the task, and not the task itself."""
    from meshq.protocol.failures import remote_traceback

    return isinstance(error, MeshqError) and remote_traceback(error) is None


def print_failure(task_id: str, error: BaseException, **fields: Any) -> None:
    """Print a failure as the command's JSON value: ``error``, ``type`` and ``traceback``, the task's id first."""
    from meshq.protocol.failures import remote_traceback

    told = {"error": str(error), "type": kind_of(error), "traceback": remote_traceback(error)}
    print_json({"task_id": task_id, **fields, **told})


def say_failure(error: BaseException) -> None:
    """Say on stderr what the task raised, and where; or what meshq says of it."""
    from meshq.protocol.failures import remote_traceback

    for line in (remote_traceback(error) or "").splitlines():
        click.echo(escape(line), err=True)
    complain(str(error) if is_ours(error) else f"the task failed: {kind_of(error)}: {error}")


def kind_of(error: BaseException) -> str:
    """Return the name of the error's type; of one that is not known here, the name that it has there."""
    return error.type_name if isinstance(error, RemoteError) else type(error).__qualname__
