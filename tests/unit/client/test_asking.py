"""What nodes say of a task by its id, and what is made of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from meshq.client import asking
from meshq.client.asking import Report, best, wait_until_ended
from meshq.control.replies import Replies
from meshq.errors import RemoteProtocolError, ResultGone, TaskExpired, TaskRevoked, TimeLimitExceeded, WorkerLost
from meshq.ids import format_id, new_task_id
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status

TASK = new_task_id()


def says(state: str, code: int = -1, **fields: Any) -> dict[str, Any]:
    """Return what a node replies."""
    row = {"state": state, "status": code, "serializer": "msgpack", "payload": b"\x2a", "gone": False, **fields}
    return {"ok": {format_id(TASK): row}}


NOTHING: dict[str, Any] = {"ok": {}}
DONE = says("DONE", 0)


def replies(*values: Any, missing: dict[str, str] | None = None) -> Replies:
    """Return replies of the nodes n0, n1…"""
    made = Replies()
    made.extend({f"n{number}@h": value} for number, value in enumerate(values))
    made.missing |= missing or {}
    return made


class Nodes:
    """A mesh whose nodes give these replies, one after the other; the last one again and again."""

    def __init__(self, *rounds: Replies) -> None:
        self.rounds = list(rounds)
        self.asked: list[tuple[str, dict[str, Any], float]] = []
        self.cold: list[float | None] = []

    @property
    def control(self) -> Any:
        return self

    def wait_for_nodes(self, count: int = 1, timeout: float | None = 10.0) -> list[Any]:
        self.cold.append(timeout)
        return []

    def broadcast(self, command: str, arguments: dict[str, Any], *, reply: bool, timeout: float) -> Replies:
        assert reply
        self.asked.append((command, arguments, timeout))
        return self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([], "UNKNOWN"),
        ([NOTHING, NOTHING], "UNKNOWN"),
        ([NOTHING, says("PENDING"), NOTHING], "PENDING"),
        ([says("PENDING"), says("QUEUED")], "QUEUED"),
        ([says("STARTED"), says("QUEUED")], "STARTED"),
        ([says("LOST", 4), says("STARTED")], "LOST"),
        ([says("FAILURE", 1), DONE, says("REVOKED", 2)], "DONE"),
    ],
)
def test_the_answer_that_says_most_counts(values: list[Any], state: str) -> None:
    """A task that was sent elsewhere may be known to two nodes."""
    assert best(replies(*values), TASK, True).state == state


def test_a_value_that_is_kept_goes_before_one_that_is_gone() -> None:
    """Whichever node answers first."""
    gone = says("DONE", 0, gone=True, payload=b"")
    assert not best(replies(gone, DONE, gone), TASK, True).gone


def test_what_only_some_answers_have() -> None:
    """Who owns the task, that its value is to be had in pieces, or next time; of a wrong kind it is left out."""
    found = best(replies(says("DONE", 0, gone=True, payload=b"", owner=b"8 bytes!", size=10**6)), TASK, True)
    assert (found.owner, found.size, found.left_out) == (b"8 bytes!", 10**6, False)
    found = best(replies(says("DONE", 0, owner="text", size="1", left_out=True)), TASK, True)
    assert (found.owner, found.size, found.left_out) == (b"", 0, True)


def test_who_did_not_say_is_named() -> None:
    """Nodes that were silent, and those whose answer is of no use."""
    found = best(replies({"error": "no such command"}, NOTHING, missing={"far@h": "no reply in time"}), TASK, True)
    assert found.state == "UNKNOWN"
    assert found.silent == "far@h (no reply in time), n0@h (no such command)"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        {"ok": 7},
        {"ok": {format_id(TASK): 7}},
        {"ok": {format_id(TASK): {}}},
        says("NOSUCH"),
        says("DONE", 0, payload="text"),
        says("DONE", 0, status="0"),
        says("DONE", 0, gone=None),
    ],
)
def test_an_answer_of_another_shape_does_no_harm(wrong: Any) -> None:
    """It counts as none, and its node is named."""
    found = best(replies(wrong, DONE), TASK, True)
    assert found.state == "DONE"
    assert found.silent.startswith("n0@h (")
    assert best(replies(wrong), TASK, True).state == "UNKNOWN"


def test_the_status_counts_where_the_state_says_otherwise() -> None:
    """What is shown and what ``get`` does are the same."""
    found = best(replies(says("DONE", Status.REVOKED)), TASK, True)
    assert found.state == "REVOKED"
    assert isinstance(found.settle(TASK, "")[1], TaskRevoked)
    assert best(replies(says("DONE", 99, payload=dump_failure(KeyError()))), TASK, True).state == "FAILURE"


def test_the_value_of_a_task_that_is_done() -> None:
    """It is decoded by the serializer that the node names."""
    assert Report("DONE", Status.OK, "msgpack", b"\x2a").settle(TASK, "") == (42, None)
    assert Report("DONE", Status.OK, "json", b"[1]").settle(TASK, "") == ([1], None)


def test_a_value_that_is_not_known_how_to_read() -> None:
    """As from a node of a later version."""
    with pytest.raises(RemoteProtocolError, match="no serializer 'cbor'"):
        Report("DONE", Status.OK, "cbor", b"x").settle(TASK, "")


@pytest.mark.parametrize("asked", ["", "msgpack", "json"])
def test_a_pickle_that_was_not_asked_for_is_not_loaded(asked: str) -> None:
    """It could run anything; whoever asks for it gets it."""
    report = Report("DONE", Status.OK, "pickle", b"\x80\x05K\x2a.")
    with pytest.raises(RemoteProtocolError, match="pickle"):
        report.settle(TASK, asked)
    assert report.settle(TASK, "pickle") == (42, None)


@pytest.mark.parametrize(
    ("status", "payload", "kind", "text"),
    [
        (Status.FAILURE, dump_failure(KeyError("k")), KeyError, "k"),
        (Status.REVOKED, b"", TaskRevoked, f"task {format_id(TASK)} was revoked"),
        (Status.EXPIRED, b"", TaskExpired, "expired"),
        (Status.TIME_LIMIT, b"", TimeLimitExceeded, "time limit"),
        (Status.WORKER_LOST, b"killed by SIGKILL", WorkerLost, "killed by SIGKILL"),
        (Status.FAILURE, b"junk", RemoteProtocolError, "failure|payload"),
    ],
)
def test_the_exception_of_a_task_that_is_not(
    status: int, payload: bytes, kind: type[Exception], text: str
) -> None:
    """As the task's own client would raise it."""
    value, error = Report("FAILURE", status, "msgpack", payload).settle(TASK, "")
    assert value is None
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error


