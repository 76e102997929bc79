"""The result of a task by its id: what this process knows, and what it asks the nodes."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from client_harness import DONE as OUTCOME
from client_harness import Handler, make_future

from meshq import ConfigError, MeshClosed, ResultGone
from meshq.client import default
from meshq.client.future import Future
from meshq.client.result import AsyncResult
from meshq.control.replies import Replies
from meshq.core.owned import TaskState
from meshq.ids import format_id, new_task_id
from meshq.protocol.failures import dump_failure

TASK = new_task_id()
UNKNOWN: dict[str, Any] = {}
STARTED = {"state": "STARTED", "status": -1, "serializer": "", "payload": b"", "gone": False}
DONE = {"state": "DONE", "status": 0, "serializer": "msgpack", "payload": b"\x2a", "gone": False}
FAILED = {**DONE, "state": "FAILURE", "status": 1, "payload": dump_failure(KeyError("k"))}
GONE = {**DONE, "serializer": "", "payload": b"", "gone": True}


class Source(Handler):
    """A mesh of one node, which says ``row`` of every task, or nothing."""

    def __init__(self, row: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.row = row or {}
        self.known: Future[Any] | None = None
        self.commands: list[str] = []
        self.values: list[bool] = []

    @property
    def control(self) -> Any:
        return self

    def wait_for_nodes(self, count: int = 1, timeout: float | None = 10.0) -> list[Any]:
        return []

    def broadcast(self, command: str, arguments: dict[str, Any], *, reply: bool, timeout: float) -> Replies:
        self.commands.append(command)
        self.values.append(arguments.get("value", False))
        replies = Replies()
        replies.append({"n@h": {"ok": {format_id(task): self.row for task in arguments["tasks"] if self.row}}})
        return replies

    def future_of(self, task_id: bytes) -> Future[Any] | None:
        return self.known

    def forget_task(self, task_id: bytes) -> None:
        self.known = None


def view(result: AsyncResult[Any]) -> tuple[str, bool, bool, bool]:
    """Return what it says without the value."""
    return result.status, result.ready(), result.successful(), result.failed()


def test_a_task_that_is_done_elsewhere() -> None:
    """The node's word is taken, and it is asked no more than once for the state and once for the value."""
    source = Source(DONE)
    result: AsyncResult[int] = AsyncResult(TASK, source)
    assert view(result) == ("DONE", True, True, False)
    assert source.values == [False]
    assert (result.result, result.get(), result.traceback) == (42, 42, None)
    assert view(result) == ("DONE", True, True, False)
    assert source.values == [False, True]


def test_a_task_that_failed_elsewhere() -> None:
    """``result`` is the exception, ``get`` raises it unless told not to, ``traceback`` is the text."""
    result: AsyncResult[Any] = AsyncResult(TASK, Source(FAILED))
    assert view(result) == ("FAILURE", True, False, True)
    assert isinstance(result.result, KeyError)
    assert isinstance(result.get(propagate=False), KeyError)
    assert "KeyError: 'k'" in str(result.traceback)
    with pytest.raises(KeyError):
        result.get()


def test_a_task_that_is_unfinished_elsewhere() -> None:
    """It has no result yet; each question is a question to the nodes."""
    source = Source(STARTED)
    result: AsyncResult[Any] = AsyncResult(TASK, source)
    assert view(result) == ("STARTED", False, False, False)
    assert (result.result, result.traceback) == (None, None)
    with pytest.raises(TimeoutError):
        result.get(timeout=0)
    source.row = DONE
    assert result.get() == 42


def test_a_task_that_nobody_knows() -> None:
    """UNKNOWN, and neither ready nor failed."""
    result: AsyncResult[Any] = AsyncResult(TASK, Source())
    assert view(result) == ("UNKNOWN", False, False, False)
    assert result.result is None
    with pytest.raises(ResultGone):
        result.get(timeout=0)


def test_a_result_that_is_not_kept() -> None:
    """The state is known all the same."""
    result: AsyncResult[Any] = AsyncResult(TASK, Source(GONE))
    assert view(result) == ("DONE", True, True, False)
    assert result.traceback is None
    with pytest.raises(ResultGone, match="not kept"):
        result.get()
    with pytest.raises(ResultGone, match="not kept"):
        result.result  # noqa: B018


