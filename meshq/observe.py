"""Logging for people and for machines: one line a record, nothing in it that could forge another."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

FIELDS = ("node", "task_id")
"""What a record may carry besides its message, given as ``extra={"task_id": …}``."""

_OURS = "meshq.observe"


def configure_logging(level: str = "info", fmt: str = "text", stream: TextIO | None = None) -> None:
    """Send the records of meshq from ``level`` up, and warnings of other libraries, to ``stream`` (stderr).

    ``fmt`` is ``text`` or ``json``. May be called again; the last call counts. Raises ``ValueError``.
    """
    if fmt not in ("text", "json"):
        raise ValueError(f"the log format must be text or json (got {fmt!r})")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_OURS)
    handler.setFormatter(JsonFormatter() if fmt == "json" else TextFormatter())
    logging.getLogger("meshq").setLevel(level.upper())
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == _OURS]:
        root.removeHandler(old)
    root.addHandler(handler)


def escape(text: str) -> str:
    """Return ``text`` with line ends and other unprintable characters written as ``\\n``, ``\\x1b``…"""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO meshq.node: joined  node=a@b task_id=…``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line of text."""
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{record.levelname} {record.name}: {record.getMessage()}{fields and ' ' + fields}"
        trace = _trace(record)
        return f"{_time(record)} {escape(line)}" + (f" | {escape(trace)}" if trace else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, the fields, ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one JSON object; ``json`` escapes what could end the line."""
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        trace = _trace(record)
        return json.dumps(entry | {"traceback": trace} if trace else entry)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    return {key: str(getattr(record, key)) for key in FIELDS if getattr(record, key, None) is not None}


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trace(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
