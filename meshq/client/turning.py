"""Who turns a client's loop: a thread of its own, or for a while the thread that waits for a result.

A result that is waited for by the thread that turns the loop needs no waking of one thread by another, twice a
round trip. So whoever waits may take the *seat* from the loop's own thread, which then stands by, and sits down
again when the seat has been empty for some milliseconds. The seat is a lock: its holder may touch the sockets.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from meshq.errors import MeshqError

EMPTY_S = 0.002
"""A seat empty for longer is taken by the loop's own thread: callers in a row come back much sooner."""
LOOK_S = 0.005
"""How long that thread sleeps at most before it looks again whether the seat is empty: each look delays whoever
sits there by some 30 µs, and with one every ``EMPTY_S`` that was one round trip in six."""
LONG_S = 0.02
"""Who has waited for this long hands the seat back at once when leaving, as no other call is likely to follow."""

_main: int | None = None
"""The main thread, by its number."""


def _note_main() -> None:
    global _main
    _main = threading.main_thread().ident


_note_main()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_main)  # there it is the thread that has forked
_SIGNALS = [
    int(getattr(signal, name))
    for name in (
        "SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGURG", "SIGVTALRM", "SIGPROF", "SIGQUIT"
    )
    if hasattr(signal, name)
]  # fmt: skip
"""Signals for which Python or a program may have a handler that raises: that of Ctrl-C, that of a soft time limit.

``_signal`` is what ``signal`` wraps with enums, at ten times the cost, which each round trip would pay.
"""


class Turning:
    """Shares the turning of a loop.

    ``begin()`` does what was posted to it, ``turn(limit_s, eager)`` one turn; ``wake()`` ends one from any thread.
    """

    def __init__(
        self, begin: Callable[[], None], turn: Callable[[float | None, bool], None], wake: Callable[[], None]
    ) -> None:
        self._begin = begin
        self._turn = turn
        self._wake = wake
        self._seat = threading.Lock()
        self._asking = threading.Lock()
        """Held by the one thread that sits on the seat, or wants to, instead of the loop's own."""
        self._empty = threading.Event()
        self._left_at = 0.0
        self._waits_long = False
        self._turner = 0
        self.stopping = False

    def is_here(self) -> bool:
        """Whether the caller is in the midst of a turn."""
        return self._turner == threading.get_ident()

    def serve(self) -> None:
        """Turn the loop until ``stopping``, but for the time that others do. The loop's own thread does this."""
        while not self.stopping:
            if self._asking.locked():
                self._stand_by()
            with self._seat:
                self._turner = threading.get_ident()
                try:
                    self._turn(None, False)
                finally:
                    self._turner = 0
        with self._seat:
            pass  # whoever sat there has left, and nobody turns a loop that is stopping

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Turn the loop until ``done()``, or for ``timeout`` seconds; return at once where others do it.

        Raises ``MeshqError`` in the midst of a turn, which would have to wait for itself.
        """
        if self._turner == threading.get_ident():
            raise MeshqError(
                "a callback of a future must not wait for another one: it runs in the thread that would settle it"
            )
        deferral = _Deferral(self._wake)
        deferral.begin()  # ``with`` would take half as long again
        try:
            if not self._asking.acquire(False):  # by position: a keyword takes as long as the lock
                return
            try:
                if not self._seat.acquire(False):
                    self._wake()
                    self._seat.acquire()
                try:
                    self._sit(done, timeout, deferral)
                finally:
                    self._turner = 0
                    self._seat.release()
            finally:
                self._asking.release()
                if self._waits_long:
                    self._waits_long = False
                    self._empty.set()
        finally:
            deferral.end()

    def stop(self) -> None:
        """Have everybody leave the seat for good."""
        self.stopping = True
        self._empty.set()
        self._wake()

    def _sit(self, done: Callable[[], bool], timeout: float | None, deferral: _Deferral) -> None:
        began_at = now = self._left_at = time.monotonic()
        me = threading.get_ident()
        if not self.stopping:
            self._turner = me
            self._begin()
            self._turner = 0  # where that has raised, ``wait`` does it
        while not done() and not self.stopping and not deferral.came:
            left = None if timeout is None else began_at + timeout - now
            if left is not None and left <= 0:
                return
            self._turner = me
            self._turn(left, True)
            self._turner = 0
            now = self._left_at = time.monotonic()  # as it may be left now
            self._waits_long = now - began_at >= LONG_S

    def _stand_by(self) -> None:
        """Wait until the seat has been empty for a while; the longer others use it, the rarer the looks."""
        pause_s = EMPTY_S
        while not self.stopping:
            if self._waits_long:
                self._empty.clear()
                if self._waits_long:  # it may have been left in between
                    self._empty.wait(1.0)
            elif not self._asking.locked() and time.monotonic() - self._left_at >= EMPTY_S:
                return
            else:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_S)


class _Deferral:
    """Puts signals off while the main thread turns the loop: what a handler raises in the midst would break it.

    A signal ends the wait; its handler is called when the thread has left the seat, as if it had come then.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._handlers: list[tuple[int, Any]] = []
        """Those that are replaced."""
        self.came: list[tuple[int, FrameType | None, Any]] = []
        """What has come, each with its handler."""

    def begin(self) -> None:
        """Put signals off from now on, in the main thread; what a handler raises meanwhile ends that at once."""
        if threading.get_ident() == _main:
            handler_of, handle, note = _signal.getsignal, _signal.signal, self._note
            try:
                for number in _SIGNALS:
                    handler = handler_of(number)
                    if type(handler) is not int and callable(handler):
                        self._handlers.append((number, handler))
                        handle(number, note)
            except BaseException:  # a handler that was not replaced yet
                self.end()
                raise

    def end(self) -> None:
        """Put the handlers back, and call those of what has come."""
        try:
            self._restore()
        finally:
            if self.came:
                self._deliver()

    def _deliver(self) -> None:
        """Call the handlers of what has come, all of them, whatever one of them raises."""
        number, frame, handler = self.came.pop(0)
        try:
            handler(number, frame)
        finally:
            if self.came:
                self._deliver()

    def _restore(self) -> None:
        """Put the handlers back, all of them, whatever one that is back already raises meanwhile."""
        try:
            while self._handlers:
                _signal.signal(*self._handlers[-1])
                self._handlers.pop()
        except BaseException:
            self._restore()
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came += [(number, frame, handler) for replaced, handler in self._handlers if replaced == number]
        self._wake()
