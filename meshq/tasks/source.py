"""A short hash of a function's source, by which a client sees that a node runs another version of it."""

from __future__ import annotations

import linecache
import zlib
from types import CodeType
from typing import Any

_MAX_WRAPPERS = 100


def source_hash(function: Any) -> str:
    """Return 8 hexadecimal digits of the function's source lines, decorators included; "" without source."""
    # Lines, and not bytecode, which differs between versions of Python; not inspect, which is slow to import.
    for _ in range(_MAX_WRAPPERS):
        if not hasattr(function, "__wrapped__"):
            break
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return ""
    lines = linecache.getlines(code.co_filename, getattr(function, "__globals__", None))
    text = "".join(line.rstrip() + "\n" for line in _block(lines, code))
    return f"{zlib.crc32(text.encode()):08x}" if text else ""


def _block(lines: list[str], code: CodeType) -> list[str]:
    """Return the lines of a function: to its last one with code, and on while they are indented deeper."""
    start, end = code.co_firstlineno - 1, _last_line(code)
    if start >= len(lines):
        return []
    indent = _indent(lines[start])
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return lines[start:end]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _last_line(code: CodeType) -> int:
    """Return the number of the last line that has code, nested functions included."""
    own = max((line for _, _, line in code.co_lines() if line), default=code.co_firstlineno)
    return max([own, *(_last_line(const) for const in code.co_consts if isinstance(const, CodeType))])
