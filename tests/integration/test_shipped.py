"""Functions without a name: lambdas, nested ones, partials, methods, objects, those of the prompt.

A node with a key and ``--allow-pickle`` takes them as pickles; any other one does not.
"""

from __future__ import annotations

import asyncio
import functools
import operator
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import work
from mesh_harness import Stage, labels, wait_until

import meshq
from meshq import ConfigError, EncodingError, Mesh, SoftTimeLimitExceeded, TimeLimitExceeded, UnknownTask
from meshq.transport.keys import write_key

AT_THE_PROMPT = """
import sys
main = sys.modules["__main__"]
main.__file__ = main.__spec__ = None  # as at the prompt
from meshq import dmap, execute_remote
factor = 7
class Point:
    def __init__(self, x):
        self.x = x
    def scaled(self):
        return Point(self.x * factor)
def times(x):
    return x * factor
print(execute_remote(times, 6).get(timeout=10), dmap(times, [[1], [2]]))
print(execute_remote(Point(2).scaled).get(timeout=10).x, type(execute_remote(Point(2).scaled).get()) is Point)
"""

WITHOUT_CLOUDPICKLE = """
import sys
sys.modules["cloudpickle"] = None
import functools, operator
from meshq import execute_remote
print(execute_remote(functools.partial(operator.add, 40), 2).get(timeout=10))
try:
    execute_remote(lambda: 1)
except TypeError as error:
    print(error)
"""


class Touches:
    """What leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def keyed(stage: Stage) -> Path:
    """Give the mesh a key."""
    path = stage.directory / "mesh.key"
    write_key(path)
    stage.env["MESHQ_KEY"] = str(path)
    return path


@pytest.fixture(scope="module")
def open_hearted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh with a key, of three nodes: a takes no pickles, b and c do, and c has a tag."""
    made = Stage(tmp_path_factory.mktemp("open"))
    keyed(made)
    made.start(bind="127.0.0.1", ready=False)
    made.start(bind="127.0.0.1", allow_pickle=True, ready=False)
    made.start(bind="127.0.0.1", allow_pickle=True, tag="gpu", ready=False)
    for node in made.nodes:
        node.until_ready()
    yield made
    made.close()


@pytest.fixture
def mesh(open_hearted: Stage) -> Iterator[Mesh]:
    """A client of it, which has the key."""
    made = Mesh(open_hearted.mesh, key=open_hearted.directory / "mesh.key")
    yield made
    made.close(cancel=True)


def nested(base: int) -> Callable[[int], int]:
    """Return a function that is defined inside another one."""

    def add(number: int) -> int:
        return base + number

    return add


def where_from() -> Callable[..., str]:
    """Return a function without a name that tells which node runs it."""

    def tell(seconds: float = 0.0) -> str:
        import os

        time.sleep(seconds)
        return os.environ["NODE_LABEL"]

    return tell


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (lambda x: x + 40, 42),
        (nested(40), 42),
        (functools.partial(operator.add, 40), 42),
        ([40, 41, 42].__getitem__, 42),
        (operator.methodcaller("bit_length"), 2),
    ],
    ids=["lambda", "nested", "partial", "bound method", "object"],
)
def test_what_has_no_name_runs_at_a_node_that_takes_pickles(mesh: Mesh, function: Any, value: int) -> None:
    """By every way of submitting; the first one waits for the nodes to be seen."""
    assert mesh.execute_remote(function, 2).get(timeout=10) == value
    assert mesh.submit(function, 2).result(timeout=10) == value
    assert mesh.dmap(function, [[2], [2]]) == [value] * 2
    assert list(mesh.map(function, [2] * 5, chunksize=2)) == [value] * 5
    assert mesh.dmap_async(function, [[2]]).get(timeout=10) == [value]


def test_it_goes_only_to_nodes_that_take_pickles(mesh: Mesh) -> None:
    """Others of the same mesh, which offer more, are left out."""
    mesh.wait_for_nodes(3)
    assert set(labels(mesh.dmap(where_from(), [[0.05]] * 20))) == {"b", "c"}


def test_keyword_arguments_are_the_function_s_own(mesh: Mesh) -> None:
    """Whatever they are called; results may be of any type, too."""
    keywords = {"function": 1, "name": 2, "self": 3, "timeout": 4}
    assert mesh.submit(lambda **given: given, **keywords).result(timeout=10) == keywords
    assert mesh.submit(lambda: range(3)).result(timeout=10) == range(3)


