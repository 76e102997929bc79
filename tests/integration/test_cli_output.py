"""What the command line prints is safe to look at, and stays what it says it is."""

from __future__ import annotations

import json
import math

import pytest
from cli_harness import SOURCE

from meshq.cli.ctl import _exit_code
from meshq.cli.output import note, print_json, print_table
from meshq.cli.values import named_values, object_of, value_of
from meshq.control.replies import Replies
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
        ([{"a@h": {"ok": 1}}], {}, None, 0),
        ([{"a@h": {"ok": 1}}], {"b@h": "no reply in time"}, None, 5),
        ([{"a@h": {"ok": 1}}], {"b@h": "not waited for (limit)"}, 1, 0),
        ([{"a@h": {"ok": 1}}, {"b@h": {"error": "no"}}], {"c@h": "unreachable"}, None, 1),
        ([], {"a@h": "no reply in time"}, 1, 5),
    ],
)
def test_the_exit_code_of_a_command(
    replies: list[dict[str, object]], missing: dict[str, str], limit: int | None, code: int
) -> None:
    """An error counts for most, then a silent node, unless as many as were wanted have replied."""
    given = Replies()
    given.extend(replies)
    given.missing.update(missing)
    assert _exit_code(given, limit) == code
