"""One worker as the node sees it: a process, its two channels, its output, and its end."""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol

from meshq.core.work import (
    FunctionInfo,
    Run,
    WorkerDone,
    WorkerEvent,
    WorkerGone,
    WorkerReady,
    WorkerRecalled,
)
from meshq.errors import RemoteProtocolError
from meshq.ids import format_id
from meshq.protocol.messages import LONGEST_NAME, Status
from meshq.workers import link
from meshq.workers.channel import PeerChannel
from meshq.workers.link import WorkerSpec
from meshq.workers.pipes import OutputPipe
from meshq.workers.spawn import spawn

_new = tuple.__new__  # what WorkerDone(…) calls, which takes 100 ns more
_STATUSES = frozenset(map(int, Status))
_BUFFERS = frozenset({bytes, memoryview})
# The ends that a worker which was asked to go may come to without its run being to blame.
_ORDERLY = ("exit code 0", "killed by SIGKILL", "killed by SIGTERM")


class LoopPort(Protocol):
    """What a worker needs of the node's loop. Objects are descriptors, or have ``fileno()``."""

    def register(self, obj: Any, callback: Callable[[], None], /) -> None: ...
    def unregister(self, obj: Any, /) -> None: ...
    def register_write(self, obj: Any, callback: Callable[[], None], /) -> None: ...
    def unregister_write(self, obj: Any, /) -> None: ...


class Keeper(Protocol):
    """Who is told of what a worker does."""

    def on_event(self, event: WorkerEvent) -> None: ...
    def on_lines(self, slot: int, task: str, stream: str, lines: list[str]) -> None: ...
    def on_end(self, worker: Worker, gone: WorkerGone) -> None: ...


