"""Finished runs on their way from a worker to its node, a batch at a time."""

from __future__ import annotations

import threading
from collections import deque
from time import perf_counter
from typing import TypeAlias

from meshq.protocol.payload import Payload
from meshq.workers.channel import BlockingChannel
from meshq.workers.link import BATCH_BYTES, BATCH_ROWS, DONE_PAYLOAD, DONES, LONG_S

DoneRow: TypeAlias = tuple[int, int, str, Payload, float]
"""The fields of a ``Done``: on the wire they are the same, and a named tuple takes eight times as long to make."""


class Results:
    """Collects results until a batch is due. Only the main thread adds; the control thread may flush too."""

    def __init__(self, channel: BlockingChannel) -> None:
        self._channel = channel
        self.pending: deque[DoneRow] = deque()
        """What has collected."""
        self._bytes = 0
        self._due_at = 0.0
        self._lock = threading.Lock()  # keeps the order of results where both threads flush

    def begin(self) -> None:
        """Start the clock: a batch of runs has arrived."""
        self._due_at = perf_counter() + LONG_S

    def add(self, done: DoneRow, now: float) -> bool:
        """Add a finished run; return whether to send what has collected. ``now`` is a ``perf_counter`` reading."""
        pending, payload = self.pending, done[3]
        pending.append(done)
        if type(payload) is bytes:
            self._bytes += len(payload)
        else:  # it may be a view into an array that the next run changes
            self._bytes += BATCH_BYTES
        return now >= self._due_at or self._bytes >= BATCH_BYTES or len(pending) >= BATCH_ROWS

    def flush(self) -> None:
        """Send what has collected."""
        with self._lock:
            take = self.pending.popleft
            rows = [take() for _ in range(len(self.pending))]
            self._bytes = 0
            self._due_at = perf_counter() + LONG_S
            if rows:
                self._channel.send(DONES, rows, DONE_PAYLOAD)
