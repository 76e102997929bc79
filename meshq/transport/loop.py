"""The poller loop: one thread turns it, and all sockets and all state of a process live in that thread.

A plain ``zmq.Poller``, because polling zmq sockets themselves is level-triggered: their file descriptors are
edge-triggered, and any send or receive may swallow the edge.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import zmq
from zmq import zmq_poll  # what the poller calls, after some steps that each look would take

from meshq.transport import looking

logger = logging.getLogger("meshq.loop")

_IN, _OUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_let_others_run: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0))
"""What is looked for comes from threads that may need this very core: without this one trip in a hundred takes
the whole ``SPIN_S`` longer."""
LONGEST_POLL_S = 3600.0
"""A longer timeout returns after this much all the same; poll counts milliseconds in a C int."""


class HasFileno(Protocol):
    """Anything that the operating system can poll."""

    def fileno(self) -> int: ...


Source: TypeAlias = "zmq.Socket[bytes] | int | HasFileno"
Callback: TypeAlias = Callable[[], None]
_Key: TypeAlias = "zmq.Socket[bytes] | int"


class Loop:
    """Waits for sources and calls their callbacks, then the calls that other threads have posted.

    Everything but ``post`` belongs to the thread that turns the loop. A source must be unregistered before it
    is closed. Callbacks must not block, and must bear being called when nothing is ready.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._readers: dict[_Key, Callback] = {}
        self._writers: dict[_Key, Callback] = {}
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._asleep = False
        self._looking = looking.Looking()
        self._last_wait: tuple[float, bool, bool] | None = None
        """What to take note of before the next wait: what the last one was for has no time for that."""
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self.wakeups = 0
        self.saw_it_come = False
        """Whether the turn has looked in vain, before something came: so it is one message, as a rule."""
        self.register(self._wake_in, self._drain_wakeups)

    def register(self, source: Source, callback: Callback) -> None:
        """Call ``callback`` on each turn in which ``source`` can be read, or has failed."""
        key = _key(source)
        self._readers[key] = callback
        self._watch(key)

    def register_write(self, source: Source, callback: Callback) -> None:
        """Call ``callback`` on each turn in which ``source`` can be written, until ``unregister_write``."""
        key = _key(source)
        self._writers[key] = callback
        self._watch(key)

    def unregister_write(self, source: Source) -> None:
        """Stop watching for room to write; nothing happens where that was not watched."""
        key = _key(source)
        if self._writers.pop(key, None) is not None:
            self._watch(key)

    def unregister(self, source: Source) -> None:
        """Forget ``source``, for reading and for writing; nothing happens where it is unknown."""
        key = _key(source)
        self._readers.pop(key, None)
        self._writers.pop(key, None)
        self._watch(key)

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Have the loop call ``fn(*args)`` soon. Any thread and any signal handler may do this.

        However many calls are posted before the loop comes round, they wake it once. After ``close`` the
        call is dropped.
        """
        self._posted.append((fn, args))
        # The loop says that it sleeps before it looks at the queue for the last time, and here the call is
        # queued before the flag is read; so either the loop sees the call, or this sees the flag.
        if self._asleep:
            self._asleep = False
            self._wake()

    def turn(self, timeout_s: float | None, *, eager: bool = False) -> None:
        """Wait until something is ready, at most ``timeout_s`` seconds (None: for ever), and deal with it.

        An ``eager`` turn looks for a moment before it sleeps, as long as waits turn out to be shorter by that.
        """
        may_look = eager and (timeout_s is None or timeout_s >= looking.SPIN_S)
        looks = may_look and self._wants_to_look()
        self.saw_it_come = False
        began_at = time.perf_counter()
        ready = self._look(began_at + looking.SPIN_S) if looks else []
        in_vain = looks and not ready and not self._posted
        if in_vain and timeout_s is not None:
            timeout_s = max(0.0, timeout_s - (time.perf_counter() - began_at))
        if not ready:
            self.saw_it_come = False  # while it slept, many may have come
            ready = self._sleep(timeout_s)
        if may_look:
            self._last_wait = time.perf_counter() - began_at, looks, in_vain
        for source, events in ready:
            if events & ~_OUT:  # an error, too: to be found by reading
                self._call(self._readers, source)
            if events & ~_IN:
                self._call(self._writers, source)
        if self._posted:
            self.run_posted()

    def _wants_to_look(self) -> bool:
        if self._last_wait is not None:
            self._looking.waited(*self._last_wait)
            self._last_wait = None
        return self._looking.wanted()

    def _look(self, end_at: float) -> list[tuple[_Key, int]]:
        """Poll again and again until ``end_at``; return what is ready."""
        sources = self._poller.sockets
        ready: list[tuple[_Key, int]] = []
        while not self._posted and not (ready := zmq_poll(sources, 0)):
            self.saw_it_come = True
            _let_others_run()
            if time.perf_counter() >= end_at:
                break
        if self.saw_it_come and time.perf_counter() >= end_at:
            self.saw_it_come = False  # as when it was stopped meanwhile, and many have come
        return ready

    def _sleep(self, timeout_s: float | None) -> list[tuple[_Key, int]]:
        self._asleep = True
        milliseconds = 0 if self._posted else _milliseconds(timeout_s)
        ready: list[tuple[_Key, int]] = zmq_poll(self._poller.sockets, milliseconds)
        self._asleep = False
        return ready

    def close(self) -> None:
        """Forget all sources and all posted calls. The sources themselves stay open."""
        self._asleep = False
        self._posted = deque(maxlen=0)
        self._readers.clear()
        self._writers.clear()
        self._poller = zmq.Poller()
        self._wake_in.close()
        self._wake_out.close()

    def _watch(self, key: _Key) -> None:
        wanted = (_IN if key in self._readers else 0) | (_OUT if key in self._writers else 0)
        self._poller.register(key, wanted)  # with nothing wanted, this unregisters

    def _call(self, callbacks: dict[_Key, Callback], source: _Key) -> None:
        callback = callbacks.get(source)  # a callback before this one may have unregistered it
        if callback is None:
            return
        try:
            callback()
        except Exception:
            logger.exception("the callback of %r failed", source)

    def run_posted(self) -> None:
        """Run the calls posted so far; ``turn`` does this too."""
        # Only what is there now: calls that post further calls must not keep the sockets waiting.
        for _ in range(len(self._posted)):
            fn, args = self._posted.popleft()
            try:
                fn(*args)
            except Exception:
                logger.exception("the posted call of %r failed", fn)

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except OSError:
            pass  # the pipe is full, so the loop will wake anyway; or the loop is closed

    def _drain_wakeups(self) -> None:
        self.wakeups += 1
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            pass


def _key(source: Source) -> _Key:
    return source if isinstance(source, (zmq.Socket, int)) else source.fileno()


def _milliseconds(timeout_s: float | None) -> int:
    """Round up, so that a deadline in 0.2 ms is slept through, and not spun towards; -1 stands for ever."""
    if timeout_s is None:
        return -1
    return math.ceil(min(max(timeout_s, 0.0), LONGEST_POLL_S) * 1000)
