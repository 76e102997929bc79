"""What the demo's nodes run: a survey of Python files, and two small tasks to be revoked."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sysconfig
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshq.tasks import task

_TEST_PARTS = frozenset({"test", "tests", "idle_test"})
_NOT_OURS = frozenset({"site-packages", "dist-packages", "__pycache__"})
_LAYOUT = frozenset(
    {tokenize.ENCODING, tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}
)

_WARM_UP = 5
_SAMPLE_S = 0.4
"""The speed is measured for so long, after a few files for which caches are cold."""
_FEWEST_FILES = 300
"""However slow the machine seems: with fewer, a node that joins would come too late."""


@task
def survey(path: str) -> dict[str, Any]:
    """Tokenise one Python file; return its ``path``, ``sha256``, ``lines``, ``tokens``, ``imports``.

    ``error`` says where it is not Python, as some files of the standard library's own tests are not.
    ``node_pid`` is the process that started this one: on a mesh, the node.
    """
    data = Path(path).read_bytes()
    tokens, imports, error = _tokenise(data)
    return {
        "path": path,
        "sha256": hashlib.sha256(data).hexdigest(),
        "lines": data.count(b"\n"),
        "tokens": tokens,
        "imports": imports,
        "error": error,
        "node_pid": os.getppid(),
    }


@task
def nap(seconds: float) -> float:
    """Keep a slot busy for some seconds, and return them."""
    time.sleep(seconds)
    return seconds


@task
def leave_note(path: str) -> str:
    """Write a file, as proof that this task ran, and return its path."""
    Path(path).write_text("this task ran\n", encoding="utf-8")
    return path


def _tokenise(data: bytes) -> tuple[int, list[str], str]:
    """Return the number of tokens, the modules imported, sorted, and what is wrong with the text ("": nothing)."""
    count, imports, error = 0, _Imports(), ""
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            count += 1
            imports.take(token.type, token.string)
    except (SyntaxError, tokenize.TokenError) as problem:
        error = type(problem).__name__
    return count, sorted(imports.found), error


class _Imports:
    """Finds the top-level packages that a stream of tokens imports; relative imports do not count."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._fresh = True
        """At the start of a statement."""
        self._wanted = False
        """The next name is a module's."""
        self._several = False
        """Behind ``import``, where a comma brings one more."""

    def take(self, kind: int, text: str) -> None:
        """Take in the next token."""
        if kind in _LAYOUT:
            if kind == tokenize.NEWLINE:
                self._fresh, self._wanted, self._several = True, False, False
            return
        if self._wanted:
            if kind == tokenize.NAME:
                self.found.add(text)
            self._wanted = False
        elif self._fresh and text in ("import", "from"):
            self._wanted, self._several = True, text == "import"
        elif self._several and text == ",":
            self._wanted = True
        self._fresh = text == ";"


def choose_files(seconds: float) -> list[str]:
    """Return files of the standard library, in a random order, that take this process about so long to survey.

    Those of its tests come last: they are in only where the others do not fill the time.
    """
    order = random.Random(0)
    chosen: list[str] = []
    left: float | None = None
    for paths in library_files():
        order.shuffle(paths)
        if left is None:
            left = seconds * _bytes_per_second(paths)
        for path in paths:
            if left <= 0 and len(chosen) >= _FEWEST_FILES:
                break
            chosen.append(path)
            left -= os.path.getsize(path)
    order.shuffle(chosen)
    return chosen


def _bytes_per_second(paths: list[str]) -> float:
    for path in paths[:_WARM_UP]:
        survey(path)
    size, begun = 0, time.perf_counter()
    for path in paths[_WARM_UP:]:
        survey(path)
        size += os.path.getsize(path)
        if time.perf_counter() - begun > _SAMPLE_S:
            break
    return size / max(time.perf_counter() - begun, 1e-6)


def library_files() -> tuple[list[str], list[str]]:
    """Return the paths of the standard library's ``.py`` files, sorted: those of its tests apart, as second."""
    root = Path(sysconfig.get_path("stdlib"))
    plain: list[str] = []
    tests: list[str] = []
    for path in _python_files(root):
        (tests if _TEST_PARTS.intersection(path.relative_to(root).parts) else plain).append(str(path))
    return sorted(plain), sorted(tests)


def _python_files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _NOT_OURS]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
