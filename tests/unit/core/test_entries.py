"""A candidate in the books: whom it stands for, whether it is missed, and whether it may be pushed out."""

from __future__ import annotations

import pytest

from meshq.core.candidates import MDNS, PEER, Absent, Candidate, Problem
from meshq.core.entries import Entry, Link


def entry(instance: str = "a", source: str = MDNS) -> Entry:
    """Make a candidate that was seen just now."""
    return Entry(Candidate(instance, ("tcp://a",), (), "", source, "node@a"), 0.0)


def test_it_goes_by_its_node_once_that_has_answered() -> None:
    """Before, by the instance: an id in hex digits, or whatever the user has written, and its label."""
    assert entry("6e" * 16).as_absent() == Absent(b"n" * 16, "node@a", "")
    assert entry("tcp://a").as_absent() == Absent(b"tcp://a", "node@a", "")
    known = entry()
    known.node, known.name, known.problem = b"n", "name@host", Problem("node@a", "tcp://a", "silent", "nobody")
    assert known.as_absent() == Absent(b"n", "name@host", "silent")
    known.problem = Problem("node@a", "tcp://a", "version", "it speaks version 9")
    assert known.as_absent() == Absent(b"n", "name@host", "version", "it speaks version 9")


def test_it_is_absent_unless_it_answers_or_need_not() -> None:
    """It need not where its process has ended, where it took its announcement back, or where it is of others."""
    assert entry().is_absent
    for change in ({"settled": True}, {"ended": True}, {"gone": True}, {"problem": Problem("", "", "key", "")}):
        changed = entry()
        for name, value in change.items():
            setattr(changed, name, value)
        assert not changed.is_absent
    hint = entry(source=PEER)
    hint.gone = True
    assert hint.is_absent


@pytest.mark.parametrize(("source", "expendable"), [(MDNS, True), (PEER, True), ("static", False)])
def test_a_flood_pushes_out_what_nobody_has_answered(source: str, expendable: bool) -> None:
    """And what the user did not name."""
    made = entry(source=source)
    assert made.is_expendable is expendable
    made.settled = True
    assert not made.is_expendable
    assert not Link(made, "tcp://a").up
