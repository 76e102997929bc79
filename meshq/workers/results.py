"""Finished runs on their way from a worker to its node, a batch at a time."""

from __future__ import annotations

import threading
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
        self.pending: list[DoneRow] = []
        """What has collected. Adding to it, copying it and cutting off its beginning are safe between threads."""
        self._bytes = 0
        self._due_at = 0.0
        """When what has collected is to leave: ``LONG_S`` after the first run of it has begun."""
        self._lock = threading.Lock()  # keeps the order of results where both threads flush

    def add(self, done: DoneRow, now: float) -> bool:
        """Add a finished run; return whether to send what has collected. ``now`` is a ``perf_counter`` reading."""
        pending, payload = self.pending, done[3]
        if not pending:
            self._due_at = now - done[4] + LONG_S
        pending.append(done)
        if type(payload) is bytes:
            self._bytes += len(payload)
        else:  # it may be a view into an array that the next run changes
            self._bytes += BATCH_BYTES
        return now >= self._due_at or self._bytes >= BATCH_BYTES or len(pending) >= BATCH_ROWS

    def flush(self) -> None:
        """Send what has collected."""
        with self._lock:
            rows = self.pending[:]
            self._bytes = 0
            if rows:
                del self.pending[: len(rows)]
                self._channel.send(DONES, rows, DONE_PAYLOAD)
