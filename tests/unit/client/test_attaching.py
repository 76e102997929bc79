"""The one asker for all attached tasks: when it asks, for how many at once, and how their futures are settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from client_harness import Handler

from meshq.client import attaching as module
from meshq.client import following
from meshq.client.attached import Attached
from meshq.client.attaching import Attaching
from meshq.control.checks import MAX_ASKED_IDS
from meshq.control.replies import Replies
from meshq.core.owned import TaskState
from meshq.errors import MeshClosed, NoNodes, RemoteProtocolError, ResultGone, TaskRevoked
from meshq.ids import format_id, new_task_id
from meshq.protocol.codec import serializer
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.retries import RetryAsked, dump_retry

Answer = Callable[[str, dict[str, Any]], Any]
DONE = {"state": "DONE", "status": 0, "serializer": "msgpack", "payload": b"\x2a", "gone": False}
RUNS = {**DONE, "state": "STARTED", "status": -1, "serializer": "", "payload": b""}
LARGE = serializer("msgpack").dumps(bytes(1000), "it")
IN_PIECES = {**DONE, "payload": b"", "gone": True, "size": len(LARGE)}


class Mesh(Handler):
    """A mesh with one node, n@h, which answers as ``answer`` says; without an answer it is silent."""

    def __init__(self, no_nodes_timeout: float = 30.0) -> None:
        super().__init__()
        self.there = True
        self.answer: Answer = lambda name, arguments: {"ok": {}}
        self.given: list[tuple[str, dict[str, Any], list[str]]] = []
        self.told = 0
        self.said: dict[str, str] = {}
        self.posted: list[Callable[[], None]] = []
        self.parts: list[Any] = []
        self.late: list[Callable[[], None]] | None = None
        self.attaching = Attaching(self, self.ask, self, self.parts, no_nodes_timeout)  # type: ignore[arg-type]

    def post(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def has_nodes(self) -> bool:
        return self.there

    def explain_absence(self) -> str:
        return "none was announced"

    def on_attached_settled(self) -> None:
        self.told += 1

    def revoke_tasks(self, task_ids: list[bytes], *, terminate: bool, signal: str) -> Any:
        self.revoked += task_ids
        replies = Replies()
        replies.extend(
            {name: {"ok": {format_id(task_ids[0]): text}} if text else {"error": "x"}}
            for name, text in self.said.items()
            if text != "silent"
        )
        replies.missing |= {name: "no reply in time" for name, text in self.said.items() if text == "silent"}
        return replies

    def ask(self, name: str, arguments: dict[str, Any], nodes: list[str], on_reply: Any, on_finish: Any) -> None:
        """Answer at once, or when ``late`` is called."""
        self.given.append((name, arguments, nodes))
        answer = self.answer(name, arguments)

        def give() -> None:
            if answer is not None:
                on_reply("n@h", answer)
            on_finish({} if answer is not None else {"n@h": "no reply in time"})

        if self.late is None:
            give()
        else:
            self.late.append(give)

    def turn(self) -> None:
        """Do one turn of the loop."""
        posted, self.posted = self.posted, []
        for call in posted:
            call()
        for part in self.parts:
            part.step()

    def turn_to_the_end(self, future: Attached) -> None:
        """Turn the loop until the future is settled."""
        end_at = time.monotonic() + 5.0
        while not future.done():
            assert time.monotonic() < end_at
            self.turn()
            time.sleep(min(self.attaching.timeout() or 0.0, 0.01))

    def attach(self, serializer: str = "") -> Attached:
        """Attach to a new task."""
        return self.attaching.attach(new_task_id(), serializer)

    def says(self, row: dict[str, Any]) -> None:
        """Have the node say this of all tasks."""
        self.answer = lambda name, arguments: {"ok": {format_id(task): row for task in arguments["tasks"]}}


@pytest.fixture
def mesh() -> Mesh:
    """Return a mesh whose node knows nothing."""
    return Mesh()


def test_all_that_are_new_are_asked_for_together(mesh: Mesh) -> None:
    """Once for each task, in as few commands as can be; the loop is woken once."""
    mesh.says(DONE)
    futures = [mesh.attach() for _ in range(MAX_ASKED_IDS + 1)]
    assert len(mesh.posted) == 1
    assert mesh.attaching.unfinished() == len(futures)
    mesh.turn()
    assert [len(arguments["tasks"]) for _, arguments, _ in mesh.given] == [MAX_ASKED_IDS, 1]
    assert [future.result() for future in futures] == [42] * len(futures)
    assert (mesh.attaching.unfinished(), mesh.attaching.timeout(), mesh.told) == (0, None, len(futures))
    mesh.turn()
    assert len(mesh.given) == 2


def test_what_has_not_ended_is_asked_for_again(mesh: Mesh) -> None:
    """Its state shows; an asking under way is not repeated, and no future is made twice."""
    mesh.says(RUNS)
    future = mesh.attach()
    assert mesh.attaching.attach(future.id, "") is future
    mesh.late = []
    for _ in range(3):
        mesh.turn()
    assert (len(mesh.given), mesh.attaching.timeout()) == (1, None)
    mesh.late.pop()()
    assert (future.running(), future.done()) == (True, False)
    mesh.late = None
    mesh.says(DONE)
    mesh.turn_to_the_end(future)
    assert future.result() == 42
    assert future.state is TaskState.DONE
    assert mesh.parts == [mesh.attaching]


def test_the_owner_is_asked_for_once_it_is_known(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is there, a task that no node knows is waited for."""
    monkeypatch.setattr(following, "DOUBT_S", 0.1)
    mesh.says({**RUNS, "owner": b"8 bytes!"})
    future = mesh.attach()
    mesh.turn()
    mesh.answer = lambda name, arguments: {"ok": {}, "present": arguments["owners"]}
    end_at = time.monotonic() + 0.4
    while time.monotonic() < end_at:
        mesh.turn()
        time.sleep(0.01)
    assert [mesh.given[0][1]["owners"], mesh.given[-1][1]["owners"]] == [[], [b"8 bytes!"]]
    assert not future.done()
    mesh.answer = lambda name, arguments: {"ok": {}}
    mesh.turn_to_the_end(future)


