"""What ``@task`` makes: a function as before, and calls that leave through the port."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import pickle
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from meshq.errors import ConfigError, EncodingError
from meshq.tasks import AsyncTaskFunction, Call, TaskFunction, registered, set_submitter_factory, submitter, task

ROOT = Path(__file__).parents[3]


@task
def add(x: int, y: int = 0) -> int:
    """Add two numbers."""
    return x + y


@task(time_limit=3, tags={"gpu"})
async def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@task(bind=True)
def whoami(self: TaskFunction[..., Any], suffix: str = "") -> str:
    """Return the task's own name."""
    return self.name + suffix


class Recorder:
    """Takes calls, and remembers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Call]] = []

    def submit(self, call: Call) -> str:
        """Take a call."""
        self.calls.append(("submit", call))
        return "future"

    def delay(self, call: Call) -> str:
        """Take a detached call."""
        self.calls.append(("delay", call))
        return "result"


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Stand in for the default mesh."""
    recorder = Recorder()
    previous = set_submitter_factory(lambda: recorder)
    yield recorder
    set_submitter_factory(previous)


def test_a_local_call_is_a_plain_call() -> None:
    """Decorating changes nothing for who calls the function, async functions and bound ones included."""
    assert add(2, y=3) == 5
    assert asyncio.run(double(4)) == 8
    assert whoami("!") == f"{__name__}.whoami!"


def test_it_looks_like_the_function() -> None:
    """Name, documentation and signature are those of the function."""
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add two numbers.", __name__)
    assert inspect.signature(add) == inspect.signature(add.function)
    assert add.name == f"{__name__}.add"
    assert repr(add) == f"<task {__name__}.add>"
    assert (add.is_async, double.is_async, type(double)) == (False, True, AsyncTaskFunction)


def test_attributes_of_the_function_do_not_get_in_the_way() -> None:
    """A function that bears an attribute called name or options is a task like any other."""

    def plain() -> None: ...

    plain.name, plain.options = "mine", 3  # type: ignore[attr-defined]
    made = task(name="tests.attributes")(plain)
    assert made.name == "tests.attributes"
    assert made.options(priority=1).settings.priority == 1


def test_calls_leave_through_the_port(recorder: Recorder) -> None:
    """submit and delay hand over the name, the arguments and the options, and return what the mesh returns."""
    assert add.submit(1, y=2) == "future"
    assert double.delay(3) == "result"
    (_, first), (_, second) = recorder.calls
    assert [verb for verb, _ in recorder.calls] == ["submit", "delay"]
    assert (first.name, first.function, first.args, first.kwargs) == (add.name, add, (1,), {"y": 2})
    assert second.options.time_limit == 3.0


def test_any_argument_name_is_the_functions_own(recorder: Recorder) -> None:
    """Options never take names from the function's keyword arguments, not even self."""
    anything: Any = task(name="tests.anything")(lambda **kwargs: kwargs)
    anything.delay(self=1, priority=2, task_id=3)
    assert recorder.calls[0][1].kwargs == {"self": 1, "priority": 2, "task_id": 3}
    assert anything(self=1) == {"self": 1}


def test_apply_async_takes_options(recorder: Recorder) -> None:
    """Arguments come as collections, and options beside them hold for this call only."""
    one = uuid.uuid4()
    add.apply_async((1,), {"y": 2}, countdown=5, expires=timedelta(minutes=1), priority=7, task_id=one)
    call = recorder.calls[0][1]
    assert (call.args, call.kwargs) == ((1,), {"y": 2})
    assert call.options == add.settings._replace(countdown=5.0, expires=60.0, priority=7, task_id=str(one))
    assert add.settings.priority is None


@pytest.mark.parametrize("now", [datetime.now, lambda: datetime.now(UTC)], ids=["local", "aware"])
def test_instants_become_durations(recorder: Recorder, now: Any) -> None:
    """An eta or expiry is counted from now; one that is past is at once."""
    add.apply_async((1,), eta=now() + timedelta(hours=1), expires=now() + timedelta(hours=2))
    add.apply_async((1,), eta=now() - timedelta(hours=1), expires=now() - timedelta(hours=1))
    ahead, past = (call.options for _, call in recorder.calls)
    assert ahead.countdown == pytest.approx(3600, abs=60)
    assert ahead.expires == pytest.approx(7200, abs=60)
    assert (past.countdown, past.expires) == (0.0, 0.0)


