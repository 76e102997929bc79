"""The soft time limit inside a worker: ``SoftTimeLimitExceeded`` is raised in the run that is past it.

The node asks over the control pair; the control thread then signals the main thread, again and again, until its
handler has dealt with the request. So a task that sleeps is woken, and a signal that comes just before it falls
asleep, or in the midst of this room's own code, is not the last one.

Rule: the handler runs in the main thread, between two of its steps, and raises only where a flag says that this
very run is inside its function. Nothing is raised into the worker's own work, nor into the run after.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType

from meshq.errors import SoftTimeLimitExceeded
from meshq.workers.output import Output

SIGNAL = signal.SIGURG
"""Ignored unless handled, so that nobody is harmed by one too many, nor a program that a task starts by the first.
It is what Go's runtime uses, for the same reasons."""
FIRST_PAUSE_MS, MAX_PAUSE_MS = 2, 500
_HERE = __name__.rpartition(".")[0] + "."


def exceeded() -> SoftTimeLimitExceeded:
    """Return what is raised in the task."""
    return SoftTimeLimitExceeded("the task has run past its soft time limit")


class SoftLimit:
    """One request at a time: the control thread writes it down, the main thread answers it."""

    def __init__(self, slate: memoryview, output: Output) -> None:
        self._slate = slate
        self._output = output
        self._asked = self._answered = 0
        """The run that is to be interrupted, and the last one for which that is settled."""
        self._main = threading.main_thread().ident or 0
        self.pause_ms: int | None = None
        """How long until the next signal; None: there is nothing to ask."""
        self.inside = False
        """Whether the main thread is in the function of a task."""
        self.interrupt: Callable[[], object] | None = None
        """Interrupts the coroutine of an async task, which waits while the main thread turns its loop."""
        self.call: CodeType | None = None
        self.chunk: CodeType | None = None
        self.step: CodeType | None = None
        """The code that calls the function of a task, or makes a chunk's calls, or takes a coroutine further."""

    def install(self) -> None:
        """Handle the signal from now on. For the main thread."""
        signal.signal(SIGNAL, self._on_signal)

    def forget(self) -> None:
        """Drop what was asked: a task has forked, and this is the copy."""
        self._answered = self._asked

    # ---- for the control thread

    def ask(self, run: int) -> None:
        """Interrupt a run as soon as it is inside its function; nothing happens where it has ended."""
        self._asked, self.pause_ms = run, FIRST_PAUSE_MS
        signal.pthread_kill(self._main, SIGNAL)

    def remind(self) -> None:
        """Signal once more, if the request is not settled."""
        if self.pause_ms is None:
            return
        if self._asked == self._answered:
            self.pause_ms = None
        else:
            self.pause_ms = min(2 * self.pause_ms, MAX_PAUSE_MS)
            signal.pthread_kill(self._main, SIGNAL)

    # ---- in the main thread

    def _on_signal(self, _: int, frame: FrameType | None) -> None:
        run, started = self._asked, self._slate[0]
        if run == self._answered or started < run:
            return
        if started > run or not self._output.task:
            self._answered = run  # it has ended
        elif self.inside:
            if self._is_amid_our_code(frame):
                self._output.on_written = self._on_written
            else:
                self._answered, self.inside = run, False
                raise exceeded()
        elif self.interrupt is not None:
            self._answered = run
            self.interrupt()

    def _on_written(self) -> None:
        """Raise, where output was written, what could not be raised meanwhile: a task may do little else."""
        if threading.get_ident() == self._main:
            self._output.on_written = None
            self._on_signal(SIGNAL, sys._getframe(2))

    def _is_amid_our_code(self, frame: FrameType | None) -> bool:
        """Whether the task has called what must not be torn apart, such as the writing of its output."""
        if frame is not None and frame.f_code is self.step:
            return True  # what is raised between two steps would not get into the coroutine
        while frame is not None and frame.f_code not in (self.call, self.chunk, self.step):
            if frame.f_globals.get("__name__", "").startswith(_HERE):
                return True
            frame = frame.f_back
        return False