@pytest.mark.parametrize("status", [Status.OK, Status.FAILURE])
def test_a_result_that_is_not_kept_is_gone(status: int) -> None:
    """The error says what nodes keep; for a revoked task there is nothing to keep."""
    with pytest.raises(ResultGone, match="64 KiB"):
        Report("DONE", status, gone=True).settle(TASK, "")
    assert isinstance(Report("REVOKED", Status.REVOKED, gone=True).settle(TASK, "")[1], TaskRevoked)


def test_waiting_ends_with_the_task() -> None:
    """It asks again and again, and for the value; a moment in which no node knows the task is no harm."""
    nodes = Nodes(replies(NOTHING), replies(says("QUEUED")), replies(NOTHING), replies(DONE))
    assert wait_until_ended(nodes, TASK, None).state == "DONE"
    assert nodes.asked == [("result", {"tasks": [TASK], "value": True}, asking.ASK_S)] * 4


def test_waiting_ends_with_its_timeout() -> None:
    """The error names the state; nodes are not given longer than there is time."""
    nodes = Nodes(replies(says("STARTED")))
    began_at = time.monotonic()
    with pytest.raises(TimeoutError, match=r"is STARTED after 0\.3 s"):
        wait_until_ended(nodes, TASK, 0.3)
    assert 0.25 < time.monotonic() - began_at < 2.0
    longest_s = 0.3 + 1e-6  # what is left is a difference of two large numbers
    assert max(timeout for *_, timeout in nodes.asked) <= longest_s
    assert all(cold is not None and cold <= longest_s for cold in nodes.cold)


def test_no_time_at_all_is_enough_for_what_has_ended() -> None:
    """``get(timeout=0)`` gives nodes the time of a round trip."""
    nodes = Nodes(replies(DONE))
    assert wait_until_ended(nodes, TASK, 0).state == "DONE"
    assert nodes.asked[0][2] > 0.1


@pytest.mark.parametrize("timeout", [0.1, 60, None])
def test_a_task_that_nobody_knows_is_given_up(monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    """After a second at most, in which it may come to be known; who was silent is named."""
    monkeypatch.setattr(asking, "_UNKNOWN_S", 0.3)
    nodes = Nodes(replies(NOTHING, missing={"far@h": "no reply in time"}))
    began_at = time.monotonic()
    with pytest.raises(ResultGone, match=rf"{format_id(TASK)}.*Not asked: far@h \(no reply in time\)"):
        wait_until_ended(nodes, TASK, timeout)
    assert time.monotonic() - began_at < 2.0
    assert len(nodes.asked) > 1


def test_nodes_are_told_to_forget_until_they_have() -> None:
    """A node that still holds the result for its owner is told again."""
    forgotten = replies({"ok": 1})
    nodes = Nodes(forgotten, replies(DONE), forgotten, replies(NOTHING))
    asking.forget(nodes, TASK)
    assert [command for command, *_ in nodes.asked] == ["forget", "result"] * 2


def test_forgetting_does_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that nobody acknowledges stays where it is."""
    monkeypatch.setattr(asking, "ASK_S", 0.1)
    nodes = Nodes(replies(DONE))
    asking.forget(nodes, TASK)
    assert 2 < len(nodes.asked) < 10
