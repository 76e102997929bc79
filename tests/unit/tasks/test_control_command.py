"""``@control_command``: what may be one, under which name, and which of them a node finds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshq.control.commands import COMMANDS
from meshq.errors import ConfigError
from meshq.tasks import commands, control_command, load_commands


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no command behind."""
    monkeypatch.setattr(commands, "_tables", {})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write modules, which are forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split("."))
        if name == "package":
            path.mkdir()
            path = path / "__init__"
        path.with_suffix(".py").write_text("from meshq import control_command\n" + text)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_function_stays_as_it_is() -> None:
    """It can be called here like any other."""

    @control_command
    def reload(path: str = "/") -> str:
        return path

    assert reload(path="/etc") == "/etc"
    assert reload.__name__ == "reload"


@pytest.mark.parametrize("name", ["no name", "", "9lives", 7])
def test_a_name_must_be_an_identifier(name: Any) -> None:
    """The error says how to give one."""
    with pytest.raises(ConfigError, match="name="):
        control_command(name=name)(test_the_function_stays_as_it_is)


def test_a_lambda_needs_a_name() -> None:
    """Its own is none."""
    with pytest.raises(ConfigError, match="<lambda>"):
        control_command(lambda: None)
    assert control_command(name="fine")(lambda: 3)() == 3


def test_the_names_of_built_in_commands_are_taken() -> None:
    """All of them: the table of the nodes has no other."""
    for name in sorted(COMMANDS):
        with pytest.raises(ConfigError, match="another name"):
            control_command(name=name)(test_a_lambda_needs_a_name)
    assert set(COMMANDS) <= commands.BUILT_IN


@pytest.mark.parametrize("thing", [7, int, staticmethod(print)])
def test_only_functions_can_be_commands(thing: Any) -> None:
    """No class, and nothing that belongs to one."""
    with pytest.raises(ConfigError, match="not a function"):
        control_command(thing)


def test_parameters_must_have_names() -> None:
    """A command is called by keyword alone."""

    def measure(what: str, /) -> None: ...

    with pytest.raises(ConfigError, match="positional-only"):
        control_command(measure)


def test_two_functions_of_a_module_cannot_have_one_name() -> None:
    """The same one defined again, as by a reload, takes the place of its old self."""

    def make() -> Callable[[], int]:
        @control_command(name="twice")
        def first() -> int:
            return 1

        return first

    make()
    make()

    def other() -> int:
        return 2

    with pytest.raises(ConfigError, match="'twice'"):
        control_command(name="twice")(other)


def test_a_node_finds_the_commands_of_its_modules(module: Callable[[str, str], None]) -> None:
    """Those of submodules and those imported by a module count as its own; others do not."""
    module("elsewhere", "@control_command\ndef far(): return 'far'\n@control_command\ndef unseen(): ...\n")
    module("package", "from elsewhere import far\nfrom package import part\n")
    module("package.part", "@control_command\nasync def near(): return 'near'\n")
    found = load_commands(["package"])
    assert set(found) == {"far", "near"}
    assert found["far"].call() == "far"
    assert found["near"].is_async
    assert load_commands([]) == {}


def test_two_modules_cannot_have_commands_of_one_name(module: Callable[[str, str], None]) -> None:
    """The error names both; the same one found twice is one."""
    module("one", "@control_command\ndef same(): ...\n")
    module("two", "@control_command\ndef same(): ...\n")
    assert set(load_commands(["one", "one"])) == {"same"}
    with pytest.raises(ConfigError, match=r"two control commands are named 'same'"):
        load_commands(["one", "two"])
