"""What a node makes of each command: what it does, what it answers, what it refuses."""

from __future__ import annotations

import signal
import uuid
from typing import Any

import msgpack
import pytest
from control_harness import FakeNode, view

from meshq.control.asking import LimitsView
from meshq.control.checks import MAX_ASKED_IDS, MAX_IDS
from meshq.control.commands import COMMANDS, carry_out
from meshq.control.looking import MAX_REVOKED_SHOWN, MAX_VALUES_BYTES
from meshq.control.steering import format_rate
from meshq.core.dead import DeadView
from meshq.protocol.messages import Command, Result, Status

ID = bytes(range(16))
TEXT = str(uuid.UUID(bytes=ID))


@pytest.fixture
def node() -> FakeNode:
    """Return a node that offers two functions."""
    return FakeNode()


def test_the_table_has_all_commands() -> None:
    """Those that users know, and the three that results ask by."""
    assert set(COMMANDS) == {
        "ping", "revoke", "rate_limit", "time_limit", "purge", "shutdown", "drain", "pool_resize", "active",
        "reserved", "scheduled", "query_task", "registered", "stats", "revoked", "conf", "report", "result",
        "result_piece", "forget", "dead",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "answer", "asked"),
    [
        ("ping", {}, {"ok": "pong", "slots": 2}, []),
        ("stats", {}, {"ok": {"slots": 2, "pid": 5}}, []),
        ("conf", {}, {"ok": {"mesh": "m"}}, []),
        ("report", {}, {"ok": "a text"}, []),
        ("drain", {}, {"ok": "draining"}, ["drain"]),
        ("shutdown", {}, {"ok": "shutting down"}, ["shutdown"]),
        ("pool_resize", {"n": 4}, {"ok": "4 slots", "slots": 4}, [("resize", 4)]),
        ("pool_resize", {"n": 1}, {"ok": "1 slot", "slots": 1}, [("resize", 1)]),
        (
            "rate_limit", {"task_name": "work.add", "rate": "120/m"},
            {"ok": "rate limit of work.add is 2/s here"}, [("rate_limit", "work.add", 2.0)],
        ),
        (
            "rate_limit", {"task_name": "work:add", "rate": 0},
            {"ok": "rate limit of work.add is lifted here"}, [("rate_limit", "work.add", 0.0)],
        ),
        (
            "time_limit", {"task_name": "work.nap", "soft": 1, "hard": 2.5},
            {"ok": "time limits of work.nap are soft 1 s, hard 2.5 s here"},
            [("time_limit", "work.nap", 1.0, 2.5)],
        ),
        (
            "time_limit", {"task_name": "work.nap", "hard": 3},
            {"ok": "time limits of work.nap are hard 3 s here"}, [("time_limit", "work.nap", None, 3.0)],
        ),
        (
            "time_limit", {"task_name": "work.nap"},
            {"ok": "time limits of work.nap are lifted here"}, [("time_limit", "work.nap", None, None)],
        ),
        (
            "purge", {}, {"ok": 3, "clients": {"78" * 16: 4}, "silent": ["pid 9 on h"]},
            [("purge", b"k" * 16, 2.5)],
        ),
        (
            "rate_limit", {"task_name": "_work.add", "rate": 2},
            {"ok": "rate limit of work.add is 2/s here"}, [("rate_limit", "work.add", 2.0)],
        ),
        ("revoke", {"tasks": [ID]}, {"ok": {TEXT: "dropped"}}, [("revoke", [ID], 0, b"k" * 16, 2.5)]),
        (
            "revoke", {"tasks": TEXT, "terminate": True, "signal": "SIGKILL"},
            {"ok": {TEXT: "dropped"}}, [("revoke", [ID], int(signal.SIGKILL), b"k" * 16, 2.5)],
        ),
        ("forget", {"tasks": [ID]}, {"ok": 0}, []),
        (
            "mine", {"x": 1}, {"error": "there is no control command 'mine'"}, [("mine", {"x": 1}, 2.5)],
        ),
    ],
)  # fmt: skip
def test_a_command_is_carried_out_and_answered(
    node: FakeNode, name: str, arguments: dict[str, Any], answer: dict[str, Any], asked: list[Any]
) -> None:
    """With its arguments as they were checked; what is not in the table is the user's."""
    assert node.give(name, arguments) == answer
    assert node.asked == asked


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("ping", {"x": 1}, ["ping", "'x'", "takes no arguments"]),
        ("rate_limit", {"task_name": "work.add", "rat": 1}, ["'rat'", "task_name, rate"]),
        ("rate_limit", {"task_name": "work.add"}, ["needs the argument rate"]),
        ("rate_limit", {"task_name": "work.add", "rate": "5/x"}, ["'5/x'", "'N/s', 'N/m' or 'N/h'"]),
        ("rate_limit", {"task_name": "work.add", "rate": -1}, ["-1", "0 or more"]),
        ("rate_limit", {"task_name": "work.add", "rate": True}, ["True", "not a rate"]),
        ("rate_limit", {"task_name": "work.nope", "rate": 1}, ["node@h", "'work.nope'", "work.add, work.nap"]),
        ("rate_limit", {"task_name": 7, "rate": 1}, ["task_name", "7", "not the name of a task"]),
        ("time_limit", {"task_name": "work.nap", "soft": 3, "hard": 2}, ["soft (3 s)", "hard (2 s)"]),
        ("time_limit", {"task_name": "work.nap", "soft": -1}, ["soft", "-1", "above 0"]),
        ("time_limit", {"task_name": "work.nap", "hard": "abc"}, ["hard", "'abc'", "seconds above 0"]),
        ("time_limit", {"task_name": "work.nope", "hard": 1}, ["'work.nope'"]),
        ("pool_resize", {"n": 0}, ["1 to 1024", "0"]),
        ("pool_resize", {"n": 1025}, ["1 to 1024"]),
        ("pool_resize", {"n": "4"}, ["'4'"]),
        ("revoke", {}, ["needs the argument tasks"]),
        ("revoke", {"tasks": 7}, ["tasks", "7", "neither a task id nor a list"]),
        ("revoke", {"tasks": ["no"]}, ["'no'", "32 hexadecimal digits"]),
        ("revoke", {"tasks": [ID], "signal": "NOSUCH"}, ["'NOSUCH'", "TERM"]),
        ("revoke", {"tasks": [ID], "terminate": "yes"}, ["terminate", "'yes'"]),
        ("revoke", {"tasks": [ID] * (MAX_IDS + 1)}, [str(MAX_IDS), "several commands"]),
        ("query_task", {"ids": [ID] * (MAX_ASKED_IDS + 1)}, [str(MAX_ASKED_IDS)]),
        ("result", {"tasks": [ID] * (MAX_ASKED_IDS + 1)}, [str(MAX_ASKED_IDS), "several commands"]),
        ("result", {"tasks": [ID], "owners": [b"short"]}, ["owners", "8 bytes"]),
        ("result", {"tasks": [ID], "owners": [b"8 bytes!"] * (MAX_ASKED_IDS + 1)}, [str(MAX_ASKED_IDS)]),
        ("result", {"tasks": [ID], "owners": b"8 bytes!"}, ["owners", "a list"]),
        ("result_piece", {"task": ID, "offset": -1}, ["offset", "-1", "0 or more"]),
        ("result_piece", {"task": ID, "offset": True}, ["offset", "True"]),
        ("result_piece", {"task": ID, "offset": "0"}, ["offset", "'0'"]),
        ("result_piece", {"task": "x", "offset": 0}, ["task", "'x'"]),
        ("result_piece", {"task": ID, "offset": 0}, ["no result", TEXT]),
        ("active", {b"x": 1}, ["b'x'"]),
        ("active", [1], ["must be a map"]),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_and_nothing_is_done(
    node: FakeNode, name: str, arguments: Any, said: list[str]
) -> None:
    """The error says what is wrong, and what would be right."""
    text = node.give(name, arguments)["error"]
    assert not [words for words in said if words not in text], text
    assert node.asked == []


