"""The names of functions, and what has none."""

from __future__ import annotations

import _heapq
import functools
import heapq
import io
import json
import operator
import subprocess
import sys
import types
from pathlib import Path

import pytest

from meshq.errors import ConfigError, EncodingError
from meshq.tasks import check_function_name, function_name, is_name, normalise_name, task

ROOT = Path(__file__).parents[3]


def plain() -> None:
    """Stand for a user's function."""


class Shop:
    """Stands for a user's class."""

    def sell(self) -> None:
        """Stand for a method."""

    @staticmethod
    def count() -> None:
        """Stand for a static method."""


@task(name="elsewhere.renamed")
def renamed() -> None:
    """Stand for a task with a name of its own."""


def test_functions_are_named_by_module_and_qualname() -> None:
    """Plain, builtin and decorated functions and classes have the name that a node lists them under."""
    assert function_name(plain) == f"{__name__}.plain"
    assert function_name(json.dumps) == "json.dumps"
    assert function_name(renamed) == "elsewhere.renamed"
    assert function_name(Shop.count) == f"{__name__}.Shop.count"


def test_what_a_c_twin_has_made_is_named_as_people_know_it() -> None:
    """``operator.add`` claims to be of ``_operator``; what its module does not show keeps the name it claims."""
    assert operator.add.__module__ == "_operator"
    assert function_name(operator.add) == "operator.add"
    assert function_name(heapq.heappush) == "heapq.heappush"
    assert function_name(io.BytesIO) == "io.BytesIO"
    for module, name in (("_operator", "add"), ("_operator", "nosuch"), ("_mine", "add")):
        other = types.FunctionType(plain.__code__, {"__name__": module})
        other.__qualname__ = name
        assert function_name(other) == f"{module}.{name}"


def test_a_platform_without_the_module_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the public module cannot be imported, the claimed name stays."""
    monkeypatch.setitem(sys.modules, "heapq", None)  # type: ignore[arg-type]
    assert function_name(_heapq.heappush) == "_heapq.heappush"


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda: None, "a lambda"),
        (functools.partial(plain), "a partial object without a name of its own"),
        (Shop().sell, "a bound method"),
        ([].append, "a bound method"),
        (operator.itemgetter(1), "a itemgetter object without a name"),
    ],
    ids=["lambda", "partial", "method", "builtin method", "object"],
)
def test_what_no_node_can_find_is_refused(function: object, what: str) -> None:
    """The error says what it is, that meshq does not pickle code, and what to do; it is a TypeError too."""
    with pytest.raises(EncodingError, match=rf"{what}.*does not pickle.*top level of a module"):
        function_name(function)  # type: ignore[arg-type]


def test_nested_functions_and_non_functions_are_refused() -> None:
    """A function inside another one cannot be found by name, and a number is no function."""

    def nested() -> None: ...

    with pytest.raises(EncodingError, match="inside another function"):
        function_name(nested)
    with pytest.raises(EncodingError, match="3 is not a function"):
        function_name(3)  # type: ignore[arg-type]


SCRIPT = """
from meshq.tasks import function_name, task
@task
def add(x, y):
    return x + y
print(add.name)
"""


def run(arguments: list[str], cwd: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python in another process."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, input=text, env=environment, capture_output=True, text=True, check=False
    )


def test_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    """``python photos.py`` and ``python -m photos`` make the names that ``meshq node photos`` offers."""
    (tmp_path / "photos.py").write_text(SCRIPT)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(SCRIPT)
    assert run(["photos.py"], tmp_path).stdout == "photos.add\n"
    assert run(["-m", "photos"], tmp_path).stdout == "photos.add\n"
    assert run(["-m", "shop.orders"], tmp_path).stdout == "shop.orders.add\n"


@pytest.mark.parametrize("arguments", [["-c", SCRIPT], ["-"]], ids=["-c", "stdin"])
def test_what_is_typed_has_no_name(tmp_path: Path, arguments: list[str]) -> None:
    """A function given with -c or typed in is refused where it is decorated, naming pickle."""
    done = run(arguments, tmp_path, SCRIPT)
    assert done.returncode == 1
    assert "typed at a prompt or given with -c" in done.stderr
    assert "does not pickle" in done.stderr


def test_a_child_of_multiprocessing_knows_its_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a spawned child the script is ``__mp_main__``, and its functions keep their names."""
    main = types.ModuleType("__mp_main__")
    main.__file__ = "/home/me/photos.py"
    monkeypatch.setitem(sys.modules, "__mp_main__", main)
    function = types.FunctionType(plain.__code__, {"__name__": "__mp_main__"}, "plain")
    assert function_name(function) == "photos.plain"


def test_names_as_people_type_them() -> None:
    """``module:name`` and ``module.name`` are the same function."""
    assert normalise_name("shop.orders:sell") == normalise_name("shop.orders.sell") == "shop.orders.sell"


@pytest.mark.parametrize("wrong", ["", "a b", "a:b:c", "a<b>", "é", "x" * 201, None, "a\n"])
def test_wrong_names_are_refused(wrong: object) -> None:
    """The wire takes ASCII letters, digits, underscores and dots, 200 at most."""
    assert not is_name(wrong)
    with pytest.raises(ConfigError, match="cannot name a task"):
        normalise_name(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"as in photos\.thumbnail"):
        check_function_name(wrong)
