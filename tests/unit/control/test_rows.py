"""The rows of ``inspect``: what is shown of a task, and how much of many."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import msgpack
import numpy
import pytest
from control_harness import view

from meshq.control.rows import MAX_ARGUMENTS, MAX_DECODED, MAX_ROWS, MAX_ROWS_BYTES, MAX_TEXT, Rows, cut
from meshq.protocol.codec import dumps_call, serializer


def rows() -> Rows:
    """Return rows of a node whose workers are processes 1000, 1001…"""
    return Rows(lambda slot: 1000 + slot)


def shown(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a call as its row has them."""
    payload = dumps_call(serializer("msgpack"), args, kwargs)
    row = rows().row(view(payload=payload))
    return row["args"], row["kwargs"]


def test_a_row_has_what_users_look_for() -> None:
    """Each state has its own fields besides."""
    active = rows().row(view(1, 2, "x", state="active", slot=1, seconds=1.23456))
    assert active == {
        "id": "01010101-0101-0101-0101-010101010101", "name": "work.add", "args": ["2", "'x'"], "kwargs": {},
        "attempt": 1, "priority": 5, "client": "pid 7 on h", "started_s": 1.235, "slot": 1, "pid": 1001,
    }  # fmt: skip
    scheduled = rows().row(view(1, state="scheduled", seconds=9.0, reason="rate limit", priority=7))
    assert (scheduled["eta_s"], scheduled["reason"], scheduled["priority"]) == (9.0, "rate limit", 7)
    assert not {"slot", "pid", "started_s"} & set(scheduled)


def test_arguments_are_shown_as_python_writes_them() -> None:
    """The types of the wire included, nested as they are."""
    day = datetime.date(2030, 1, 2)
    assert shown((1, {2}), [frozenset(), ()], day, key=b"v") == (
        ["(1, {2})", "[frozenset(), ()]", "datetime.date(2030, 1, 2)"],
        {"key": "b'v'"},
    )


def test_long_and_many_arguments_are_cut() -> None:
    """So that a thousand rows fit into a reply."""
    args, kwargs = shown("x" * 500, *range(MAX_ARGUMENTS + 4), **{"n" * 500: 1})
    assert len(args[0]) == MAX_TEXT
    assert args[0].endswith("…")
    assert args[-1] == "… 5 more"
    assert len(args) == MAX_ARGUMENTS + 1
    assert [len(name) for name in kwargs] == [MAX_TEXT]


def test_numpy_data_is_not_decoded() -> None:
    """It would load numpy into the node; large arrays are told by their size."""
    assert shown(numpy.arange(3), numpy.float64(1)) == (["<numpy data>", "<numpy data>"], {})
    (text,), _ = shown(numpy.zeros(2048))
    assert text.startswith("<msgpack, 16")


@pytest.mark.parametrize(
    ("encoding", "args", "text"),
    [("json", ([1],), "[1]"), ("raw", (b"abc",), "<raw>"), ("pickle", (1,), "<pickle>")],
)
def test_only_plain_serializers_are_looked_into(encoding: str, args: Any, text: str) -> None:
    """A pickle never, as to read it is to run it."""
    assert rows().row(view(1, *args, encoding=encoding))["args"] == [text]


def test_large_payloads_are_not_decoded() -> None:
    """One by one, and all those of one reply together: the node has other things to do."""
    assert rows().row(view(1, "x" * MAX_DECODED))["args"] == [f"<msgpack, {MAX_DECODED + 6} bytes>"]
    many = rows()
    texts = [many.row(view(1, "x" * 16_000))["args"][0] for _ in range(100)]
    assert texts[0].startswith("'xxx")
    assert texts[-1] == "<msgpack, 16006 bytes>"


def test_what_cannot_be_read_is_said_so() -> None:
    """The worker will find out too; the list goes on."""
    for wrong in (b"\x93", b"\x91\x90", msgpack.packb([[msgpack.ExtType(99, b"")], {}])):
        assert rows().row(view(payload=wrong))["args"] == ["<msgpack that cannot be read>"]


def test_a_huge_number_is_not_written_out() -> None:
    """Python refuses to; the row is there all the same."""
    assert shown(10 ** (sys.get_int_max_str_digits() + 10))[0] == ["<msgpack that cannot be read>"]


def test_too_many_tasks_end_with_their_number() -> None:
    """A thousand rows are shown."""
    listed = rows().listed(view(1) for _ in range(MAX_ROWS + 50))
    assert len(listed) == MAX_ROWS + 1
    assert listed[-1] == {"more": 50}
    assert rows().listed(iter([])) == []


def test_rows_that_are_too_large_together_end_with_their_number() -> None:
    """The reply stays below what can be sent."""
    listed = rows().listed(view(1, *["x" * 500] * 20) for _ in range(MAX_ROWS + 50))
    assert len(msgpack.packb(listed)) < MAX_ROWS_BYTES + 4096
    assert listed[-1]["more"] == MAX_ROWS + 50 - (len(listed) - 1)


def test_a_list_is_cut_by_number() -> None:
    """``total`` counts what was left out before."""
    assert cut([1, 2, 3], 3) == [1, 2, 3]
    assert cut([1, 2, 3], 2) == [1, 2, {"more": 1}]
    assert cut([1, 2], 2, 9) == [1, 2, {"more": 7}]
