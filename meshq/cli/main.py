"""``meshq``: the table of commands, and from errors to exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from meshq.cli.exits import FAILED, INTERRUPTED, OK, code_of
from meshq.cli.lazy import Lazy, LazyGroup
from meshq.cli.output import complain
from meshq.errors import MeshqError

_COMMANDS = {
    "demo": Lazy("meshq.cli.demo:demo", "See it work on this machine: two nodes, a real job, a node killed."),
    "node": Lazy("meshq.cli.node:node", "Run the functions of MODULEs for the mesh, on this host."),
    "nodes": Lazy("meshq.cli.nodes:nodes", "List the nodes that are seen from here."),
    "call": Lazy("meshq.cli.call:call", "Run one task, and print its result."),
    "result": Lazy("meshq.cli.result:result", "Show what became of a task, whoever submitted it."),
    "ctl": Lazy("meshq.cli.ctl:ctl", "Steer the nodes: ping, inspect, revoke, purge, limits, drain."),
    "bench": Lazy("meshq.cli.bench:bench", "Measure how fast it is, on your mesh or this machine alone."),
    "key": Lazy("meshq.cli.key:key", "Make or show the mesh key."),
    "config": Lazy("meshq.cli.config:config", "Show the settings, and where each comes from."),
    "completion": Lazy("meshq.cli.completion:completion", "Print what makes bash, zsh or fish complete all this."),
}

_EPILOG = """\
Exit codes: 0 ok, 1 a task or command failed, 2 usage or configuration, 3 no node found, 4 authentication
refused, 5 only some nodes replied.

Shell completion, for bash (zsh alike): eval "$(meshq completion bash)"
"""


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from meshq import __version__

        click.echo(f"meshq {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup, lazy=_COMMANDS, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def cli() -> None:
    """Run Python functions on every host of a network: no broker, no scheduler, no address to configure."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit with its code."""
    given = list(sys.argv[1:] if args is None else args)
    sys.exit(_run(given))


def _run(args: list[str]) -> int:
    """Run a command, which returns its exit code; errors become one line, or one JSON value with ``--json``."""
    as_json = "--json" in args[: args.index("--") if "--" in args else None]
    try:
        code = cli.main(args, prog_name="meshq", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        if as_json:
            kind = "UsageError" if isinstance(error, click.UsageError) else type(error).__name__
            complain(error.format_message(), as_json, kind)
        else:
            error.show()
        return error.exit_code
    except MeshqError as error:
        complain(str(error), as_json, type(error).__qualname__)
        return code_of(error)
    except BrokenPipeError:
        return FAILED
    except OSError as error:  # what was printed found no room
        complain(f"the output cannot be written: {error.strerror or error}")
        return FAILED
    return code if isinstance(code, int) else OK
