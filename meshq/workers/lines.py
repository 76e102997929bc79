"""Cutting output into lines."""

from __future__ import annotations

import codecs

MAX_LINE = 8 * 1024
"""Characters; a longer line, which a task could grow without end, is cut."""


class Lines:
    """Collects bytes of UTF-8 and gives back whole lines."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._tail = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ``data`` completes, without their ends."""
        text = self._tail + self._decoder.decode(data)
        *lines, self._tail = text.split("\n")
        if len(self._tail) > MAX_LINE:
            whole = len(self._tail) // MAX_LINE * MAX_LINE
            lines.append(self._tail[:whole])
            self._tail = self._tail[whole:]
        return [piece for line in lines for piece in _cut(line)]

    def rest(self) -> list[str]:
        """Return what has no end yet, as the last line: one, or none."""
        text = self._tail + self._decoder.decode(b"", final=True)
        self._tail = ""
        return _cut(text) if text else []

    @property
    def unfinished(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._tail)


def _cut(line: str) -> list[str]:
    if len(line) <= MAX_LINE:
        return [line.rstrip("\r")]
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)]
