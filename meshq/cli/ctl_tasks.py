"""The control commands that are about tasks: revoke, terminate, purge, and the limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.commanding import Answers, command, control_flags, control_flags_for, error_in
from meshq.cli.ctl_nodes import answers_of
from meshq.cli.exits import FAILED
from meshq.cli.flags import Seconds
from meshq.cli.output import is_terminal, note
from meshq.cli.replies import show_replies, show_rows
from meshq.errors import ConfigError

if TYPE_CHECKING:
    from meshq.control.control import Control

_PURGE_TIMEOUT_S = 4.0
"""As for ``Control.purge``: clients answer within some 0.4 s, and nodes for the silent ones after 0.6 of it."""
_SECONDS = Seconds(0, min_open=True)
_signal_flag = click.option(
    "--signal", metavar="NAME", default="TERM", show_default=True, help="The signal that ends them."
)
_show_outcomes = show_rows("ID", "OUTCOME", rows=lambda value: value.get("ok", {}).items())


@click.command()
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@click.option("--terminate", is_flag=True, help="Also end those that run.")
@_signal_flag
@control_flags
def revoke(ids: tuple[str, ...], terminate: bool, signal: str, as_json: bool, **flags: Any) -> int:
    """Withdraw tasks: no node starts them from its reply on.

    Each node says of each ID what became of it there.
    """
    return _revoke(ids, terminate, signal, as_json, flags)


@click.command()
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@_signal_flag
@control_flags
def terminate(ids: tuple[str, ...], signal: str, as_json: bool, **flags: Any) -> int:
    """Withdraw tasks, and end those that run: the same as revoke --terminate."""
    return _revoke(ids, True, signal, as_json, flags)


def _revoke(ids: tuple[str, ...], terminate: bool, signal: str, as_json: bool, flags: dict[str, Any]) -> int:
    from meshq.control.checks import check_signal, task_ids

    tasks, name = task_ids(ids), check_signal(signal)  # before nodes are looked for

    def give(control: Control, asked: dict[str, Any]) -> Answers | None:
        return answers_of(control.revoke(tasks, terminate, name, reply=True, **asked))

    return command(flags, as_json, give, _show_outcomes)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask first.")
@control_flags_for(_PURGE_TIMEOUT_S)
def purge(yes: bool, as_json: bool, **flags: Any) -> int:
    """Discard all tasks that wait, those of other clients too, and say how many they were.

    What runs goes on. On a terminal it asks first; with --json it wants --yes there.
    """
    if not yes and is_terminal(sys.stdin):
        if as_json:
            raise ConfigError("with --json it does not ask whether to discard all waiting tasks: give --yes")
        if not click.confirm("Discard all waiting tasks?", err=True):
            note("nothing was discarded")
            return FAILED

    def give(control: Control, asked: dict[str, Any]) -> Answers | None:
        purged = control.purge(**asked)
        return Answers(purged.replies.by_node(), purged.missing, {"discarded": int(purged)})

    return command(flags, as_json, give, _show_purged)


def _show_purged(answers: Answers) -> None:
    count = answers.fields["discarded"]
    click.echo(f"{count} waiting {'task was' if count == 1 else 'tasks were'} discarded")
    for name, value in sorted(answers.by_node.items()):
        if error := error_in(value):
            note(f"{name}: {error}")


@click.command()
@click.argument("task")
@click.argument("rate")
@control_flags
def rate_limit(task: str, rate: str, as_json: bool, **flags: Any) -> int:
    """Let each node start the function TASK at most at RATE: N (a second), N/s, N/m or N/h; 0 lifts the limit.

    It counts at each node for itself, and acts at once on what waits there.
    """
    from meshq.control.checks import check_rate, check_task_name

    name = check_task_name(task)
    check_rate(rate)  # before nodes are looked for
    return command(
        flags, as_json, lambda control, asked: answers_of(control.rate_limit(name, rate, reply=True, **asked)),
        show_replies,
    )  # fmt: skip


@click.command()
@click.argument("task")
@click.option("--soft", type=_SECONDS, metavar="S", help="Raise SoftTimeLimitExceeded in it after S seconds.")
@click.option("--hard", type=_SECONDS, metavar="S", help="Kill the worker after S seconds.")
@control_flags
def time_limit(task: str, soft: float | None, hard: float | None, as_json: bool, **flags: Any) -> int:
    """Set both time limits of the function TASK, for all its runs that have not started.

    One that is not given is lifted.
    """
    from meshq.control.checks import check_order, check_task_name

    name = check_task_name(task)
    check_order(soft, hard)
    return command(
        flags, as_json,
        lambda control, asked: answers_of(control.time_limit(name, soft, hard, reply=True, **asked)), show_replies,
    )  # fmt: skip
