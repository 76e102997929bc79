"""How the replies to control commands are shown to people: one table for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from meshq.cli.commanding import Answers, error_in
from meshq.cli.output import print_table
from meshq.observe import escape

Row = Sequence[object]


def show_replies(answers: Answers) -> None:
    """Print one line for each node: what it says."""
    print_table(("NODE", "REPLY"), [(name, _text(value)) for name, value in sorted(answers.by_node.items())])


def show_rows(*columns: str, rows: Callable[[Any], Iterable[Row]]) -> Callable[[Answers], None]:
    """Return what prints ``rows`` of each node's reply under ``columns``; "-" for a node that has none."""

    def show(answers: Answers) -> None:
        table: list[Row] = []
        for name, value in sorted(answers.by_node.items()):
            table += [(name, *row, *[""] * (len(columns) - len(row))) for row in _rows_of(value, rows)]
        print_table(("NODE", *columns), table)

    return show


def _rows_of(value: Any, rows: Callable[[Any], Iterable[Row]]) -> list[Row]:
    """Return the rows of one node; a long revoke may have brought an error beside what was done."""
    error = error_in(value)
    found = [] if error and "ok" not in value else list(rows(value))
    return [*found, (f"error: {error}",)] if error else found or [("-",)]


def show_texts(answers: Answers) -> None:
    """Print what each node has written, under its name."""
    for name, value in sorted(answers.by_node.items()):
        click.echo(f"{escape(name)}:")
        error = error_in(value)
        for line in (f"error: {error}" if error else str(value["ok"])).splitlines():
            click.echo(escape(line))
        click.echo()


def pairs(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return the fields of a reply in lines of their own: those of a dict in it as NAME.FIELD, rows as NAME.0…"""
    found: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, dict) and item:
            found += pairs(item, f"{prefix}{name}.")
        elif isinstance(item, list) and item and all(isinstance(row, dict) for row in item):
            found += [(f"{prefix}{name}.{number}", _fields(row)) for number, row in enumerate(item)]
        else:
            found.append((f"{prefix}{name}", field(item)))
    return found


def field(value: Any) -> str:
    """Return a value in one line."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == {} else str(value)


def _text(value: Any) -> str:
    """Return a reply in one line: what it says, then its further fields."""
    if error := error_in(value):
        return f"error: {error}"
    if not isinstance(value, dict):
        return field(value)
    answer = value.get("ok")
    fields = dict(answer) if isinstance(answer, dict) else {}
    fields |= {name: item for name, item in value.items() if name != "ok"}
    first = "" if isinstance(answer, dict) else field(answer)
    return f"{first} {_fields(fields)}".strip()


def _fields(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={item}" for name, item in fields.items())
