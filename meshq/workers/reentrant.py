"""Work that threads share and that a signal handler may ask for in the middle of doing it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Reentrant:
    """Does ``job`` until nothing waits, in one thread at a time.

    Add to ``waiting``, then call ``run``. A handler that a user's signal starts amid the job, in the same
    thread, must neither wait for itself nor cut in: what it adds is left to the job that it has interrupted.
    """

    def __init__(self, waiting: deque[Any], job: Callable[[], object]) -> None:
        self._waiting = waiting
        self._job = job
        self._lock = threading.RLock()
        self._busy = False

    def run(self) -> None:
        """Return when the job has been done for all that this thread had added, or will be."""
        while self._waiting:
            with self._lock:
                if self._busy:
                    return
                self._busy = True
                try:
                    self._job()
                finally:
                    self._busy = False