def test_an_async_one_is_awaited(mesh: Mesh) -> None:
    """A nested ``async def``, and a partial of one."""

    async def later(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    assert mesh.submit(later, 41).result(timeout=10) == 42
    assert mesh.execute_remote(functools.partial(later, 41)).get(timeout=10) == 42


def test_an_error_comes_back_with_a_traceback_of_the_function(mesh: Mesh) -> None:
    """And without meshq's own frames."""

    def fail() -> None:
        raise ValueError("broken here")

    with pytest.raises(ValueError, match="broken here") as caught:
        mesh.submit(fail).result(timeout=10)
    assert "in fail" in str(caught.value.__cause__)
    assert "shipping.py" not in str(caught.value.__cause__)
    with pytest.raises(TypeError, match="positional argument"):
        mesh.submit(lambda: None, 1).result(timeout=10)


def test_options_are_those_of_the_function_that_takes_it(mesh: Mesh) -> None:
    """``meshq.shipped`` has them as every task function, and calls its first argument."""
    there = meshq.shipped.options(tags={"gpu"})
    assert {mesh.submit(there, where_from()).result(timeout=10) for _ in range(6)} == {"c"}
    with pytest.raises(TimeLimitExceeded):
        mesh.submit(meshq.shipped.options(time_limit=0.3), lambda: time.sleep(60)).result(timeout=20)
    with pytest.raises(SoftTimeLimitExceeded):
        mesh.submit(meshq.shipped.options(soft_time_limit=0.3), lambda: time.sleep(60)).result(timeout=20)
    task_id = str(uuid.uuid4())
    assert mesh.delay(meshq.shipped.options(task_id=task_id), lambda: 1).get(timeout=10) == 1
    assert mesh.is_done(task_id)
    assert mesh.submit(meshq.shipped.options(ignore_result=True), lambda: 1).result(timeout=10) is None


def test_functions_of_the_prompt_and_their_classes_travel(open_hearted: Stage) -> None:
    """On the default mesh; an object comes back as one of the class that is there."""
    script = open_hearted.script(AT_THE_PROMPT)
    assert script.wait() == 0, script.text()
    assert script.text().splitlines() == ["42 [7, 14]", "14 True"]


def test_without_cloudpickle_the_error_names_it(open_hearted: Stage) -> None:
    """Plain pickle carries what consists of functions with names; not a lambda."""
    script = open_hearted.script(WITHOUT_CLOUDPICKLE)
    assert script.wait() == 0, script.text()
    assert script.text().startswith("42\n")
    assert "pip install cloudpickle" in script.text()


def test_what_the_node_lacks_is_named(mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method of a class that only this program can import."""
    (tmp_path / "only_here.py").write_text("class Own:\n    def act(self):\n        return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    with pytest.raises(meshq.RemoteProtocolError, match="needs what is not here: No module named 'only_here'"):
        mesh.submit(only_here.Own().act).result(timeout=10)


def test_what_has_a_name_goes_by_it(mesh: Mesh) -> None:
    """Where it is not offered, that is still an unknown task, though its code could travel."""
    with pytest.raises(UnknownTask, match=r"--allow operator:add"):
        mesh.execute_remote(operator.add, 1, 2).get(timeout=10)
    with pytest.raises(UnknownTask, match=r"--allow work:plain"):
        mesh.submit(work.plain, 1).result(timeout=10)


def test_a_client_without_the_key_pickles_nothing(open_hearted: Stage, tmp_path: Path) -> None:
    """Neither by itself nor when it is asked to: it would have to trust the result of whoever answers."""
    began_at = time.monotonic()
    with Mesh(open_hearted.mesh) as mesh:
        with pytest.raises(EncodingError, match=r"pickle.*no key"):
            mesh.submit(lambda: 1)
        with pytest.raises(ConfigError, match="pickle is for meshes with a key"):
            mesh.submit(work.echo.options(serializer="pickle"), 1)
    assert time.monotonic() - began_at < 2


# ---------------------------------------------------------------------- where pickles are not allowed


@pytest.fixture
def reserved(stage: Stage) -> Mesh:
    """A client of a mesh with a key, whose node takes no pickles."""
    key = keyed(stage)
    stage.start(bind="127.0.0.1")
    return stage.client(key=key)


def test_with_a_key_but_without_the_flag_nothing_is_unpickled(reserved: Mesh, tmp_path: Path) -> None:
    """However it is asked: the pickle does not even leave, or is refused."""
    path = tmp_path / "loaded"
    with pytest.raises(EncodingError, match=r"top level of a module.*--allow-pickle.*none of the nodes.*@"):
        reserved.submit(lambda: 1)
    with pytest.raises(UnknownTask, match="--allow-pickle"):
        reserved.submit(work.echo.options(serializer="pickle"), Touches(path)).result(timeout=10)
    with pytest.raises(UnknownTask, match="--allow-pickle"):
        reserved.submit(meshq.shipped, Touches(path)).result(timeout=10)
    with pytest.raises(UnknownTask):
        reserved.submit("meshq.shipped", 1).result(timeout=10)
    assert reserved.submit(work.add, 1, 1).result(timeout=10) == 2
    assert not path.exists()


def test_a_node_refuses_a_pickle_that_comes_all_the_same(reserved: Mesh, tmp_path: Path) -> None:
    """From a client that does not look at what a node takes; detached or not."""
    owner = reserved._runtime.engine.session.owner
    path = tmp_path / "loaded"

    def believe() -> None:
        for node in owner._nodes.values():
            node.serializers.add("pickle")

    for detached in (False, True):
        reserved._runtime.ask(believe)
        task = work.echo.options(serializer="pickle")
        asked = reserved.delay(task, Touches(path)) if detached else reserved.submit(task, Touches(path))
        with pytest.raises(UnknownTask):
            asked.get(timeout=10) if detached else asked.result(timeout=10)  # type: ignore[union-attr]
        assert not any("pickle" in node.serializers for node in owner._nodes.values()), "it was sent, and refused"
    assert not path.exists()


def test_the_flag_without_a_key_is_refused(stage: Stage) -> None:
    """The node does not start."""
    node = stage.start(allow_pickle=True, ready=False)
    assert node.wait() == 2
    assert "--allow-pickle needs a mesh key" in node.text()


def test_a_node_that_comes_later_is_found(stage: Stage) -> None:
    """What was refused is taken once there is a node for it."""
    key = keyed(stage)
    stage.start(bind="127.0.0.1")
    mesh = stage.client(key=key)
    with pytest.raises(EncodingError):
        mesh.submit(lambda: 1)
    node = stage.start(bind="127.0.0.1", allow_pickle=True)
    mesh.wait_for_nodes(2)
    assert mesh.submit(lambda: 1).result(timeout=10) == 1
    node.kill()
    wait_until(lambda: len(mesh.nodes()) == 1, what="it is missed")
    mesh.close(cancel=True)
