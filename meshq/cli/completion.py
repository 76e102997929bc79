"""``meshq completion``: what makes a shell complete the commands and flags of meshq."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from meshq.cli.exits import OK


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> int:
    """Print the completion script for SHELL.

    In ~/.bashrc: eval "$(meshq completion bash)"; zsh alike; in fish: meshq completion fish | source
    """
    from meshq.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    click.echo(kind(cli, {}, "meshq", "_MESHQ_COMPLETE").source())
    return OK