def test_an_unknown_function_is_answered_with_some_of_those_there_are(node: FakeNode) -> None:
    """A node that offers hundreds does not name them all; one that offers none says how it would."""
    node.offered = [f"work.f{number:03}" for number in range(100)]
    text = node.give("rate_limit", {"task_name": "work.nope", "rate": 1})["error"]
    assert "work.f000" in text
    assert text.endswith("and 80 more")
    node.offered = []
    assert "meshq node photos" in node.give("rate_limit", {"task_name": "work.nope", "rate": 1})["error"]


def test_what_is_no_msgpack_is_answered_with_an_error(node: FakeNode) -> None:
    """A peer may send anything."""
    answers: list[dict[str, Any]] = []
    for wrong in (b"\xc1", b"", b"\x80\x80", msgpack.packb({1: 2})):
        carry_out(node, Command(b"k" * 16, b"c" * 16, "ping", wrong, [], "", True, 1.0), answers.append)
    assert len(answers) == 4
    assert all(set(answer) == {"error"} for answer in answers)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 0])
def test_a_timeout_that_is_none_is_answered_with_an_error(node: FakeNode, seconds: float) -> None:
    """A peer may send any number; a deadline made of NaN would hide all others of the node."""
    for name in ("purge", "users_own"):
        answers: list[dict[str, Any]] = []
        command = Command(b"k" * 16, b"c" * 16, name, msgpack.packb({}), [], "", True, seconds)
        carry_out(node, command, answers.append)
        assert "timeout must be" in answers[0]["error"]
    assert node.asked == []


