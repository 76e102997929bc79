"""What a node offers: the task functions of its modules, and what ``--allow`` lets in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from meshq.errors import ConfigError
from meshq.tasks import load_functions, source_hash

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules to a directory that Python imports from, and forget them afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(dedent(text))

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("loaded_"):
            del sys.modules[name]


def test_the_tasks_of_a_module(write: Write) -> None:
    """Each task is listed by name with what a worker needs, and plain functions are not."""
    write(
        "loaded_photos.py",
        """
        from meshq import task

        @task(rate_limit="2/s", tags={"gpu"})
        def thumbnail(path):
            return path + ".small"

        @task
        async def fetch(url):
            return url

        @task(bind=True, name="photos.who")
        def who(self):
            return self.name

        def helper():
            pass
        """,
    )
    functions = load_functions(["loaded_photos"])
    assert list(functions) == ["loaded_photos.thumbnail", "loaded_photos.fetch", "photos.who"]
    thumbnail = functions["loaded_photos.thumbnail"]
    assert thumbnail.call("a") == "a.small"
    assert thumbnail.options == {"rate_limit": "2/s", "tags": ["gpu"]}
    assert len(thumbnail.source_hash) == 8
    assert [function.is_async for function in functions.values()] == [False, True, False]
    assert functions["photos.who"].call() == "photos.who"


def test_submodules_and_imported_tasks_belong_to_a_module(write: Write) -> None:
    """A package offers what its parts made, and a module what it imported; a stranger's other tasks stay out."""
    write("loaded_shop/__init__.py", "from loaded_shop import orders\nfrom loaded_far import wanted\n")
    write("loaded_shop/orders.py", "from meshq import task\n@task\ndef sell(): ...\n")
    write("loaded_far.py", "from meshq import task\n@task\ndef wanted(): ...\n@task\ndef other(): ...\n")
    assert set(load_functions(["loaded_shop"])) == {"loaded_shop.orders.sell", "loaded_far.wanted"}
    assert set(load_functions(["loaded_shop.orders"])) == {"loaded_shop.orders.sell"}


def test_modules_that_offer_the_same_task_agree(write: Write) -> None:
    """A task reached by two ways is one task; two tasks that claim one name are an error that names both."""
    write("loaded_a.py", "from meshq import task\n@task(name='x.f')\ndef f(): ...\n")
    write("loaded_b.py", "from loaded_a import f\n")
    write("loaded_c.py", "from meshq import task\n@task(name='x.f')\ndef g(): ...\n")
    assert list(load_functions(["loaded_a", "loaded_b"])) == ["x.f"]
    with pytest.raises(ConfigError, match=r"two functions are named 'x\.f': .*rename one"):
        load_functions(["loaded_a", "loaded_c"])


def test_allow_a_module_of_plain_functions() -> None:
    """``--allow operator`` offers its functions, which are found by the name that they claim too: one function."""
    functions = load_functions([], ["operator"])
    assert functions["operator.add"].call(2, 3) == 5
    assert functions["_operator.add"] is functions["operator.add"]
    assert functions["operator.add"].name == "operator.add"
    assert functions["operator.add"].source_hash == ""
    assert "operator.itemgetter" not in functions  # a class


def test_allow_takes_a_glob() -> None:
    """A glob narrows a module down; a plain name may stand for a class."""
    assert set(load_functions([], ["math:sq*"])) == {"math.sqrt"}
    assert load_functions([], ["decimal:Decimal"])["decimal.Decimal"].call("1.5") == 1.5


def test_allow_means_the_modules_own_functions(write: Write) -> None:
    """What a module imported for its own use, or hides, is not let in, unless it is named."""
    write(
        "loaded_own.py",
        """
        from os import system
        from shutil import rmtree

        def visible(): ...
        def _hidden(): ...
        class Thing: ...
        """,
    )
    assert set(load_functions([], ["loaded_own"])) == {"loaded_own.visible"}
    assert set(load_functions([], ["loaded_own:*"])) == {"loaded_own.visible"}
    assert set(load_functions([], ["loaded_own:_h*"])) == {"loaded_own._hidden"}
    assert set(load_functions([], ["loaded_own:rmtree"])) == {"loaded_own.rmtree", "shutil.rmtree"}


