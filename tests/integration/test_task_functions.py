"""The functions on tasks: ``dmap``, ``dmap_async``, ``execute_remote``, ``is_done``, ``discard_all``, ``ping``.

Each on real nodes: one of a single slot, which allows ``operator``.
"""

from __future__ import annotations

import functools
import operator
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import steered
import work
from mesh_harness import Stage, wait_until

import meshq
from meshq import ConfigError, EncodingError, Future, Mesh, NoNodes, TaskRevoked, UnknownTask

EXAMPLES = '''
import doctest
import sys
TEXT = """
>>> from meshq import dmap
>>> import operator
>>> dmap(operator.add, [[2, 2], [4, 4], [8, 8]])
[4, 8, 16]

>>> from meshq import dmap_async
>>> import operator
>>> presult = dmap_async(operator.add, [[2, 2], [4, 4], [8, 8]])
>>> presult
<AsyncResult: ...-...-...-...-...>

Whoever types this is slower than the mesh:

>>> _ = presult.get(timeout=10)
>>> presult.status
'DONE'
>>> presult.result
[4, 8, 16]

>>> from meshq import ping
>>> ping()
'pong'

>>> from meshq import execute_remote, is_done, discard_all
>>> result = execute_remote(operator.add, 2, 2)
>>> result.get(timeout=10)
4
>>> is_done(result.id), is_done("0" * 32)
(True, False)
>>> discard_all(connect_timeout=4.0)
0
"""
test = doctest.DocTestParser().get_doctest(TEXT, {}, "examples", None, 0)
failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
assert tried > 10
sys.exit(bool(failed))
'''

FROM_THE_PROMPT = """
import sys
main = sys.modules["__main__"]
main.__file__ = main.__spec__ = None  # as at the prompt
from meshq import execute_remote
def here(x):
    return x
try:
    execute_remote(here, 1)
except TypeError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A mesh of one node with one slot, which has the tests' tasks and allows ``operator``."""
    made = Stage(tmp_path_factory.mktemp("one"))
    made.start("work", "steered", slots=1, allow="operator")
    yield made
    made.close()


@pytest.fixture
def narrow(one: Stage) -> Iterator[Mesh]:
    """A client of it."""
    made = one.client()
    yield made
    made.close(cancel=True)


@pytest.fixture
def other(one: Stage) -> Iterator[Mesh]:
    """Another client of it."""
    made = one.client()
    yield made
    made.close(cancel=True)


class Busy:
    """A task that has the only slot until it is let go."""

    def __init__(self, mesh: Mesh, gate: Path) -> None:
        self._gate = gate
        self.future: Future[Any] = mesh.submit(steered.hold, str(gate), "busy")
        wait_until(self.future.running)

    def let_go(self) -> Any:
        """Have it end; return its result."""
        self._gate.touch()
        return self.future.result(timeout=10)


@pytest.fixture
def busy(narrow: Mesh, tmp_path: Path) -> Iterator[Busy]:
    """The slot, taken."""
    gate = tmp_path / "gate"
    yield Busy(narrow, gate)
    gate.touch()


def lines(path: Path) -> int:
    """Return how many tasks have left a line."""
    return len(path.read_text().split()) if path.exists() else 0


def test_the_examples_run_as_they_are_written(one: Stage) -> None:
    """On the default mesh, which the settings name, in a script that does nothing else."""
    script = one.script(EXAMPLES)
    assert script.wait() == 0, script.text()


def test_the_functions_are_those_of_a_mesh() -> None:
    """Each is there by its name, on the package and on ``Mesh``."""
    for name in ("dmap", "dmap_async", "execute_remote", "is_done", "discard_all", "ping"):
        assert callable(getattr(meshq, name))
        assert callable(getattr(Mesh, name))


# ---------------------------------------------------------------------- dmap


