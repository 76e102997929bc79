"""What commands print: tables for people, one JSON value for programs, complaints in one line."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from meshq.observe import escape

SCHEMA = 1
"""The version of what ``--json`` prints; it goes up when a field changes its meaning or goes away."""


def print_json(fields: dict[str, Any]) -> None:
    """Print the command's one JSON value; what JSON does not know is printed as its text."""
    click.echo(json.dumps(_plain({"schema": SCHEMA, **fields}), allow_nan=False))


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it; NaN and the infinities, too, are text."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; a stream that was closed before the start, as ``>&-`` does, is None."""
    return stream is not None and stream.isatty()


def complain(text: str, as_json: bool = False, kind: str = "MeshqError") -> None:
    """Say what went wrong: one line on stderr, or as the command's JSON value, with the kind of error."""
    if as_json:
        print_json({"error": text, "type": kind})
    else:
        note(text)


def note(text: str) -> None:
    """Say something beside the output, in one line on stderr."""
    click.echo(f"meshq: {escape(' '.join(text.split()))}", err=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table: with rich on a terminal, else in plain columns, nothing cut off."""
    cells = [[escape(str(cell)) for cell in row] for row in rows]  # a node may call itself what it likes
    if is_terminal(sys.stdout):
        _print_rich(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(columns: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:  # an id is there to be copied; of the rest, too, nothing is cut off
        table.add_column(name, no_wrap=name == "ID", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console().print(table)