def test_a_command_that_fails_is_logged_and_answered(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the node's own does not end it, and does not look like silence."""
    monkeypatch.setattr(node, "stats", lambda: {}["missing"])
    assert node.give("stats") == {"error": "the command failed at the node: KeyError: 'missing'"}
    assert "the control command stats failed" in caplog.text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (2.0, "2/s"),
        (100 / 60, "100/m"),
        (5 / 3600, "5/h"),
        (0.5, "30/m"),
        (2.7182818, "2.71828/s"),
        (1e6, "1000000/s"),
    ],
)
def test_a_rate_is_written_as_people_write_it(rate: float, text: str) -> None:
    """By the unit in which it was most likely given."""
    assert format_rate(rate) == text


def test_registered_functions_are_listed_with_the_limits_in_force(node: FakeNode) -> None:
    """In the order of their names; those without limits by their name alone."""
    node.offered = ["work.nap", "work.add", "work.map"]
    node.limits = {"work.nap": LimitsView(2.0, 1.5, 3.0), "work.map": LimitsView(0.0, None, 4.0)}
    assert node.give("registered") == {
        "ok": [
            "work.add",
            "work.map [time_limit=4.0]",
            "work.nap [rate_limit=2/s time_limit=3.0 soft_time_limit=1.5]",
        ]
    }


def test_revoked_ids_are_listed_with_the_latest_first(node: FakeNode) -> None:
    """As many as fit into a reply; the last row says how many more there are."""
    node.refused = [b"a" * 16, b"b" * 16]
    assert node.give("revoked") == {"ok": [str(uuid.UUID(bytes=b"b" * 16)), str(uuid.UUID(bytes=b"a" * 16))]}
    node.refused = [number.to_bytes(16, "big") for number in range(MAX_REVOKED_SHOWN + 7)]
    shown = node.give("revoked")["ok"]
    assert len(shown) == MAX_REVOKED_SHOWN + 1
    assert shown[0] == str(uuid.UUID(int=MAX_REVOKED_SHOWN + 6))
    assert shown[-1] == {"more": 7}


def test_a_task_is_found_by_its_id_wherever_it_is(node: FakeNode) -> None:
    """Held ones with their row, finished ones with their state; what is not known, or elsewhere, is left out."""
    node.held = [view(1, state="active", slot=0, seconds=1.5), view(2, state="scheduled", reason="countdown")]
    node.held.append(view(5, state="reserved")._replace(elsewhere=True))
    node.results = {b"\3" * 16: Result(b"\3" * 16, 2, Status.FAILURE, "msgpack", b"")}
    ids = [bytes([number]) * 16 for number in (1, 2, 3, 4, 5)]
    found = node.give("query_task", {"ids": ids})["ok"]
    one, two, three = (str(uuid.UUID(bytes=task)) for task in ids[:3])
    assert set(found) == {one, two, three}
    assert (found[one][0], found[one][1]["started_s"], found[one][1]["pid"]) == ("active", 1.5, 1000)
    assert (found[two][0], found[two][1]["reason"]) == ("scheduled", "countdown")
    assert found[three] == ["finished", {"id": three, "attempt": 2, "state": "FAILURE"}]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (Status.OK, "DONE"), (Status.FAILURE, "FAILURE"), (Status.REVOKED, "REVOKED"), (Status.EXPIRED, "EXPIRED"),
        (Status.WORKER_LOST, "LOST"), (Status.TIME_LIMIT, "FAILURE"), (99, "FAILURE"),
    ],
)  # fmt: skip
def test_a_result_says_how_the_task_has_ended(node: FakeNode, status: int, state: str) -> None:
    """In the words in which its owner would say it."""
    node.results = {ID: Result(ID, 1, status, "msgpack", b"value")}
    assert node.give("result", {"tasks": [ID]})["ok"] == {
        TEXT: {"state": state, "status": int(status), "serializer": "msgpack", "payload": b"value", "gone": False}
    }


@pytest.mark.parametrize(
    ("place", "state"), [("active", "STARTED"), ("reserved", "QUEUED"), ("scheduled", "PENDING")]
)
def test_a_result_says_where_an_unfinished_task_is(node: FakeNode, place: str, state: str) -> None:
    """With all fields that a finished one has."""
    node.held = [view(1, state=place)]
    said = node.give("result", {"tasks": [b"\1" * 16, ID]})["ok"]
    assert list(said.values()) == [{"state": state, "status": -1, "serializer": "", "payload": b"", "gone": False}]