class Worker:
    """A worker process and the node's ends of what connects them. Raises OSError where none can be started."""

    def __init__(self, slot: int, spec: WorkerSpec, loop: LoopPort, keeper: Keeper) -> None:
        self.slot = slot
        self._loop = loop
        self._keeper = keeper
        self._process = spawn(spec)
        self._data = PeerChannel(self._process.data)
        self._control = PeerChannel(self._process.control)
        self._pipes = [OutputPipe(fd, number, self._on_lines) for number, fd in self._process.pipes.items()]
        self._batches: deque[Sequence[Run]] = deque()
        """What the worker was given, by number, without the batches that have ended wholly. Who asks for one run
        pays for the search: a table of all by their numbers took 0.1 µs of each."""
        self._last_given = self._last_done = 0
        """The run that ended last; those before it have ended too, or were given back."""
        self._writing: set[PeerChannel] = set()
        self._watched: dict[Any, Callable[[], None]] = {}
        self.ready = False
        self.leaving = False
        """Whether it is to end, or has said that it does."""
        self._retired = False
        self.failure = ""
        self._over = False
        self._closed = False
        self._read_message: dict[int, Callable[[list[Any]], WorkerEvent | None]] = {
            link.READY: self._ready, link.FAILED: self._failed, link.DONES: self._dones, link.OUTPUT: self._output,
            link.RETIRING: self._retiring, link.RECALLED: self._recalled,
        }  # fmt: skip
        self._watch_all()
        self._send(self._data, link.SPEC, link.spec_items(spec, slot))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.popen.pid

    def run(self, runs: Sequence[Run]) -> None:
        """Hand out runs, in order, with one write. Raises LocalProtocolError for a payload above 4 GiB."""
        for batch in link.batches(runs):
            self._batches.append(batch)
            self._last_given = batch[-1].run
            self._data.put(link.RUNS, batch, link.RUN_PAYLOAD)
        self._flush(self._data)

    def recall(self, runs: list[int]) -> None:
        """Ask for runs back; WorkerRecalled answers, at once for the run in progress."""
        if self._is_in_progress(runs):
            # Code in C that lets no other thread run, or a stopped process, would never answer.
            self._keeper.on_event(WorkerRecalled(self.slot, runs, []))
        else:
            self._send(self._control, link.RECALL, runs)

    def _is_in_progress(self, runs: list[int]) -> bool:
        """Whether this is the one run that was started last, and its end is not known."""
        if runs != [self._process.started()]:
            return False
        self._read(self._data)  # which may tell of its end
        return runs[0] > self._last_done

    def soft_limit(self, run: int) -> None:
        """Have ``SoftTimeLimitExceeded`` raised in a run, unless it ends before."""
        self._send(self._control, link.SOFT_LIMIT, [run])

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.signal(number)

    def kill(self) -> None:
        """Kill the process, and what its tasks have started."""
        self._process.kill_group()

    def stop(self) -> None:
        """Have the process end after its run; what it has not read is dropped."""
        self.leaving = True
        self._stop_writing(self._data)
        self._data.finish()

    def watched(self) -> Iterator[Any]:
        """Yield the objects that are watched for reading."""
        return iter(self._watched)

    def turn(self, ready: set[int]) -> None:
        """Do what the loop would do for the descriptors that are ready."""
        for obj, callback in list(self._watched.items()):
            if (obj if isinstance(obj, int) else obj.fileno()) in ready:
                callback()

    def end(self) -> None:
        """Take leave of a process that is dead or dying: first all that it has said, then its end."""
        if self._over:
            return
        self._over = True
        for channel in (self._data, self._control):
            self._read(channel)
            while not channel.dry:
                self._read(channel)
        started = self._process.started()
        self._process.kill_group()
        for pipe in self._pipes:
            pipe.drain()
        reason = self._process.reap()
        self._close()
        planned = self._retired or (self.leaving and reason in _ORDERLY)
        self._keeper.on_end(self, WorkerGone(self.slot, started, reason, planned))

    def _watch_all(self) -> None:
        self._watch(self._data, self._on_data)
        self._watch(self._control, lambda: self._read(self._control))
        for pipe in self._pipes:
            self._watch(pipe, partial(self._on_pipe, pipe))
        if self._process.pidfd is not None:
            self._watch(self._process.pidfd, self._on_exit)

    def _watch(self, obj: Any, callback: Callable[[], None]) -> None:
        self._watched[obj] = callback
        self._loop.register(obj, callback)

    def _unwatch(self, obj: Any) -> None:
        if self._watched.pop(obj, None) is not None:
            self._loop.unregister(obj)

    def _send(self, channel: PeerChannel, kind: int, items: list[Any]) -> None:
        channel.put(kind, items)
        self._flush(channel)

    def _flush(self, channel: PeerChannel) -> None:
        """Write what the socket takes, and the rest when it takes more."""
        if channel.flush():
            if self._writing:
                self._stop_writing(channel)
        elif channel not in self._writing:
            self._writing.add(channel)
            self._loop.register_write(channel, partial(self._flush, channel))

    def _stop_writing(self, channel: PeerChannel) -> None:
        if channel in self._writing:
            self._writing.discard(channel)
            self._loop.unregister_write(channel)

    def _on_data(self) -> None:
        self._read(self._data)
        if self._closed or not self._data.eof:
            return
        self._unwatch(self._data)
        if self._process.pidfd is None:
            self.end()
        elif not self.leaving and not self.failure:
            # It is dying, as a rule, and then this changes nothing. Else a task has closed the link.
            self.kill()

    def _on_pipe(self, pipe: OutputPipe) -> None:
        if not self._closed and not pipe.read():
            self._unwatch(pipe)

    def _on_exit(self) -> None:
        if self._process.is_dead():  # a loop may call back without cause, where a descriptor was used anew
            self.end()

    def _read(self, channel: PeerChannel) -> None:
        """Take in what a channel has; a worker that talks rubbish is killed."""
        if self._closed:
            return
        try:
            for kind, items in channel.feed():
                try:
                    event = self._read_message[kind](items)
                except (TypeError, ValueError, LookupError) as error:
                    raise RemoteProtocolError(f"a worker's message cannot be read: {error}") from error
                if event is not None:
                    self._keeper.on_event(event)
        except RemoteProtocolError:
            channel.eof = channel.dry = True
            self._unwatch(channel)
            self.kill()
        if channel.eof and channel is self._control:
            self._unwatch(channel)

    def _ready(self, items: list[Any]) -> WorkerReady:
        self.ready = True
        return WorkerReady(self.slot, items[0], [FunctionInfo(*row) for row in items[1]], tuple(items[2]))

    def _failed(self, items: list[Any]) -> None:
        self.failure = str(items[0])

    def _dones(self, items: list[Any]) -> WorkerDone:
        # Code of users in the worker may write to the link, too; what passes here goes on to clients as it is.
        last = items[0][0]  # fails where there is no row
        for row in items:
            run, status, encoding, payload, seconds = row
            if (
                type(row) is not list
                or type(run) is not int
                or (type(status) is not int or status not in _STATUSES)
                or (type(encoding) is not str or len(encoding) > LONGEST_NAME)
                or (type(payload) is not bytes and not _is_payload(payload))
                or ((type(seconds) is not float and type(seconds) is not int) or not 0 <= seconds < inf)
            ):
                raise ValueError(f"a row is not a Done: {reprlib.repr(row)}")
            if run > last:
                last = run
        if last > self._last_given:
            raise ValueError(f"run {last} was not handed out")
        if last > self._last_done:
            self._last_done = last
        while self._batches and self._batches[0][-1].run <= self._last_done:
            self._batches.popleft()
        return _new(WorkerDone, (self.slot, items))

    def _recalled(self, items: list[Any]) -> WorkerRecalled:
        given_back = set(items[1])
        left = ([run for run in batch if run.run not in given_back] for batch in self._batches)
        self._batches = deque(batch for batch in left if batch)
        return WorkerRecalled(self.slot, items[0], items[1])

    def _task_of(self, number: int) -> bytes:
        """Return the task of a run that has not ended, b"" where there is no such run."""
        runs = (run.task for batch in self._batches for run in batch if run.run == number > self._last_done)
        return next(runs, b"")

    def _retiring(self, _: list[Any]) -> None:
        self.leaving = self._retired = True

    def _output(self, items: list[Any]) -> None:
        task, number, *lines = items
        self._tell(task, number, lines)

    def _on_lines(self, number: int, lines: list[str]) -> None:
        """Pass on what code in C and subprocesses have written; it counts for the task in progress."""
        self._tell(self._task_of(self._process.started()), number, lines)

    def _tell(self, task: bytes, number: int, lines: list[str]) -> None:
        self._keeper.on_lines(self.slot, format_id(task) if task else "", link.STREAMS[number], lines)

    def _close(self) -> None:
        self._closed = True
        for channel in (self._data, self._control):
            self._stop_writing(channel)
        for obj in list(self._watched):
            self._unwatch(obj)
        self._data.close()
        self._control.close()
        self._process.close()


def _is_payload(value: object) -> bool:
    """Whether this is a payload of several buffers."""
    return isinstance(value, list) and _BUFFERS.issuperset(map(type, value))