def test_a_task_of_this_process_is_not_asked_for() -> None:
    """Its future answers, if it is found by the id or came with the result."""
    source = Source(FAILED)
    future = make_future(source)
    found: AsyncResult[int] = AsyncResult(TASK, source)
    source.known = future
    given: AsyncResult[int] = AsyncResult(TASK, Source(FAILED), future)
    for result in (found, given):
        assert view(result) == ("PENDING", False, False, False)
        assert result.result is None
    future.settle(OUTCOME)
    for result in (found, given):
        assert (result.result, result.get(), result.ready(), result.traceback) == (42, 42, True, None)
    assert source.commands == []


def test_revoke_goes_by_the_id() -> None:
    """Whether or not the task is known here."""
    source = Source(STARTED)
    result: AsyncResult[Any] = AsyncResult(TASK, source)
    assert result.revoke(terminate=True) == [True, "TERM"]
    source.known = future = make_future(source)
    result.revoke()
    assert source.revoked == [TASK, future.id]


def test_what_is_forgotten_is_forgotten_everywhere() -> None:
    """Here, at the nodes, and in the object."""
    source = Source(DONE)
    result: AsyncResult[int] = AsyncResult(TASK, source)
    assert result.get() == 42
    source.row = UNKNOWN
    result.forget()
    assert "forget" in source.commands
    assert result.status == "UNKNOWN"
    kept: AsyncResult[int] = AsyncResult(TASK, source, make_future(source))
    kept.forget()
    assert kept.status == "UNKNOWN"


@pytest.mark.parametrize("timeout", ["5", float("nan"), float("inf"), 10**400, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_timeout_that_is_none(timeout: Any, known: bool) -> None:
    """It is refused, whoever knows the task."""
    source = Source(DONE)
    result: AsyncResult[int] = AsyncResult(TASK, source, make_future(source) if known else None)
    with pytest.raises(ConfigError, match="timeout must be a number of seconds"):
        result.get(timeout=timeout)


def test_without_time_left_what_is_there_is_still_had() -> None:
    """As it may be what is left of a timeout."""
    future = make_future(Source())
    result: AsyncResult[int] = AsyncResult(future.id, Source(), future)
    with pytest.raises(TimeoutError):
        result.get(timeout=-1)
    future.settle(OUTCOME)
    assert result.get(timeout=-1) == 42


def test_a_task_whose_mesh_was_closed_before_its_end() -> None:
    """Nothing more will be heard of it: its state is not known, and what is waited for is the error."""
    source = Source()
    future = make_future(source)
    result: AsyncResult[int] = AsyncResult(future.id, source, future)
    assert view(result) == ("PENDING", False, False, False)
    future.settle_failed(MeshClosed("closed"))
    assert view(result) == ("UNKNOWN", True, False, True)
    assert isinstance(result.result, MeshClosed)
    with pytest.raises(MeshClosed):
        result.get()
    future.state = TaskState.FAILURE  # the task itself has raised it
    assert result.status == "FAILURE"


def test_results_are_equal_by_id() -> None:
    """However the id is written; they can be members of a set."""
    text = format_id(TASK)
    same = {AsyncResult[int](text, Source()), AsyncResult[int](uuid.UUID(text).hex.upper(), Source())}
    assert len(same) == 1
    assert AsyncResult[int](uuid.UUID(text)) in same
    assert AsyncResult[int](uuid.uuid4()) not in same
    assert AsyncResult[int](text) != text
    assert repr(same.pop()) == f"<AsyncResult: {text}>"


@pytest.fixture
def no_default_mesh(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Source]]:
    """Put a source in the default mesh's place; the list has it once it was asked for."""
    opened: list[Source] = []

    def open_default() -> Source:
        opened.append(Source(DONE))
        return opened[-1]

    monkeypatch.setattr(default, "default_mesh", open_default)
    return opened  # type: ignore[return-value]


def test_a_result_can_be_pickled(no_default_mesh: list[Source]) -> None:
    """By its id; the copy is of the default mesh, which is not opened before it is asked."""
    result: AsyncResult[int] = AsyncResult(TASK, Source(FAILED), make_future(Handler()), serializer="json")
    copy = pickle.loads(pickle.dumps(result))
    assert copy == result
    assert no_default_mesh == []
    assert copy.get() == 42
    assert no_default_mesh


@pytest.mark.parametrize("wrong", ["", "xyz", None, 7, b"short"])
def test_what_is_no_id_is_refused(wrong: Any) -> None:
    """At once, and naming it."""
    with pytest.raises(ConfigError, match="is not a task id"):
        AsyncResult(wrong, Source())