def test_a_value_that_is_not_kept_is_gone(node: FakeNode) -> None:
    """So is one too large for a reply; an end that never had a value is not."""
    large = bytes(MAX_VALUES_BYTES + 1)
    node.results = {
        b"1" * 16: Result(b"1" * 16, 1, Status.OK, "", b""),
        b"2" * 16: Result(b"2" * 16, 1, Status.REVOKED, "", b""),
        b"3" * 16: Result(b"3" * 16, 1, Status.OK, "raw", large),
    }
    said = node.give("result", {"tasks": list(node.results)})["ok"]
    assert [value["gone"] for value in said.values()] == [True, False, True]
    assert [value["payload"] for value in said.values()] == [b""] * 3
    assert [value.get("size") for value in said.values()] == [None, None, len(large)]


def test_a_large_value_is_had_in_pieces(node: FakeNode) -> None:
    """Each as large as a reply takes, with the size of the whole, and the attempt that it is of."""
    large = bytes(range(256)) * 4 * 1024
    node.results = {ID: Result(ID, 2, Status.OK, "raw", [large[:100], large[100:]])}
    pieces, offset = [], 0
    while offset < len(large):
        said = node.give("result_piece", {"task": ID, "offset": offset})
        assert (said["size"], said["attempt"]) == (len(large), 2)
        pieces.append(said["ok"])
        offset += len(said["ok"])
    assert [len(piece) for piece in pieces] == [
        MAX_VALUES_BYTES,
        MAX_VALUES_BYTES,
        len(large) - 2 * MAX_VALUES_BYTES,
    ]
    assert b"".join(pieces) == large
    assert node.give("result_piece", {"task": ID, "offset": len(large)})["ok"] == b""


def test_a_try_that_failed_is_shown_with_what_it_asked(node: FakeNode) -> None:
    """As long as nobody has taken note of that; a result of the task goes before it."""
    node.tries = {ID: Result(ID, 1, Status.RETRY, "msgpack", b"asked")}
    row = {"state": "RETRY", "status": 6, "serializer": "msgpack", "payload": b"asked", "gone": False}
    assert node.give("result", {"tasks": [ID]}) == {"ok": {TEXT: row}}
    assert node.give("result_piece", {"task": ID, "offset": 2})["ok"] == b"ked"
    node.results = {ID: Result(ID, 2, Status.OK, "msgpack", b"value")}
    assert node.give("result", {"tasks": [ID]})["ok"][TEXT]["state"] == "DONE"


def test_whose_tasks_are_and_which_owners_are_there(node: FakeNode) -> None:
    """A row names the owner for whom the task is held; of owners it is said only when that is asked."""
    mine, other = b"owner..1", b"owner..2"
    node.held = [view(1)]
    node.results = {ID: Result(ID, 1, Status.OK, "msgpack", b"value")}
    node.owned = {b"\1" * 16: mine}
    node.there = [other]
    said = node.give("result", {"tasks": [b"\1" * 16, ID], "owners": [mine, other]})
    assert [row.get("owner") for row in said["ok"].values()] == [mine, None]
    assert said["present"] == [other]
    assert "present" not in node.give("result", {"tasks": [ID]})


def test_values_are_sent_as_far_as_they_fit_into_one_reply(node: FakeNode) -> None:
    """The others are marked, and can be asked for anew; without ``value`` there are states alone."""
    half = bytes(MAX_VALUES_BYTES // 2)
    tasks = [bytes([number]) * 16 for number in range(3)]
    node.results = {task: Result(task, 1, Status.OK, "raw", [half]) for task in tasks}
    said = list(node.give("result", {"tasks": tasks})["ok"].values())
    assert [len(value["payload"]) for value in said] == [len(half), len(half), 0]
    assert [value.get("left_out", False) for value in said] == [False, False, True]
    said = list(node.give("result", {"tasks": tasks, "value": False})["ok"].values())
    assert [(value["payload"], "left_out" in value, value["gone"]) for value in said] == [(b"", False, False)] * 3


def test_results_are_forgotten(node: FakeNode) -> None:
    """The answer is how many there were."""
    node.results = {ID: Result(ID, 1, Status.OK, "msgpack", b"")}
    assert node.give("forget", {"tasks": [ID, b"x" * 16]}) == {"ok": 1}
    assert node.results == {}


def test_a_task_that_waits_for_its_next_try(node: FakeNode) -> None:
    """It is in the state RETRY for whoever asks by its id."""
    node.held = [view(1, state="scheduled", reason="retry")]
    assert node.give("result", {"tasks": [b"\1" * 16]})["ok"].popitem()[1]["state"] == "RETRY"


def test_tasks_that_were_given_up_are_listed(node: FakeNode) -> None:
    """Each with its story, and how long ago that was."""
    node.letters = [DeadView(ID, "m.f", "attempt 1 on n@h: killed by signal 9", 1.23)]
    row = {"id": TEXT, "name": "m.f", "story": "attempt 1 on n@h: killed by signal 9", "seconds_ago": 1.2}
    assert node.give("dead") == {"ok": [row]}
