"""The house order of DESIGN: imports go down only, and some rooms may not touch some things."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "meshq"

FLOORS = [
    {"config", "ids", "errors"},
    {"tasks"},
    {"protocol", "bench"},
    {"core"},
    {"transport", "workers"},
    {"control"},
    {"client"},
    {"node"},
    {"cli", "testing"},
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
FLOOR_OF["__main__"] = len(FLOORS)
WHO_MAY_OBSERVE = FLOOR_OF["transport"]

_IMPURE = {"zmq", "zeroconf", "socket", "select", "threading", "asyncio", "multiprocessing", "subprocess"}
_IMPURE |= {"time", "datetime", "os", "random", "secrets", "uuid"}
FORBIDDEN = {
    "core": _IMPURE,
    "protocol": _IMPURE - {"datetime", "uuid"},  # their values travel
    "tasks": {"zmq", "zeroconf", "socket", "asyncio", "threading", "inspect", "dataclasses"},
    "workers": {"zmq", "zeroconf"},
    "config": {"zmq", "zeroconf", "socket"},
    "observe": {"zmq", "zeroconf", "meshq"},
}


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of all that is imported, in functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def complaint(room: str, imported: str) -> str:
    """Return what is wrong with an import in a room of the house, or "" """
    if room not in FLOOR_OF and room != "observe":
        return f"{room} has no floor yet: give it one in FLOORS"
    top, _, rest = imported.partition(".")
    target = rest.partition(".")[0]
    if not top:
        return "relative imports hide the room: write meshq.…"
    if top in FORBIDDEN.get(room, set()):
        return f"{room} may not touch {top}"
    if top != "meshq" or target in {room, "__version__"}:
        return ""
    if target == "observe":
        return "" if FLOOR_OF[room] >= WHO_MAY_OBSERVE else f"{room} knows nothing of observe: log with logging"
    if target not in FLOOR_OF:
        return f"name the room that has it, as meshq/__init__ may load any of them: not from meshq import {target}"
    if FLOOR_OF[target] > FLOOR_OF[room]:
        return f"{target} is above {room}: imports go down only"
    if FLOOR_OF[target] == FLOOR_OF[room] > 0:
        return f"{room} and {target} are neighbours, and must not know each other"
    return ""


def test_imports_go_down_only() -> None:
    """Each module of meshq imports only from the floors below its own, and nothing that its room may not touch."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":  # the front door, which opens on every room
            continue
        for line, imported in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if text := complaint(room, imported):
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line}: imports {imported}: {text}")
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("core", "import time"),
        ("core", "def f():\n    from random import random"),
        ("protocol", "if TYPE_CHECKING:\n    from meshq.core.owner import Owner"),
        ("protocol", "from meshq import observe"),
        ("workers", "import zmq.utils"),
        ("workers", "from meshq.transport import loop"),
        ("transport", "from meshq import workers"),
        ("testing", "from meshq.cli import main"),
        ("tasks", "from meshq import Mesh"),
        ("config", "from meshq.tasks import task"),
        ("observe", "from meshq.ids import format_id"),
        ("node", "from . import shell"),
    ],
)
def test_the_order_is_held(room: str, source: str) -> None:
    """An import that breaks the order is found wherever it stands."""
    assert [text for _, name in imports(ast.parse(source)) if (text := complaint(room, name))]
