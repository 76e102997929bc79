"""The workers of a node, one a slot.

The node's loop thread, which must live as long as the node, is the only one that may use a pool: the kernel
kills a worker when the thread that started it ends. The pool restarts nothing by itself. Each ``start`` ends
in exactly one of ``on_failed`` (the modules cannot be loaded, or the worker died while it loaded them) and a
WorkerGone event; after either the slot may be started again, from within the callback too. What is asked of
a slot whose worker is gone does nothing: its WorkerGone has told of every run handed to it, or is about to be
read by whoever does not know yet.

What a task starts and leaves running in the worker's process group ends with the worker.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence

from meshq.core.work import Run, WorkerEvent, WorkerGone
from meshq.errors import LocalProtocolError
from meshq.workers.link import WorkerSpec
from meshq.workers.worker import LoopPort, Worker

__all__ = ["LoopPort", "Pool", "WorkerSpec"]


class Pool:
    """Starts, feeds, watches and ends workers.

    ``on_event`` gets every WorkerEvent; ``on_output(task, stream, line, slot)`` each line that a task prints,
    with the task's id as people read it ("" between tasks) and "stdout" or "stderr"; ``on_failed(slot, text)``
    why a worker could not be started.
    """

    def __init__(
        self,
        loop: LoopPort,
        spec: WorkerSpec,
        on_event: Callable[[WorkerEvent], None],
        on_output: Callable[[str, str, str, int], None],
        on_failed: Callable[[int, str], None],
    ) -> None:
        self._loop = loop
        self._spec = spec
        self.on_event = on_event
        self._on_output = on_output
        self._on_failed = on_failed
        self._workers: dict[int, Worker] = {}
        self._closing = False

    def start(self, slot: int) -> None:
        """Start a worker for a free slot; WorkerReady follows. A pool that closes starts nothing."""
        if self._closing:
            return
        if slot in self._workers:
            raise LocalProtocolError(f"slot {slot} has a worker already")
        try:
            self._workers[slot] = Worker(slot, self._spec, self._loop, self)
        except OSError as error:
            self._on_failed(slot, f"no worker process can be started: {error}")

    def run(self, slot: int, runs: Sequence[Run]) -> None:
        """Hand runs to a worker, in order. They are in the next WorkerGone where the worker is dying."""
        if slot in self._workers:
            self._workers[slot].run(runs)

    def recall(self, slot: int, runs: Sequence[int]) -> None:
        """Ask for runs back unless they have started; one WorkerRecalled answers for all, or WorkerGone."""
        if slot in self._workers:
            self._workers[slot].recall(list(runs))

    def soft_limit(self, slot: int, run: int) -> None:
        """Have ``SoftTimeLimitExceeded`` raised in a run as soon as it is inside its function."""
        if slot in self._workers:
            self._workers[slot].soft_limit(run)

    def signal(self, slot: int, signum: int) -> None:
        """Send a signal to a worker's process."""
        if slot in self._workers:
            self._workers[slot].signal(signum)

    def kill(self, slot: int) -> None:
        """Kill a worker, with the processes that its tasks have started; WorkerGone follows."""
        if slot in self._workers:
            self._workers[slot].kill()

    def stop(self, slot: int) -> None:
        """Ask a worker to end after its run; WorkerGone(retired=True) follows, and means all unstarted runs."""
        if slot in self._workers:
            self._workers[slot].stop()

    def pid(self, slot: int) -> int | None:
        """Return the process id of a slot's worker, None where there is none."""
        worker = self._workers.get(slot)
        return None if worker is None else worker.pid

    def pids(self) -> dict[int, int]:
        """Return the process id of each worker, by its slot."""
        return {slot: worker.pid for slot, worker in self._workers.items()}

    def close(self, grace_s: float = 0.0) -> None:
        """End all workers and reap them: those that have not gone by themselves after ``grace_s`` are killed.

        Waits at most ``grace_s`` and a moment. Events go on being delivered meanwhile. Not for use in a callback.
        """
        self._closing = True
        for worker in self._workers.values():
            worker.stop()
        until = time.monotonic() + grace_s
        while self._workers and (left := until - time.monotonic()) > 0:
            self._turn(left)
        for worker in list(self._workers.values()):
            worker.kill()
            worker.end()

    def _turn(self, seconds: float) -> None:
        """Do the loop's work for the workers alone."""
        poller = select.poll()
        for worker in self._workers.values():
            for obj in worker.watched():
                poller.register(obj, select.POLLIN)
        ready = {fd for fd, _ in poller.poll(seconds * 1000)}
        for worker in list(self._workers.values()):
            worker.turn(ready)

    # ---- what workers report

    def on_lines(self, slot: int, task: str, stream: str, lines: list[str]) -> None:
        """Pass on lines that a task has printed."""
        for line in lines:
            self._on_output(task, stream, line, slot)

    def on_end(self, worker: Worker, gone: WorkerGone) -> None:
        """Free the slot of a worker that is gone, and say how it went."""
        del self._workers[worker.slot]
        if worker.ready or worker.leaving:
            self.on_event(gone)
        else:
            died = f"the worker died while it loaded its modules: {gone.reason}"
            self._on_failed(worker.slot, worker.failure or died)