def test_dmap_returns_the_results_in_order(narrow: Mesh) -> None:
    """One call for each list or tuple of arguments, whatever the order in which they end."""
    assert narrow.dmap(operator.add, [[2, 2], [4, 4], [8, 8]]) == [4, 8, 16]
    assert narrow.dmap(work.nap, [(0.1, "a"), (0.0, "b")]) == ["a", "b"]
    assert narrow.dmap(func="work.add", args=((n, 1) for n in range(100)), timeout=20) == list(range(1, 101))
    assert narrow.dmap(work.show, [[]]) == [{"args": (), "kwargs": {}}]


def test_dmap_of_nothing_is_an_empty_list(narrow: Mesh) -> None:
    """No node is asked."""
    assert narrow.dmap(operator.add, []) == []


def test_dmap_raises_the_first_failure_and_withdraws_the_rest(narrow: Mesh, tmp_path: Path) -> None:
    """It comes as soon as it is known, though most of the calls have not started, and these never do."""
    path = tmp_path / "ran"
    begin = time.monotonic()
    with pytest.raises(IsADirectoryError):
        narrow.dmap(work.note, [[str(path), 0.3], [str(tmp_path)], *[[str(path), 0.3]] * 40])
    assert time.monotonic() - begin < 5
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert lines(path) < 5


def test_dmap_is_over_at_its_timeout(narrow: Mesh, tmp_path: Path) -> None:
    """``TimeoutError``, and what has not started is withdrawn."""
    path = tmp_path / "ran"
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"\d+ of the calls are unfinished"):
        narrow.dmap(work.note, [[str(path), 0.3]] * 40, timeout=0.5)
    assert 0.4 < time.monotonic() - begin < 2
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert lines(path) < 6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"args": [[2, 2], 4]}, r"args\[1\]"),
        ({"args": 4}, "args must be"),
        ({"args": [[2, 2]], "timeout": -1}, "timeout must be"),
        ({"args": [[2, 2]], "timeout": "1"}, "timeout must be"),
    ],
)
def test_wrong_arguments_of_dmap_are_named(narrow: Mesh, arguments: dict[str, Any], text: str) -> None:
    """Before anything is submitted."""
    for function in (narrow.dmap, narrow.dmap_async):
        with pytest.raises(ConfigError, match=text):
            function(operator.add, **arguments)


def test_an_argument_of_dmap_that_cannot_travel(busy: Busy, narrow: Mesh, tmp_path: Path) -> None:
    """The error comes at once, and what was submitted before it is withdrawn."""
    with pytest.raises(EncodingError):
        narrow.dmap(work.note, [[str(tmp_path / "ran")], [object()]])
    assert busy.let_go() == "busy"
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert not (tmp_path / "ran").exists()


def test_on_a_plain_node_the_error_names_the_flag(mesh: Mesh) -> None:
    """A node that was not told to allow ``operator`` does not run it."""
    begin = time.monotonic()
    with pytest.raises(UnknownTask, match=r"operator\.add.*--allow operator"):
        mesh.dmap(operator.add, [[2, 2], [4, 4], [8, 8]])
    assert time.monotonic() - begin < 3


# ---------------------------------------------------------------------- dmap_async


def test_dmap_async_goes_from_pending_to_done(busy: Busy, narrow: Mesh) -> None:
    """The one slot is taken, so that it is PENDING at first; then the list is there, also by the id."""
    result = narrow.dmap_async(operator.add, [[2, 2], [4, 4], [8, 8]])
    assert (result.status, result.result, result.ready()) == ("PENDING", None, False)
    assert repr(result) == f"<AsyncResult: {uuid.UUID(result.id)}>"
    assert busy.let_go() == "busy"
    assert result.get(timeout=10) == [4, 8, 16]
    for each in (result, narrow.result(result.id)):
        assert (each.status, each.result, each.successful()) == ("DONE", [4, 8, 16], True)
    assert narrow.is_done(result.id)


