"""The README and the docs are what they claim: commands parse, code runs, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from example_runner import ROOT, Desk

from meshq.cli.main import cli

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]

DEMO = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/meshq demo"
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"

_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, without the indentation of the list item that they stand in."""
    return [
        Block(page.name, language, "\n".join(line.removeprefix(indent) for line in text.splitlines()))
        for indent, language, text in _FENCE.findall(page.read_text(encoding="utf-8"))
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def shell_lines(block: Block) -> list[str]:
    """Return the commands of a block."""
    return [line for line in block.text.splitlines() if line and not line.startswith("#")]


def test_the_two_commands() -> None:
    """Each of the two commands stands in the README, as the only line of its block."""
    lines = [shell_lines(block) for block in blocks_of(README) if block.language == "sh"]
    assert [DEMO] in lines
    assert [TESTS] in lines


def test_ci_runs_the_test_command() -> None:
    """``.ci/run`` runs exactly the README's command."""
    assert TESTS in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_ten_lines(tmp_path: Path) -> None:
    """The README's example does what it says, by the commands that follow it."""
    python, shell = ([b for b in blocks_of(README) if b.language == language] for language in ("python", "sh"))
    files = {re.match(r"# (\w+\.py)\n", block.text)[1]: block.text for block in python}  # type: ignore[index]
    assert list(files) == ["photos.py", "find_duplicates.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    photos = {"a.jpg": b"sunset", "b.jpg": b"beach" * 100_000, "c.jpg": b"sunset"}
    for name, content in photos.items():
        (tmp_path / name).write_bytes(content)
    commands = [shlex.split(line) for line in shell_lines(shell[2])]
    assert commands == [["meshq", "node", "photos"], ["python", "find_duplicates.py"]]
    desk = Desk(tmp_path, tmp_path)
    try:
        printed = "".join([desk.type(command) for command in commands])
    finally:
        desk.close()
    expected = [f"{sha256(content).hexdigest()[:16]} {name}" for name, content in photos.items()]
    assert printed.splitlines() == expected


SHELL = [line for block in BLOCKS if block.language == "sh" for line in shell_lines(block)]
INLINE = [
    line for page in PAGES for line in re.findall(r"`(meshq [a-z][^`\n…]*)`", page.read_text(encoding="utf-8"))
]
MESHQ_LINES = sorted({line for line in SHELL + INLINE if line.startswith("meshq ")})
PYTHON_BLOCKS = [block for block in BLOCKS if block.language == "python"]
WORDS = ["mesh", "node", "peer", "client", "owner", "task", "attempt", "worker", "slot", "credit", "held", "drain"]


@pytest.mark.parametrize("line", MESHQ_LINES)
def test_commands_are_accepted(line: str) -> None:
    """Each ``meshq`` command in the documentation names a command that there is, and flags that it takes."""
    context = click.Context(cli, info_name="meshq")
    command: click.Group = cli
    words = shlex.split(line)[1:]
    while words:
        name, found, words = command.resolve_command(context, words)
        assert found is not None, line
        if isinstance(found, click.Group):
            context, command = click.Context(found, parent=context, info_name=name), found
        else:
            found.make_context(name, words, parent=context)
            break


def test_the_functions_of_the_default_mesh(tmp_path: Path) -> None:
    """What the page on tasks says that dmap and the others return is what they return."""
    (block,) = (block for block in PYTHON_BLOCKS if block.text.startswith("import operator"))
    calls = re.compile(r"^([a-z].*?)  # ([^:]+).*$")
    lines = [calls.sub(r"assert (\1) == (\2)", line) for line in block.text.splitlines()]
    assert sum(line.startswith("assert ") for line in lines) == 7
    (tmp_path / "page.py").write_text("\n".join(["import meshq", *lines]))
    desk = Desk(tmp_path, tmp_path)
    try:
        desk.start_node("--allow", "operator", "--slots", "1")
        desk.run("page.py")
    finally:
        desk.close()


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: f"{block.page}-{block.text[:20]}")
def test_code_parses_and_its_names_exist(block: Block) -> None:
    """Python in the documentation parses, and what it imports from meshq is there."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "meshq":
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link leads to a file."""
    targets = [target for target in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_settings_are_listed() -> None:
    """The table of settings has each setting with its variable and its flag."""
    from meshq.config.settings import SPECS

    page = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
    for spec in SPECS.values():
        assert f"`{spec.name}`" in page
        assert f"`{spec.variable}`" in page


def test_options_are_listed() -> None:
    """The page on tasks has each option that a task takes, in the table or among those that are refused."""
    from meshq.tasks.options import TaskOptions

    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    options = page.partition("## Options")[2].partition("## Results")[0]
    assert [name for name in TaskOptions._fields if f"`{name}`" not in options] == ["overrides"]  # no option


def test_commands_are_listed() -> None:
    """The page on control has each control command, in Python and in the shell, and each look of inspect."""
    from meshq.cli.ctl import ctl
    from meshq.cli.ctl_inspect import inspect
    from meshq.control.control import Control
    from meshq.control.inspecting import Inspect

    page = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
    public = [name for kind in (Control, Inspect) for name in vars(kind) if not name.startswith("_")]
    shell = [*ctl.list_commands(click.Context(ctl)), *inspect.list_commands(click.Context(inspect))]
    assert not [name for name in public if f"{name}(" not in page]
    assert not [name for name in shell if f"`{name}" not in page and f"`inspect {name}" not in page]


def test_exit_codes_are_listed() -> None:
    """The table of exit codes has those that the command line says it uses."""
    page = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
    table = page.partition("| exit code |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (\d) \|", table, re.MULTILINE) == list("012345")


@pytest.mark.parametrize("word", WORDS)
def test_the_glossary_has_the_words(word: str) -> None:
    """The glossary explains each word that the documentation builds on."""
    glossary = README.read_text(encoding="utf-8").partition("## Glossary")[2]
    assert re.search(rf"^\| {word} \| \w+", glossary, re.MULTILINE)
