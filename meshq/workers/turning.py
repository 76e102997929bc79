"""The loop of a worker's main thread: take a run, note its start, carry it out, send what came of it."""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import Any

from meshq.core.work import Done
from meshq.tasks import Function, running
from meshq.workers.attempt import Attempts
from meshq.workers.backlog import Backlog, Row
from meshq.workers.channel import BlockingChannel
from meshq.workers.control import ControlThread
from meshq.workers.link import LONG_S, RETIRING
from meshq.workers.output import Output
from meshq.workers.results import Results

# The weight of the newest run in a function's mean time.
_NEWEST = 0.2
_NOTHING: dict[str, Any] = {}


class WorkerLoop:
    """Runs tasks one at a time until the node ends the stream, or ``max_tasks`` have run (0: no limit)."""

    def __init__(
        self,
        functions: dict[str, Function],
        channel: BlockingChannel,
        backlog: Backlog,
        results: Results,
        control: ControlThread,
        output: Output,
        slate: memoryview,
        attempts: Attempts,
        max_tasks: int,
    ) -> None:
        self._functions = functions
        self._means = dict.fromkeys(functions, inf)
        self._channel = channel
        self._backlog = backlog
        self._results = results
        self._control = control
        self._output = output
        self._slate = slate
        self._left = max_tasks or inf
        self._attempts = attempts
        self._ended = False

    def turn(self) -> None:
        """Work until the end, and say so."""
        while self._left and not self._ended:
            row = self._backlog.take()
            if row is None:
                self._results.flush()
                self._read(wait=True)
                self._results.begin()
            else:
                self._run(row)
                self._left -= 1
        self._results.flush()
        self._channel.send(RETIRING, [])

    def close(self) -> None:
        """End what async tasks have left behind."""
        self._attempts.close()

    def _run(self, row: Row) -> None:
        self._before(row[3])
        self._output.task = row[1]
        # From here on, if this process dies, this run is to blame.
        self._slate[0] = row[0]
        began = perf_counter()
        function = self._functions.get(row[3])
        running.row, running.declared, running.began = row, function.options if function else _NOTHING, began
        status, encoding, payload = self._attempts.carry_out(function, row)
        ended = perf_counter()
        running.row = None
        self._output.end_run()
        self._output.task = b""
        self._learn(row[3], ended - began)
        self._results.add(Done(row[0], status, encoding, payload, ended - began))
        if self._results.due(ended):
            self._results.flush()
            self._read(wait=False)

    def _before(self, name: str) -> None:
        """Let no result wait behind a run that is long, and guard against one that turns out to be."""
        if self._results:
            if self._means.get(name, inf) > LONG_S:
                self._results.flush()
            else:
                self._control.rouse()

    def _learn(self, name: str, seconds: float) -> None:
        mean = self._means.get(name)
        if mean is not None:
            self._means[name] = seconds if mean == inf else mean + _NEWEST * (seconds - mean)

    def _read(self, wait: bool) -> None:
        """Take in the batches that have come; without ``wait``, only what is there already."""
        messages = self._channel.receive(wait)
        if messages is None:
            self._ended = True
            return
        for message in messages:
            self._backlog.add(message.items)