def test_many_dmaps_at_once_share_one_slot(narrow: Mesh) -> None:
    """None holds the slot while it waits for its calls, so that they cannot block each other."""
    results = [narrow.dmap_async(work.nap, [[0.01, n], [0.01, -n]]) for n in range(20)]
    assert [result.get(timeout=20) for result in results] == [[n, -n] for n in range(20)]


def test_a_dmap_async_that_fails(narrow: Mesh) -> None:
    """Its state is FAILURE, its result the first failure, and its traceback that of the call."""
    result = narrow.dmap_async(work.fail_at, [[1, 2], [2, 2], [3, 2]])
    with pytest.raises(ValueError, match="2 is bad"):
        result.get(timeout=10)
    assert result.status == "FAILURE"
    assert isinstance(result.result, ValueError)
    assert "fail_at" in str(result.traceback)
    assert not narrow.is_done(result.id)


def test_a_dmap_async_is_over_at_its_timeout(busy: Busy, narrow: Mesh, tmp_path: Path) -> None:
    """Though nobody waits for it; what has not started never does."""
    result = narrow.dmap_async(work.note, [[str(tmp_path / "ran")]] * 3, timeout=0.2)
    wait_until(lambda: result.status == "FAILURE", 3.0, "it has failed by itself")
    with pytest.raises(TimeoutError, match="3 of the calls are unfinished"):
        result.get(timeout=10)
    assert busy.let_go() == "busy"
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert lines(tmp_path / "ran") == 0


def test_a_dmap_async_can_be_revoked(busy: Busy, narrow: Mesh, tmp_path: Path) -> None:
    """All its calls are, by one command."""
    result = narrow.dmap_async(work.note, [[str(tmp_path / "ran")]] * 30)
    result.revoke()
    with pytest.raises(TaskRevoked):
        result.get(timeout=5)
    assert result.status == "REVOKED"
    assert busy.let_go() == "busy"
    assert narrow.submit(work.add, 1, 1).result(timeout=10) == 2
    assert lines(tmp_path / "ran") == 0


def test_leaving_the_mesh_waits_for_a_dmap_async(one: Stage) -> None:
    """Its calls belong to this process, like those of ``submit``."""
    with Mesh(one.mesh) as mesh:
        result = mesh.dmap_async(work.nap, [[0.1, 1], [0.1, 2]])
    assert result.result == [1, 2]


# ---------------------------------------------------------------------- execute_remote


def test_execute_remote_runs_what_the_node_offers(narrow: Mesh) -> None:
    """A function that it allows, a task, a name; the arguments are the function's, whatever they are called."""
    assert narrow.execute_remote(operator.add, 2, 2).get(timeout=10) == 4
    assert narrow.execute_remote(work.add, 2, y=3).get(timeout=10) == 5
    keywords = {"func": 1, "args": 2, "timeout": 3, "self": 4}
    shown = narrow.execute_remote("work:show", 1, **keywords).get(timeout=10)
    assert shown == {"args": (1,), "kwargs": keywords}


@pytest.mark.parametrize(
    "function",
    [lambda x: x, functools.partial(operator.add, 1), "text".join, operator.itemgetter(1)],
    ids=["lambda", "partial", "bound method", "object"],
)
def test_what_has_no_name_is_refused_at_the_caller(narrow: Mesh, function: Any) -> None:
    """The error says that meshq does not pickle functions, and what to do."""
    for call in (lambda: narrow.execute_remote(function, 1), lambda: narrow.dmap(function, [[1]])):
        with pytest.raises(EncodingError, match=r"pickle.*top level of a module"):
            call()


def test_a_function_of_the_prompt_is_refused_at_the_caller(one: Stage) -> None:
    """It has no module that a node could load."""
    script = one.script(FROM_THE_PROMPT)
    assert script.wait() == 0, script.text()
    assert "typed at a prompt" in script.text()
    assert "pickle" in script.text()


def test_what_is_executed_remotely_outlives_the_script(one: Stage, tmp_path: Path) -> None:
    """It is detached."""
    path = tmp_path / "file"
    code = f"import work, meshq\nmeshq.execute_remote(work.write, {str(path)!r}, 'written')\n"
    script = one.script(code)
    assert script.wait() == 0, script.text()
    wait_until(path.exists)


