"""The loop of a worker's main thread: take a run, note its start, carry it out, send what came of it."""

from __future__ import annotations

from math import inf
from time import perf_counter
from typing import Any

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


class _Offer:
    """A function, None for one that is unknown here, and the mean time of its runs: infinite until the first."""

    __slots__ = ("function", "mean", "options")

    def __init__(self, function: Function | None) -> None:
        self.function = function
        self.options = function.options if function else _NOTHING
        self.mean = inf


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
        self._offers = {name: _Offer(function) for name, function in functions.items()}
        self._channel = channel
        self._backlog = backlog
        self._results = results
        self._control = control
        self._output = output
        self._slate = slate
        self._left = max_tasks or inf
        self._attempts = attempts
        self._carry_out = attempts.carry_out
        self._ended = False

    def turn(self) -> None:
        """Work until the end, and say so."""
        order, take, run = self._backlog.order, self._backlog.take, self._run
        while self._left and not self._ended:
            if not order:
                self._results.flush()
                self._read(wait=True)
            elif (row := take()) is not None:
                run(row)
                self._left -= 1
        self._results.flush()
        self._channel.send(RETIRING, [])

    def close(self) -> None:
        """End what async tasks have left behind."""
        self._attempts.close()

    def _run(self, row: Row) -> None:
        # One pass, with each look-up made once: a function for each of its steps cost a fifth more.
        results, output = self._results, self._output
        offer = self._offers.get(row[3]) or _Offer(None)
        if results.pending:
            # No result waits behind a run that is long, nor for good behind one that turns out to be.
            if offer.mean > LONG_S:
                results.flush()
            elif not self._control.awake:
                self._control.rouse()
        output.task = row[1]
        # From here on, if this process dies, this run is to blame.
        self._slate[0] = row[0]
        began = perf_counter()
        running.row, running.declared, running.began = row, offer.options, began
        status, encoding, payload = self._carry_out(offer.function, row)
        ended = perf_counter()
        running.row = None
        if output.written:
            output.end_run()
        output.task = b""
        took = ended - began
        offer.mean = took if offer.mean == inf else offer.mean + _NEWEST * (took - offer.mean)
        if results.add((row[0], status, encoding, payload, took), ended):
            results.flush()
            self._read(wait=False)

    def _read(self, wait: bool) -> None:
        """Take in the batches that have come; without ``wait``, only what is there already."""
        messages = self._channel.receive(wait)
        if messages is None:
            self._ended = True
            return
        for message in messages:
            self._backlog.add(message.items)
