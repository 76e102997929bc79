"""``shipped``, the task function that takes others as pickles, and its name, which is its own."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

import meshq
from meshq import ConfigError, task
from meshq.tasks import SHIPPED, NamelessFunction, function_name, load_functions, shipped


def test_it_calls_its_first_argument() -> None:
    """Here as at a node, whatever the other arguments are called."""
    assert shipped(lambda *args, **kwargs: (args, kwargs), 1, function=2) == ((1,), {"function": 2})
    with pytest.raises(TypeError, match=r"meshq\.shipped calls its first argument, and 'x' cannot be called"):
        shipped("x")


def test_it_is_a_task_function_of_the_package() -> None:
    """Found under its own name, with options as any, and pickled by reference."""
    assert meshq.shipped is shipped
    assert function_name(shipped) == SHIPPED
    assert shipped.options(tags={"gpu"}).call_settings.serializer == "pickle"
    assert pickle.loads(pickle.dumps(shipped)) is shipped


def test_nodes_offer_it_only_where_pickles_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a module that has imported it."""
    module = ModuleType("has_shipped")
    module.__dict__["shipped"] = shipped
    module.__dict__["mine"] = shipped.options(priority=9)
    monkeypatch.setitem(sys.modules, "has_shipped", module)
    assert load_functions(["has_shipped"]) == {}
    assert set(load_functions(["has_shipped"], pickles=True)) == {SHIPPED}


def test_no_other_function_can_have_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by ``@task(name=…)`` nor by ``--allow``."""
    with pytest.raises(ConfigError, match=r"no function can be named 'meshq\.shipped'"):
        task(name=SHIPPED)(lambda: None)
    (tmp_path / "takes_shipped.py").write_text("from meshq import shipped as other\ndef f(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for pattern in ("takes_shipped:other", "meshq:shipped"):
        with pytest.raises(ConfigError, match="--allow-pickle"):
            load_functions([], [pattern])
    assert set(load_functions([], ["takes_shipped"])) == {"takes_shipped.f"}


def test_a_function_without_a_name_is_told_from_what_is_none() -> None:
    """Only the former may be shipped."""
    with pytest.raises(NamelessFunction, match="--allow-pickle"):
        function_name(lambda: None)
    with pytest.raises(TypeError, match="not a function") as caught:
        function_name(7)  # type: ignore[arg-type]
    assert not isinstance(caught.value, NamelessFunction)
