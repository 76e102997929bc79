"""``meshq config``: what is set, and by what."""

from __future__ import annotations

from typing import Any

import click

from meshq.cli.flags import json_flag
from meshq.cli.output import print_json, print_table


@click.group()
def config() -> None:
    """Show the settings, and where each comes from."""


@config.command()
@json_flag
def show(as_json: bool) -> None:
    """Show every setting: its value, and what it was set by.

    A setting comes from a flag, else MESHQ_* in the environment, else meshq.toml or [tool.meshq] in
    pyproject.toml, here or above, else its default.
    """
    from meshq.config import load_settings, sources

    settings = load_settings()
    rows = [(name, getattr(settings, name), source) for name, source in sources(settings).items()]
    if as_json:
        print_json({"settings": {name: {"value": value, "source": source} for name, value, source in rows}})
    else:
        print_table(("SETTING", "VALUE", "SOURCE"), [(name, _text(value), source) for name, value, source in rows])


def _text(value: Any) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