def test_apply_async_refuses_what_cannot_be_meant(recorder: Recorder) -> None:
    """Two starting times, or arguments that are no collection, are errors at the call."""
    with pytest.raises(ConfigError, match="countdown or eta, not both"):
        add.apply_async((1,), countdown=1, eta=datetime.now(UTC))
    for wrong in (5, "tomorrow"):
        with pytest.raises(ConfigError, match="eta must be a datetime"):
            add.apply_async((1,), eta=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no instant that can be waited for"):
        add.apply_async((1,), eta=datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))))
    with pytest.raises(ConfigError, match=r"expires \(5 s\) must be above countdown \(10 s\)"):
        add.apply_async((1,), countdown=10, expires=timedelta(seconds=5))
    with pytest.raises(ConfigError, match="args must be a tuple or list"):
        add.apply_async("12")
    for names in ([1], "y", {1: 2}):
        with pytest.raises(ConfigError, match="kwargs must be a dict of arguments by name"):
            add.apply_async((1,), names)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="task option priority"):
        add.apply_async((1,), priority=11)
    assert recorder.calls == []


def test_options_know_in_what_they_differ(recorder: Recorder) -> None:
    """From what @task declared, in what nodes know of the function, however many copies lie between."""
    assert (double.settings.time_limit, double.settings.overrides) == (3.0, ())
    other = double.options(rate_limit="5/s", priority=1).options(time_limit=None)
    assert other.settings.overrides == ("time_limit", "rate_limit")
    assert other.options(time_limit=3, rate_limit=None).settings.overrides == ("time_limit",)
    double.apply_async((1,), ignore_result=True)
    assert recorder.calls[0][1].options.overrides == ("ignore_result",)


def test_options_that_are_given_count_though_they_are_those_of_the_function(recorder: Recorder) -> None:
    """As what is given for a call counts more than a control command, which has changed the function's."""
    double.apply_async((1,), time_limit=3)
    assert recorder.calls[0][1].options.overrides == ("time_limit",)
    assert double.options(time_limit=3).options(priority=1).settings.overrides == ("time_limit",)
    assert double.options(rate_limit=None, ignore_result=False).settings.overrides == ()


def test_options_make_a_copy(recorder: Recorder) -> None:
    """``options`` leaves the task function as it is; copies stack, run locally and can be submitted."""
    quick = add.options(time_limit=3).options(priority=1)
    assert (quick.settings.time_limit, quick.settings.priority) == (3.0, 1)
    assert add.settings.time_limit is None
    assert quick(1, 2) == 3
    assert quick.name == add.name
    assert registered(__name__)[add.name] is add
    assert type(double.options(priority=1)) is AsyncTaskFunction
    for wrong in ({"name": "a.b"}, {"bind": True}):
        with pytest.raises(ConfigError, match="is fixed by @task"):
            add.options(**wrong)  # type: ignore[arg-type]


def test_pickled_by_reference() -> None:
    """A task function may be an argument of another pool's function, with its options."""
    assert pickle.loads(pickle.dumps(add)) is add
    assert copy.deepcopy(add) is add
    back = pickle.loads(pickle.dumps(add.options(time_limit=3).options(priority=1)))
    assert back.settings == add.settings._replace(time_limit=3.0, priority=1, overrides=("time_limit",))
    assert back.options(time_limit=None).settings.overrides == ()
    assert back.function is add.function


def test_without_a_mesh_the_error_says_so() -> None:
    """Where nobody takes calls, submitting fails and says what to use."""
    previous = set_submitter_factory(None)
    try:
        with pytest.raises(ConfigError, match=r"use Mesh\(\)\.submit"):
            add.delay(1)
    finally:
        set_submitter_factory(previous)


