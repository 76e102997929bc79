"""The control thread of a worker: recalls, soft limits, and results that leave while the main thread is busy."""

from __future__ import annotations

import os
import select
import threading

from meshq.workers.backlog import Backlog
from meshq.workers.channel import BlockingChannel
from meshq.workers.chunks import Chunks
from meshq.workers.link import BROKEN_EXIT, RECALLED, SOFT_LIMIT
from meshq.workers.results import Results
from meshq.workers.soft_limit import SoftLimit

# A run that was expected to be short and is not holds the results before it back for this long, plus the
# interpreter's switch interval (5 ms) where it never lets go.
_HELD_UP_MS = 2


class ControlThread:
    """Reads the control pair. Its end means that the node is dead, and then this process ends at once.

    ``rouse()`` asks it to look after results that a run may leave waiting. It sleeps for good otherwise: an
    idle worker wakes for nothing.
    """

    def __init__(
        self, channel: BlockingChannel, backlog: Backlog, results: Results, soft: SoftLimit, chunks: Chunks
    ) -> None:
        self._channel = channel
        self._backlog = backlog
        self._results = results
        self._soft = soft
        self._chunks = chunks
        chunks.rouse = self.rouse
        self._bell, self._rope = os.pipe()
        self.awake = False

    def start(self) -> None:
        """Start the thread, which ends with the process."""
        threading.Thread(target=self._turn, name="meshq-control", daemon=True).start()

    def rouse(self) -> None:
        """See to it that what is in the results now leaves within milliseconds. For the main thread."""
        if not self.awake:
            self.awake = True
            os.write(self._rope, b"!")

    def _turn(self) -> None:
        try:
            poller = select.poll()
            poller.register(self._channel, select.POLLIN)
            poller.register(self._bell, select.POLLIN)
            while True:
                ready = [fd for fd, _ in poller.poll(self._pause_ms())]
                self._soft.remind()
                self._chunks.remind()
                if self._bell in ready:
                    os.read(self._bell, 1)
                else:
                    self._look_after_results()
                if self._channel.fileno() in ready:
                    self._answer()
        except OSError:  # a write failed: the node is gone
            os._exit(BROKEN_EXIT)

    def _pause_ms(self) -> int | None:
        if self.awake:
            return _HELD_UP_MS
        pauses = self._soft.pause_ms, self._chunks.look_in_ms()
        return min((pause for pause in pauses if pause is not None), default=None)

    def _look_after_results(self) -> None:
        # First lie down, then look: a result added after the look finds this thread asleep, and rouses it.
        self.awake = False
        if self._results.pending:
            self._results.flush()

    def _answer(self) -> None:
        messages = self._channel.receive()
        if messages is None:
            os._exit(BROKEN_EXIT)
        for message in messages:
            if message.kind == SOFT_LIMIT:
                self._soft.ask(message.items[0])
            else:
                self._channel.send(RECALLED, [message.items, self._backlog.recall(message.items)])
