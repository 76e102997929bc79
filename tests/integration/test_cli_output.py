"""What the command line prints is safe to look at, and stays what it says it is."""

from __future__ import annotations

import json
import math
import sys
import uuid

import pytest
from cli_harness import SOURCE, until

from meshq.cli import waiting as waiting_module
from meshq.cli.commanding import Answers, exit_code
from meshq.cli.ctl_inspect import _names, _rows
from meshq.cli.output import note, print_json, print_table
from meshq.cli.replies import pairs, show_rows, show_texts
from meshq.cli.values import named_values, object_of, value_of
from meshq.cli.waiting import Waiting
from meshq.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-1.5", -1.5), ("true", True), ("null", None), ('{"a": [1]}', {"a": [1]}), ('"3"', "3")]
    + [(text, text) for text in ("", "True", "a b", "[1,", "NaN", "-Infinity", "[" * 100_000)],
)
def test_a_value_is_json_where_it_parses(text: str, value: object) -> None:
    """Anything else is the string that was typed; NaN is no JSON, and endless nesting no crash."""
    assert value_of(text) == value


def test_named_values() -> None:
    """``K=V`` splits at the first sign; what has none, or no name, is refused."""
    assert named_values(["a=1", "b=x=y", "c="]) == {"a": 1, "b": "x=y", "c": ""}
    for wrong in ("a", "=1"):
        with pytest.raises(ConfigError, match="written K=V"):
            named_values([wrong])


def test_an_object_for_a_flag() -> None:
    """Nothing given is an empty one; what is no object is refused by the flag's name."""
    assert object_of("--kwargs", None) == {}
    assert object_of("--kwargs", '{"x": 1}') == {"x": 1}
    with pytest.raises(ConfigError, match="--kwargs must be a JSON object"):
        object_of("--kwargs", "[]")


def test_whatever_is_printed_as_json_parses(capsys: pytest.CaptureFixture[str]) -> None:
    """Values and keys that JSON has not become text."""
    print_json({"result": {(1, 2): b"x", None: [math.inf, {3}, 1.5, True]}, "path": SOURCE})
    value = json.loads(capsys.readouterr().out)
    assert value == {
        "schema": 1,
        "result": {"(1, 2)": "b'x'", "None": ["inf", [3], 1.5, True]},
        "path": str(SOURCE),
    }


def test_a_table_off_a_terminal_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as they must be, and nothing is cut off."""
    print_table(("A", "LONG"), [("x" * 200, 1), ("y", None)])
    assert capsys.readouterr().out == f"{'A':200}  LONG\n{'x' * 200}  1\n{'y':200}  None\n"


def test_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id, which is there to be copied, stays in one piece; what is beside it goes on in the next line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    task = str(uuid.uuid4())
    print_table(("NODE", "ID", "TASK", "PID"), [("kitchen@host", task, "photos.thumbnail", "4711")])
    out = capsys.readouterr().out
    assert task in out
    assert "…" not in out


def test_what_nodes_say_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in names and reasons are shown, not obeyed."""
    print_table(("NODE",), [("\x1b[2Jevil\n",)])
    note("gone:\n \x1b[31mred")
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert printed.out == "NODE\n\\x1b[2Jevil\\n\n"
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("replies", "missing", "limit", "code"),
    [
        ({"a@h": {"ok": 1}}, {}, None, 0),
        ({"a@h": []}, {}, None, 0),
        ({"a@h": {"ok": 1}}, {"b@h": "no reply in time"}, None, 5),
        ({"a@h": {"ok": 1}}, {"b@h": "not waited for (limit)"}, 1, 0),
        ({"a@h": {"ok": 1}, "b@h": {"error": "no"}}, {"c@h": "unreachable"}, None, 1),
        ({}, {"a@h": "no reply in time"}, 1, 5),
    ],
)
def test_the_exit_code_of_a_command(
    replies: dict[str, object], missing: dict[str, str], limit: int | None, code: int
) -> None:
    """An error counts for most, then a silent node, unless as many as were wanted have replied."""
    assert exit_code(Answers(replies, missing, {}), limit) == code


def test_replies_in_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A node without any has a dash, an error stands by itself or after what was done before it."""
    show = show_rows("ID", "OUTCOME", rows=lambda value: value.get("ok", {}).items())
    node_a, node_b = {"ok": {}}, {"error": "broken"}
    node_c = {"ok": {"1": "dropped"}, "error": "only some"}
    show(Answers({"c@h": node_c, "a@h": node_a, "b@h": node_b}, {}, {}))
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["NODE", "ID                OUTCOME"],
        ["a@h", "-"],
        ["b@h", "error: broken"],
        ["c@h", "1                 dropped"],
        ["c@h", "error: only some"],
    ]


def test_tasks_in_rows() -> None:
    """Arguments are shown as in a call, and of a list that was cut it is said how much is left."""
    task = {"id": "1", "name": "f", "args": ["'x'", "2"], "kwargs": {"y": "None"}, "pid": 7}
    rows = list(_rows("pid", "slot")([task, {"more": 5}]))
    assert rows == [("1", "f", "'x', 2, y=None", "7", "-"), ("… and 5 more",)]
    assert list(_names(["a", {"more": 2}])) == [("a",), ("… and 2 more",)]


def test_fields_of_fields_have_lines_of_their_own() -> None:
    """Nested numbers are named with a dot; what is empty is a dash."""
    value = {
        "pid": 1,
        "tasks": {"done": 2, "by": {"a": 3}},
        "tags": ["x", "y"],
        "none": None,
        "empty": {},
        "rows": [{"x": 1, "y": 2}],
    }
    assert pairs(value) == [
        ("pid", "1"), ("tasks.done", "2"), ("tasks.by.a", "3"), ("tags", "x, y"), ("none", "-"), ("empty", "-"),
        ("rows.0", "x=1 y=2"),
    ]  # fmt: skip


def test_texts_of_nodes_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Line by line under the node's name, with nothing that steers the terminal."""
    show_texts(Answers({"a@h": {"ok": "one\n two\x1b"}, "b@h": {"error": "no"}}, {}, {}))
    assert capsys.readouterr().out == "a@h:\none\n two\\x1b\n\nb@h:\nerror: no\n\n"


def test_nothing_is_said_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where a program reads along, nor within the first second."""
    with Waiting("waiting…") as waiting:  # stderr is no terminal here
        waiting.say("still waiting…")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Waiting("waiting…", quiet=True):
        pass
    with Waiting("waiting…"):
        pass
    assert capsys.readouterr().err == ""


def test_a_wait_of_more_than_a_second_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, with what is waited for at that time."""
    monkeypatch.setattr(waiting_module, "DELAY_S", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Waiting("first…") as waiting:
        until(lambda: "first…" in capsys.readouterr().err)
        waiting.say("then…")
        until(lambda: "then…" in capsys.readouterr().err)