def test_a_factory_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A factory given as text is imported at the first call, and asked at each."""
    (tmp_path / "factory_by_name.py").write_text(
        "made = []\ndef factory():\n    made.append(1)\n    return made\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    previous = set_submitter_factory("factory_by_name:factory")
    try:
        assert "factory_by_name" not in sys.modules
        assert submitter() is submitter()
        assert len(sys.modules["factory_by_name"].made) == 2
    finally:
        set_submitter_factory(previous)


class Shop:
    """Stands for a user's class."""

    def sell(self) -> None:
        """Stand for a method."""


@pytest.mark.parametrize(
    "wrong",
    [Shop, Shop.sell, Shop().sell, staticmethod(Shop.sell), classmethod(Shop.sell), partial(add.function), add, 3],
    ids=["class", "function", "method", "static", "classmethod", "partial", "task", "number"],
)
@pytest.mark.parametrize("named", [{}, {"name": "tests.named"}], ids=["plain", "named"])
def test_only_functions_become_tasks(wrong: Any, named: dict[str, Any]) -> None:
    """Classes, methods, partials and other objects are refused at the decorator, whatever name they get."""
    with pytest.raises(ConfigError, match=r"^@task: .*; decorate a function at the top level of a module"):
        task(**named)(wrong)


def test_functions_without_a_name_need_one() -> None:
    """Lambdas and nested functions are refused, unless a name says under which nodes know them."""

    def nested() -> None: ...

    with pytest.raises(EncodingError, match=r"inside another function.*pickle"):
        task(nested)
    with pytest.raises(EncodingError, match=r"lambda.*pickle"):
        task(lambda: None)
    assert task(name="tests.nested")(nested).name == "tests.nested"


def test_redefining_replaces_and_clashing_is_refused() -> None:
    """Defining a function again replaces it, as a reload does; two functions cannot share a name."""

    def first() -> None: ...
    def second() -> None: ...

    task(name="tests.clash")(first)
    again = task(name="tests.clash")(first)
    assert registered(__name__)["tests.clash"] is again
    with pytest.raises(ConfigError, match=r"'tests\.clash': .*first and .*second; give one another name"):
        task(name="tests.clash")(second)


def test_reload_replaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``importlib.reload`` of a module with tasks works, and the table has the new ones."""
    (tmp_path / "reloaded_tasks.py").write_text("from meshq.tasks import task\n@task\ndef f(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_tasks")
    old = module.f
    module = importlib.reload(module)
    assert registered("reloaded_tasks") == {"reloaded_tasks.f": module.f}
    assert module.f is not old


def test_another_decorator_below_is_fine() -> None:
    """A wrapper that keeps the function's name is submitted under that name."""

    def loud(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args) * 10

        return wrapper

    made = task(loud(add.function))
    assert made.name == add.name
    assert made(1, 2) == 30
    task(add.function)  # the table has the plain one again


TYPED = """
from typing import Any, assert_type
from collections.abc import Coroutine
from meshq import task
from meshq.tasks import TaskFunction

@task
def add(x: int, y: int) -> int:
    return x + y

@task(time_limit=3)
async def wait(x: int) -> str:
    return str(x)

@task(bind=True)
def bound(self: TaskFunction[..., Any], x: int) -> str:
    return str(x)

assert_type(add(1, 2), int)
assert_type(add.delay(1, 2).get(timeout=5), int)
assert_type(add.options(tags={"gpu"}).submit(1, 2).result(), int)
assert_type(add.apply_async((1, 2), countdown=5).get(), int)
assert_type(wait.delay(1).get(), str)
assert_type(wait.submit(1).result(), str)
coroutine: Coroutine[Any, Any, str] = wait(1)
assert_type(bound(1), str)
add.delay("x", 2)  # wrong
add.submit(1)  # wrong
bound.delay("x")  # wrong
add.options(timelimit=3)  # wrong
"""


@pytest.mark.timeout(300)
def test_calls_are_typed(tmp_path: Path) -> None:
    """A type checker knows arguments and results through submit and delay, and refuses the wrong ones."""
    path = tmp_path / "typed.py"
    path.write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    wrong = [number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# wrong")]
    assert [int(line.split(":")[1]) for line in errors] == wrong, done.stdout + done.stderr