@pytest.mark.parametrize("wrong", [7, {"error": "no such command"}, {"ok": 7}, {"ok": {}, "present": 7}])
def test_an_answer_of_another_shape_does_no_harm(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, wrong: Any) -> None:
    """It counts as none."""
    mesh.answer = lambda name, arguments: wrong
    future = mesh.attach()
    mesh.turn()
    assert not future.done()
    mesh.says(DONE)
    mesh.turn_to_the_end(future)


def test_without_nodes_it_waits_for_one() -> None:
    """Nobody is asked; when one comes it is asked at once, and where none comes the error says why."""
    mesh = Mesh(no_nodes_timeout=0.3)
    mesh.there = False
    future, late = mesh.attach(), mesh.attach()
    mesh.turn()
    assert (mesh.given, future.done()) == ([], False)
    mesh.answer = lambda name, arguments: {"ok": {future.task_id: DONE}}
    mesh.there = True
    mesh.attaching.nodes_changed()
    assert mesh.attaching.timeout() == 0.0
    time.sleep(0.02)
    mesh.turn()
    assert future.done()
    mesh.there = False
    mesh.turn_to_the_end(late)
    with pytest.raises(NoNodes, match=rf"{late.task_id}: none was announced"):
        late.result()
    mesh.attaching.nodes_changed()
    assert mesh.attaching.timeout() is None


def test_nodes_that_do_not_answer_are_no_nodes() -> None:
    """In the end."""
    mesh = Mesh(no_nodes_timeout=0.2)
    mesh.answer = lambda name, arguments: None
    future = mesh.attach()
    mesh.turn_to_the_end(future)
    assert isinstance(future.exception(), NoNodes)


@pytest.mark.parametrize(
    ("row", "kind", "state"),
    [
        ({"state": "FAILURE", "status": 1, "payload": dump_failure(KeyError("k"))}, KeyError, "FAILURE"),
        ({"state": "REVOKED", "status": 2}, TaskRevoked, "REVOKED"),
        ({"gone": True}, ResultGone, "DONE"),
        ({"serializer": "pickle", "payload": b"\x80\x05K\x2a."}, RemoteProtocolError, "DONE"),
    ],
)
def test_a_task_without_a_value(mesh: Mesh, row: dict[str, Any], kind: type[Exception], state: str) -> None:
    """The exception, and the state."""
    mesh.says({**DONE, **row})
    future = mesh.attach()
    mesh.turn()
    assert type(future.exception()) is kind
    assert str(future.state) == state


def test_a_pickle_that_is_asked_for(mesh: Mesh) -> None:
    """It is loaded."""
    mesh.says({**DONE, "serializer": "pickle", "payload": b"\x80\x05K\x2a."})
    future = mesh.attach("pickle")
    mesh.turn()
    assert future.result() == 42


