"""Nothing is decided by the wall clock, which may be a year wrong and jump: instants are monotonic."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "meshq"

ALLOWED = {
    "node/remembering.py": "revokes outlast a restart of the host, which no monotonic clock does",
    "observe.py": "lines of the log bear the time of day",
    "tasks/function.py": "eta and expires may be instants: where they are given they become durations",
}
"""Modules that may look at the wall clock, and why. ``cli`` shows it to people."""

_OF_TIME = {"time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime", "clock_gettime"}
_OF_DATES = {"now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp"}
_ANYWHERE = {"st_mtime", "st_ctime", "st_mtime_ns", "getmtime", "getctime", "uuid1", "uuid6", "uuid7"}


def looks(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of whatever looks at the wall clock."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                of_time = node.module == "time" and alias.name in _OF_TIME
                if of_time or (node.module in ("uuid", "os.path") and alias.name in _ANYWHERE):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            of_time = owner == "time" and node.attr in _OF_TIME
            of_dates = owner in ("datetime", "date") and node.attr in _OF_DATES
            if of_time or of_dates or node.attr in _ANYWHERE:
                yield node.lineno, f"{owner}.{node.attr}"


def modules() -> Iterator[tuple[str, ast.AST]]:
    """Yield each module of meshq below the command line: its path, and what is in it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if (name := path.relative_to(PACKAGE).as_posix()).partition("/")[0] != "cli":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_is_decided_by_the_wall_clock() -> None:
    """Only the modules that are listed here, with the reason, look at the wall clock; and all of these do."""
    found = {name: list(looks(tree)) for name, tree in modules()}
    wrong = [
        f"meshq/{name}:{line}: {what}: use time.monotonic(), or say here why not"
        for name, seen in found.items()
        if name not in ALLOWED
        for line, what in seen
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    assert [name for name in ALLOWED if not found.get(name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "from time import time as now",
        "clock = time.time_ns",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "path.stat().st_mtime",
        "uuid.uuid1()",
    ],
)
def test_a_look_at_it_is_found(source: str) -> None:
    """Wherever it stands, called or not."""
    assert list(looks(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["time.monotonic()", "from time import perf_counter", "datetime.fromisoformat(x)"]
)
def test_other_clocks_may_be_looked_at(source: str) -> None:
    """Those that only go forward, and what is written down as a date."""
    assert not list(looks(ast.parse(source)))
