"""A line that says what is waited for: on a terminal, and only after the first second."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meshq.cli.output import is_terminal

if TYPE_CHECKING:
    from rich.status import Status

DELAY_S = 1.0
"""Whatever is quicker says nothing: a line that flashes up only disturbs."""


class Waiting:
    """Shows a spinner with a text on stderr while its block runs.

    Nothing is shown where stderr is no terminal, nor with ``quiet``, for programs that read along.
    """

    def __init__(self, text: str, quiet: bool = False) -> None:
        self._text = text
        self._status: Status | None = None
        self._over = False
        self._lock = threading.Lock()
        self._timer = None if quiet or not is_terminal(sys.stderr) else threading.Timer(DELAY_S, self._show)

    def say(self, text: str) -> None:
        """Say what is waited for from now on."""
        with self._lock:
            self._text = text
            if self._status is not None:
                self._status.update(text)

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._over = True
            if self._status is not None:
                self._status.stop()

    def _show(self) -> None:
        from rich.console import Console

        with self._lock:
            if not self._over:
                self._status = Console(stderr=True).status(self._text)
                self._status.start()
