"""``meshq ctl inspect``: what the nodes hold, and how they are set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from meshq.cli.commanding import Answers, command, control_flags
from meshq.cli.replies import field, pairs, show_replies, show_rows, show_texts

if TYPE_CHECKING:
    from meshq.control.control import Control
    from meshq.control.inspecting import Inspect, Inspected


@click.group()
def inspect() -> None:
    """Look into the nodes, and change nothing."""


def _ask(
    flags: dict[str, Any], as_json: bool, ask: Callable[[Inspect], Inspected], show: Callable[[Answers], None]
) -> int:
    def give(control: Control, asked: dict[str, Any]) -> Answers:
        found = ask(control.inspect(**asked))
        return Answers(dict(found), found.missing, {})

    return command(flags, as_json, give, show)


@inspect.command()
@control_flags
def active(as_json: bool, **flags: Any) -> int:
    """What runs: SINCE is seconds since its start, PID the worker process."""
    columns = ("ID", "TASK", "ARGS", "ATTEMPT", "SINCE", "PID")
    show = show_rows(*columns, rows=_rows("attempt", "started_s", "pid"))
    return _ask(flags, as_json, lambda inspect: inspect.active(), show)


@inspect.command()
@control_flags
def reserved(as_json: bool, **flags: Any) -> int:
    """What waits for a slot."""
    columns = ("ID", "TASK", "ARGS", "ATTEMPT", "PRIORITY", "CLIENT")
    show = show_rows(*columns, rows=_rows("attempt", "priority", "client"))
    return _ask(flags, as_json, lambda inspect: inspect.reserved(), show)


@inspect.command()
@control_flags
def scheduled(as_json: bool, **flags: Any) -> int:
    """What waits for its time: a countdown, or a rate limit. DUE is seconds until it may start."""
    columns = ("ID", "TASK", "ARGS", "DUE", "WHY", "PRIORITY")
    show = show_rows(*columns, rows=_rows("eta_s", "reason", "priority"))
    return _ask(flags, as_json, lambda inspect: inspect.scheduled(), show)


@inspect.command()
@control_flags
def dead(as_json: bool, **flags: Any) -> int:
    """What was given up, as its worker died each time. AGO is seconds; WHY what became of each attempt."""
    show = show_rows("ID", "TASK", "AGO", "WHY", rows=_dead)
    return _ask(flags, as_json, lambda inspect: inspect.dead(), show)


@inspect.command("query-task")
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@control_flags
def query_task(ids: tuple[str, ...], as_json: bool, **flags: Any) -> int:
    """Where tasks are: which node knows of them, and in what state."""
    from meshq.ids import format_id, parse_task_id

    tasks = [format_id(parse_task_id(text)) for text in ids]  # before nodes are looked for
    show = show_rows("ID", "STATE", "TASK", "ATTEMPT", rows=_found)
    return _ask(flags, as_json, lambda inspect: inspect.query_task(*tasks), show)


@inspect.command()
@control_flags
def registered(as_json: bool, **flags: Any) -> int:
    """The functions that each node offers, with their limits."""
    show = show_rows("FUNCTION", rows=_names)
    return _ask(flags, as_json, lambda inspect: inspect.registered(), show)


@inspect.command()
@control_flags
def stats(as_json: bool, **flags: Any) -> int:
    """Counts and times of each node."""
    return _ask(flags, as_json, lambda inspect: inspect.stats(), show_rows("NAME", "VALUE", rows=pairs))


@inspect.command()
@control_flags
def revoked(as_json: bool, **flags: Any) -> int:
    """The ids that each node refuses."""
    show = show_rows("ID", rows=_names)
    return _ask(flags, as_json, lambda inspect: inspect.revoked(), show)


@inspect.command()
@control_flags
def conf(as_json: bool, **flags: Any) -> int:
    """The settings of each node; secrets are left out."""
    show = show_rows("SETTING", "VALUE", "SOURCE", rows=_settings)
    return _ask(flags, as_json, lambda inspect: inspect.conf(), show)


@inspect.command()
@control_flags
def report(as_json: bool, **flags: Any) -> int:
    """Versions and settings of each node, to be pasted into a question."""
    return _ask(flags, as_json, lambda inspect: inspect.report(), show_texts)


@inspect.command()
@control_flags
def ping(as_json: bool, **flags: Any) -> int:
    """Ask who is there."""
    return _ask(flags, as_json, lambda inspect: inspect.ping(), show_replies)


def _rows(*fields: str) -> Callable[[Any], Iterator[tuple[object, ...]]]:
    """Return what makes a row of each task: id, function, arguments, and these fields."""

    def rows(tasks: Any) -> Iterator[tuple[object, ...]]:
        for task in tasks:
            if "more" in task:
                yield (_more(task),)
            else:
                yield task["id"], task["name"], _arguments(task), *(field(task.get(name)) for name in fields)

    return rows


def _dead(letters: Any) -> Iterator[tuple[object, ...]]:
    for letter in letters:
        if "more" in letter:
            yield (_more(letter),)
        else:
            yield letter["id"], letter["name"], field(letter["seconds_ago"]), letter["story"]


def _names(values: Any) -> Iterator[tuple[object, ...]]:
    for value in values:
        yield (_more(value) if isinstance(value, dict) else value,)


def _settings(values: Any) -> Iterator[tuple[object, ...]]:
    sources = values.get("origins", {})
    for name, value in values.items():
        if name != "origins":
            yield name, field(value), sources.get(name, "default")


def _more(last: dict[str, Any]) -> str:
    """Return what the last item of a list says that was too long for a reply."""
    return f"… and {last['more']} more"


def _arguments(task: dict[str, Any]) -> str:
    """Return the arguments of a task, which come as text, as a call would have them."""
    return ", ".join([*task["args"], *(f"{name}={text}" for name, text in task["kwargs"].items())]) or "-"


def _found(value: Any) -> Iterator[tuple[object, ...]]:
    for task, (state, row) in value.items():
        yield task, row.get("state", state), row.get("name", "-"), row.get("attempt", "-")
