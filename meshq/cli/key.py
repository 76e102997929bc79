"""``meshq key``: the file that all hosts of a mesh share."""

from __future__ import annotations

from pathlib import Path

import click

from meshq.cli.flags import json_flag
from meshq.cli.output import print_json
from meshq.errors import ConfigError


@click.group()
def key() -> None:
    """Make or show the mesh key, which every node and client of a mesh holds."""


@key.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@json_flag
def new(path: Path | None, as_json: bool) -> None:
    """Make a mesh key, and write it to PATH, or to where nodes and clients find it by themselves.

    A file that is there is never replaced.
    """
    from meshq.config import default_key_path
    from meshq.transport.keys import fingerprint, write_key

    where = (path or default_key_path()).absolute()
    made = write_key(where)
    if as_json:
        print_json({"path": where, "fingerprint": fingerprint(made)})
        return
    click.echo(f"Wrote the mesh key {fingerprint(made)} to {where}, readable by you alone.")
    if path is None:
        click.echo("Copy it to the same place on each host, with scp or the like: whoever has it can run tasks.")
        click.echo("Nodes and clients started from now on use it; start those anew that are running.")
    else:
        click.echo(f"Copy it to each host, and name it there: --key {where}, or MESHQ_KEY={where}.")
        click.echo("Whoever has it can run tasks.")


@key.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@json_flag
def show(path: Path | None, as_json: bool) -> None:
    """Show which key is used here: its fingerprint and its path, never the secret.

    Keys with the same fingerprint are the same key.
    """
    from meshq.transport.keys import fingerprint, load_key

    where = (path or _path_in_use()).absolute()
    found = fingerprint(load_key(where))
    if as_json:
        print_json({"path": where, "fingerprint": found})
    else:
        click.echo(f"{found}  {where}")


def _path_in_use() -> Path:
    from meshq.config import default_key_path, find_key_path, load_settings

    found = find_key_path(load_settings())
    if found is None:
        raise ConfigError(f"there is no mesh key ({default_key_path()}): make one with 'meshq key new'")
    return found
