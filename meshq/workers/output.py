"""``sys.stdout`` and ``sys.stderr`` of a worker: each line goes to the node with the id of its task."""

from __future__ import annotations

import io
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshq.workers.lines import Lines
from meshq.workers.reentrant import Reentrant

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

Emit = Callable[[bytes, int, list[str]], None]
"""Takes a task's id (b"" between tasks), the descriptor that the stream stands for, and lines."""


class _Tagged(io.RawIOBase):
    """The bytes below one text stream."""

    def __init__(self, output: Output, number: int) -> None:
        super().__init__()
        self._output = output
        self._number = number
        self._lines = Lines()
        self._chunks: deque[bytes | None] = deque()
        self._pass_on = Reentrant(self._chunks, self._cut)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return 1 or 2: a pipe to the node, for subprocesses and code in C."""
        return self._number

    def write(self, data: Buffer) -> int:
        chunk = bytes(data)
        if self._output.forked:
            os.write(self._number, chunk)
            return len(chunk)
        self._output.written = True
        self._chunks.append(chunk)
        self._pass_on.run()
        if self._output.on_written is not None:
            self._output.on_written()
        return len(chunk)

    def end_line(self) -> None:
        """Send the line that was begun, if any."""
        if self._lines.unfinished:
            self._chunks.append(None)
            self._pass_on.run()

    def _cut(self) -> None:
        while self._chunks:
            chunk = self._chunks.popleft()
            lines = self._lines.rest() if chunk is None else self._lines.feed(chunk)
            if lines:
                self._output.emit(self._number, lines)

    def close(self) -> None:
        """Do nothing: the stream belongs to the worker, not to the task that closes it."""


class Output:
    """Both streams. ``task`` is the id of the task in progress, b"" between tasks."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._streams = (_Tagged(self, 1), _Tagged(self, 2))
        self.task = b""
        self.forked = False
        self.written = False
        """Whether anything was written since the last end of a run."""
        self.on_written: Callable[[], None] | None = None
        """Called at the end of a write, if something was put off until then; what it raises gets to the writer."""

    def emit(self, number: int, lines: list[str]) -> None:
        """Send lines of the task in progress."""
        self._emit(self.task, number, lines)

    def install(self) -> None:
        """Put the streams in the place of ``sys.stdout`` and ``sys.stderr``."""
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True, write_through=True)  # type: ignore[type-var]
            for raw in self._streams
        )

    def end_run(self) -> None:
        """Send the lines that a run began and left open."""
        self.written = False  # first: a thread that writes meanwhile is dealt with now or at the next end
        for stream in self._streams:
            stream.end_line()