# ---------------------------------------------------------------------- is_done


def test_is_done_is_true_of_what_has_returned(busy: Busy, narrow: Mesh) -> None:
    """Not while it waits or runs; attached and detached alike."""
    detached, attached = narrow.delay(work.add, 1, 1), narrow.submit(work.add, 2, 2)
    ids = (busy.future.task_id, detached.id, attached.task_id)
    assert [narrow.is_done(i) for i in ids] == [False] * 3
    assert busy.let_go() == "busy"
    assert (detached.get(timeout=10), attached.result(timeout=10)) == (2, 4)
    assert [narrow.is_done(i) for i in (*ids[:2], uuid.UUID(attached.task_id))] == [True] * 3


def test_is_done_is_false_of_what_has_failed_or_is_unknown(narrow: Mesh) -> None:
    """DONE means that it has returned."""
    failed = narrow.delay(work.fail, "broken")
    assert isinstance(failed.get(timeout=10, propagate=False), ValueError)
    assert not narrow.is_done(failed.id)
    assert not narrow.is_done(uuid.uuid4())


@pytest.mark.parametrize("wrong", ["", "not an id", 7, None])
def test_is_done_refuses_what_is_no_id(narrow: Mesh, wrong: Any) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match="is not a task id"):
        narrow.is_done(wrong)


# ---------------------------------------------------------------------- discard_all


def test_discard_all_returns_the_number_of_waiting_tasks(other: Mesh, narrow: Mesh, busy: Busy) -> None:
    """Whoever has submitted them; what runs goes on, and their futures end as revoked."""
    futures = [
        *(narrow.submit(work.add, n, 1) for n in range(30)),
        *(other.submit(work.add, n, 1) for n in range(20)),
    ]
    assert narrow.discard_all() == 50
    for future in futures:
        with pytest.raises(TaskRevoked):
            future.result(timeout=5)
    assert busy.let_go() == "busy"
    assert narrow.discard_all(connect_timeout=1) == 0


def test_discard_all_and_ping_without_a_node_say_why(stage: Stage) -> None:
    """``NoNodes`` when the time is over, and not before; a timeout that makes no sense is refused."""
    mesh = stage.client()
    calls = [lambda seconds: mesh.discard_all(connect_timeout=seconds), lambda seconds: mesh.ping(timeout=seconds)]
    for call in calls:
        begin = time.monotonic()
        with pytest.raises(NoNodes, match=rf"{stage.mesh}.*meshq node"):
            call(0.4)
        assert 0.3 < time.monotonic() - begin < 2
        for wrong in (None, "1", -1, float("nan")):
            with pytest.raises(ConfigError, match="must be a number of seconds"):
                call(wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- ping


def test_a_node_with_no_free_slot_answers_a_ping(busy: Busy, narrow: Mesh) -> None:
    """At once, as it is the node that answers and no worker."""
    begin = time.monotonic()
    assert narrow.ping() == "pong"
    assert time.monotonic() - begin < 0.9
    assert not busy.future.done()


def test_a_ping_waits_for_the_first_node(stage: Stage) -> None:
    """One that starts meanwhile."""
    mesh = stage.client()
    stage.start(ready=False)
    assert mesh.ping(timeout=15) == "pong"


def test_a_ping_of_frozen_nodes_ends_with_its_timeout(stage: Stage) -> None:
    """``NoNodes``, which names the node, whether it is known to be silent yet or not."""
    node = stage.start()
    mesh = stage.client()
    node.freeze()
    for _ in range(2):
        begin = time.monotonic()
        with pytest.raises(NoNodes, match=r"no node answered|0 of 1 nodes"):
            mesh.ping(timeout=1.5)
        assert 1.4 < time.monotonic() - begin < 3
    node.thaw()
    assert mesh.ping(timeout=10) == "pong"
