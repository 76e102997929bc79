"""Logs: one line a record, in text or JSON, with nothing in it that could forge a line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from meshq.observe import configure_logging, escape


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("meshq")
    handlers, level = list(root.handlers), ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)


def lines(fmt: str, message: str, level: str = "info", **extra: object) -> list[str]:
    """Log one record, an INFO of a node, and return the lines written."""
    stream = io.StringIO()
    configure_logging(level, fmt, stream)
    logging.getLogger("meshq.node").info("%s", message, extra=extra)
    return stream.getvalue().splitlines()


def test_text() -> None:
    """A line of text has the time in UTC, level, logger, message and fields."""
    (line,) = lines("text", "joined", node="a@b", task_id="42")
    when, rest = line.split(" ", 1)
    assert when.endswith("Z")
    assert rest == "INFO meshq.node: joined  node=a@b task_id=42"


def test_json() -> None:
    """A line of JSON has the same, by name."""
    (line,) = lines("json", "joined", node="a@b")
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "info", "logger": "meshq.node", "message": "joined", "node": "a@b"}


@pytest.mark.parametrize("fmt", ["text", "json"])
@pytest.mark.parametrize("evil", ["a\nb", "a\r\nb", "\x1b[2J", "a\x85b", "a\u2028b", "\x00", "\ud800"])
def test_a_record_cannot_forge_lines(fmt: str, evil: str) -> None:
    """Line ends, escape sequences and lone surrogates in a message or field come out escaped."""
    (line,) = lines(fmt, evil, task_id=evil)
    assert line.isprintable()


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is part of the record's one line."""
    for fmt in ("text", "json"):
        stream = io.StringIO()
        configure_logging("info", fmt, stream)
        try:
            raise ValueError("broken\nin two")
        except ValueError:
            logging.getLogger("meshq").exception("failed")
        (line,) = stream.getvalue().splitlines()
        assert "ValueError: broken\\nin two" in line


def test_levels() -> None:
    """Our records count from the level asked for, those of other libraries from WARNING."""
    assert lines("text", "joined", level="warning") == []
    stream = io.StringIO()
    configure_logging("debug", "text", stream)
    logging.getLogger("zeroconf").info("chatter")
    logging.getLogger("meshq.client").debug("detail")
    assert "chatter" not in stream.getvalue()
    assert "detail" in stream.getvalue()


def test_the_last_call_counts() -> None:
    """Configuring again replaces what was there: no record is written twice."""
    first = io.StringIO()
    configure_logging("info", "text", first)
    assert len(lines("text", "once")) == 1
    assert first.getvalue() == ""


def test_wrong_values() -> None:
    """A format or level that does not exist is a ValueError."""
    with pytest.raises(ValueError, match="text or json"):
        configure_logging("info", "xml")
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud")


def test_escape() -> None:
    """Letters of any language stay as they are."""
    assert escape("größe → 大") == "größe → 大"
    assert escape("a\tb") == "a\\tb"