def test_allow_follows_all(write: Write) -> None:
    """``__all__`` decides where there is one, also for what comes from elsewhere."""
    write(
        "loaded_all.py",
        """
        from shutil import rmtree
        from json import dumps
        __all__ = ["dumps", "mine"]
        def mine(): ...
        def other(): ...
        """,
    )
    assert set(load_functions([], ["loaded_all"])) == {"loaded_all.dumps", "json.dumps", "loaded_all.mine"}


def test_allow_and_tasks_go_together(write: Write) -> None:
    """A module may be given both ways: its tasks keep their options."""
    write(
        "loaded_both.py",
        """
        from meshq import task

        @task(priority=3, name="both.f")
        def f():
            return 1

        def g(): ...
        """,
    )
    functions = load_functions(["loaded_both"], ["loaded_both"])
    assert set(functions) == {"both.f", "loaded_both.f", "loaded_both.g"}
    assert functions["loaded_both.f"].options == functions["both.f"].options == {"priority": 3}


def test_allow_that_matches_nothing_is_an_error() -> None:
    """A pattern was meant to let something in; one that does not is a mistake."""
    with pytest.raises(ConfigError, match="allow 'operator:nothing' matches no function of module 'operator'"):
        load_functions([], ["operator:nothing"])


def test_a_missing_module_is_explained() -> None:
    """The error names the module, and what to look at."""
    with pytest.raises(ConfigError, match=r"'loaded_missing' cannot be loaded: there is none.*current directory"):
        load_functions(["loaded_missing"])
    with pytest.raises(ConfigError, match=r"give the module's name, 'shop\.photos', not its file"):
        load_functions(["./shop/photos.py"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import loaded_nowhere\n", "No module named 'loaded_nowhere'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye"),
        ("def f(:\n", "SyntaxError"),
    ],
    ids=["import", "error", "exit", "syntax"],
)
def test_a_module_that_fails_shows_why(write: Write, text: str, why: str) -> None:
    """The end of the traceback is in the error, down to the line of the module."""
    write("loaded_broken.py", text)
    with pytest.raises(ConfigError, match=r"'loaded_broken' cannot be loaded: it raised an error") as caught:
        load_functions(["loaded_broken"])
    assert why in str(caught.value)
    assert "loaded_broken.py" in str(caught.value)


def test_the_hash_follows_the_source(write: Write) -> None:
    """Equal sources have equal hashes, wherever they stand; any change in the function's lines shows."""
    body = "def f(x):\n    '''Doc.'''\n    if x:\n        return (\n            1\n        )\n    pass\n"
    sources = {
        "loaded_h1": body,
        "loaded_h2": "import os\n\n\n" + body + "\n\n# the next one\ndef g(): ...\n",
        "loaded_h3": body.replace("pass", "pass  # later"),
        "loaded_h4": body.replace("1", "2"),
        "loaded_h5": "if True:\n" + body.replace("'''Doc.'''", "'''Doc!'''"),
    }
    sources["loaded_h5"] = "".join(
        "    " * bool(n) + line for n, line in enumerate(sources["loaded_h5"].splitlines(True))
    )
    for name, text in sources.items():
        write(f"{name}.py", text)
    first, same, *others = (load_functions([], [f"{name}:f"])[f"{name}.f"].source_hash for name in sources)
    assert first == same
    assert len({first, *others}) == 4


def test_the_hash_sees_through_wrappers() -> None:
    """A wrapped function is known by what it wraps, and what has no source has no hash."""
    import functools

    def plain() -> int:
        return 1

    @functools.wraps(plain)
    def wrapper() -> int:
        return plain()

    assert source_hash(wrapper) == source_hash(plain) != ""
    assert source_hash(len) == source_hash(functools.partial(plain)) == ""
    assert source_hash(eval("lambda: 1")) == ""
