"""The node's ends of the pipes that a worker's descriptors 1 and 2 lead to."""

from __future__ import annotations

import os
from collections.abc import Callable

from meshq.workers.lines import Lines

_READ_BYTES = 64 * 1024
_LAST_READS = 64


class OutputPipe:
    """What code in C and subprocesses write, as lines. ``number`` is the descriptor in the worker."""

    def __init__(self, fd: int, number: int, on_lines: Callable[[int, list[str]], None]) -> None:
        self._fd = fd
        self._number = number
        self._on_lines = on_lines
        self._lines = Lines()
        self._ended = False

    def fileno(self) -> int:
        """Return the descriptor, for polling."""
        return self._fd

    def read(self) -> bool:
        """Pass on the lines that have come; return False at the end."""
        data = b""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return True
        self._ended = not data
        self._pass_on(self._lines.feed(data) if data else self._lines.rest())
        return bool(data)

    def drain(self) -> None:
        """Pass on the last words of a dead worker, but not for ever: what it has started may write on."""
        for _ in range(_LAST_READS):
            if self._ended or not self.read():
                return
        self._pass_on(self._lines.rest())

    def _pass_on(self, lines: list[str]) -> None:
        if lines:
            self._on_lines(self._number, lines)
