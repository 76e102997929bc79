"""Finished runs on their way from a worker to its node, a batch at a time."""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter

from meshq.core.work import Done
from meshq.workers.channel import BlockingChannel
from meshq.workers.link import BATCH_BYTES, BATCH_ROWS, DONE_PAYLOAD, DONES, LONG_S


class Results:
    """Collects results until a batch is due. Only the main thread adds; the control thread may flush too."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self._pending: deque[Done] = deque()
        self._bytes = 0
        self._due_at = 0.0
        self._lock = threading.Lock()  # keeps the order of results where both threads flush

    def __bool__(self) -> bool:
        return bool(self._pending)

    def begin(self) -> None:
        """Start the clock: a batch of runs has arrived."""
        self._due_at = perf_counter() + LONG_S

    def add(self, done: Done) -> None:
        """Add a finished run."""
        self._pending.append(done)
        if type(done.payload) is bytes:
            self._bytes += len(done.payload)
        else:  # it may be a view into an array that the next run changes
            self._bytes += BATCH_BYTES

    def due(self, now: float) -> bool:
        """Whether to send what has collected. ``now`` is a ``perf_counter`` reading."""
        return now >= self._due_at or self._bytes >= BATCH_BYTES or len(self._pending) >= BATCH_ROWS

    def flush(self) -> None:
        """Send what has collected."""
        with self._lock:
            rows = []
            while self._pending:
                rows.append(self._pending.popleft())
            self._bytes = 0
            self._due_at = perf_counter() + LONG_S
            if rows:
                self._channel.send(DONES, rows, DONE_PAYLOAD)