def test_what_is_lost(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is LOST where it may have run; a failed try that nobody repeats is a failure."""
    monkeypatch.setattr(following, "DOUBT_S", 0.05)
    mesh.says({**DONE, "state": "LOST", "status": int(Status.WORKER_LOST), "payload": b"exit code 3"})
    lost = mesh.attach()
    mesh.turn_to_the_end(lost)
    assert lost.state is TaskState.LOST
    asked = dump_retry(RetryAsked(dump_failure(KeyError("k"))))
    mesh.says({**DONE, "state": "RETRY", "status": int(Status.RETRY), "payload": asked})
    failed = mesh.attach()
    mesh.turn_to_the_end(failed)
    assert (type(failed.exception()), failed.state) == (KeyError, TaskState.FAILURE)
    mesh.answer = lambda name, arguments: {"ok": {}}
    unknown = mesh.attach()
    mesh.turn_to_the_end(unknown)
    assert (type(unknown.exception()), unknown.state) == (ResultGone, TaskState.FAILURE)


# ---------------------------------------------------------------------- large results


def in_pieces(mesh: Mesh, piece: Callable[[int], Any]) -> None:
    """Have the node's results be had in pieces."""

    def answer(name: str, arguments: dict[str, Any]) -> Any:
        if name == "result_piece":
            return piece(arguments["offset"])
        return {"ok": {format_id(task): IN_PIECES for task in arguments["tasks"]}}

    mesh.answer = answer


def piece_at(offset: int) -> dict[str, Any]:
    """Return 400 bytes of the large result."""
    return {"ok": LARGE[offset : offset + 400], "size": len(LARGE), "attempt": 1}


def test_a_large_result_comes_in_pieces(mesh: Mesh) -> None:
    """From the node that has it."""
    in_pieces(mesh, piece_at)
    future = mesh.attach()
    mesh.turn()
    assert future.result() == bytes(1000)
    assert [(name, arguments.get("offset"), nodes) for name, arguments, nodes in mesh.given] == [
        ("result", None, []),
        ("result_piece", 0, ["n@h"]),
        ("result_piece", 400, ["n@h"]),
        ("result_piece", 800, ["n@h"]),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        {"error": "no result of it is here"},
        {"ok": b"", "size": len(LARGE), "attempt": 1},
        {"ok": "text", "size": len(LARGE), "attempt": 1},
        {"ok": b"x", "size": 7, "attempt": 1},
        {"ok": b"x", "size": len(LARGE), "attempt": 2},
    ],
)
def test_a_piece_that_does_not_come_has_the_task_asked_for_again(mesh: Mesh, wrong: Any) -> None:
    """The node may be gone, or its result be that of another attempt."""
    in_pieces(mesh, lambda offset: wrong if offset else piece_at(0))
    future = mesh.attach()
    mesh.turn()
    assert not future.done()
    in_pieces(mesh, piece_at)
    mesh.turn_to_the_end(future)
    assert future.result() == bytes(1000)


def test_few_large_results_are_fetched_at_a_time(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have their turn."""
    monkeypatch.setattr(module, "MAX_FETCHED", 2)
    in_pieces(mesh, piece_at)
    futures = [mesh.attach() for _ in range(5)]
    mesh.late = []
    mesh.turn()
    mesh.late.pop()()
    assert [name for name, *_ in mesh.given] == ["result", "result_piece", "result_piece"]
    late, mesh.late = mesh.late, None
    for give in late:
        give()
    for future in futures:
        mesh.turn_to_the_end(future)
    assert [future.result() for future in futures] == [bytes(1000)] * 5


# ---------------------------------------------------------------------- cancelled, abandoned


def test_cancel_revokes_what_has_not_started(mesh: Mesh) -> None:
    """True where a node has dropped it and no other may run it."""
    future = mesh.attach()
    mesh.said = {"n0@h": "dropped", "n1@h": "unknown, will be refused", "n2@h": ""}
    assert future.cancel()
    assert (future.cancelled(), future.cancel(), future.state) == (True, True, TaskState.REVOKED)
    assert (mesh.revoked, mesh.told, mesh.attaching.unfinished()) == ([future.id], 1, 0)
    with pytest.raises(CancelledError):
        future.result()
    mesh.turn()


@pytest.mark.parametrize("other", ["running", "finished", "silent", "signalled, still runs"])
def test_cancel_is_false_where_it_may_run(mesh: Mesh, other: str) -> None:
    """The future goes on."""
    future = mesh.attach()
    mesh.said = {"n0@h": "dropped", "n1@h": other}
    assert not future.cancel()
    assert not future.done()
    mesh.said = {"n0@h": "unknown, will be refused"}
    assert not future.cancel()


def test_cancel_does_not_revoke_what_runs_or_has_ended(mesh: Mesh) -> None:
    """Nor anything in a callback, where nobody can be asked."""
    mesh.says(RUNS)
    future = mesh.attach()
    mesh.turns_here = True
    assert not future.cancel()
    mesh.turns_here = False
    mesh.turn()
    assert not future.cancel()
    mesh.says(DONE)
    mesh.turn_to_the_end(future)
    assert not future.cancel()
    assert mesh.revoked == []


def test_a_task_that_ends_while_it_is_being_cancelled(mesh: Mesh) -> None:
    """Its future is settled once."""
    mesh.says(DONE)
    future = mesh.attach()
    mesh.late = []
    mesh.turn()
    mesh.said = {"n0@h": "dropped"}
    assert future.cancel()
    mesh.late.pop()()
    assert (future.cancelled(), mesh.told) == (True, 1)
    assert mesh.attaching.cancel(future)
    assert mesh.told == 1


def test_the_end_of_the_mesh(mesh: Mesh) -> None:
    """What is unfinished ends with it; what still comes changes nothing."""
    in_pieces(mesh, piece_at)
    futures = [mesh.attach() for _ in range(2)]
    mesh.late = []
    mesh.turn()
    mesh.attaching.abandon(MeshClosed("closed"))
    mesh.attaching.close()
    for give in mesh.late:
        give()
    assert all(isinstance(future.exception(), MeshClosed) for future in futures)
    assert all(future.abandoned for future in futures)
