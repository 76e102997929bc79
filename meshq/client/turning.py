"""Who turns a client's loop: a thread of its own, or for a while the thread that waits for a result.

A result that is waited for by the thread that turns the loop needs no waking of one thread by another, twice a
round trip. So whoever waits may take the *seat* from the loop's own thread, which then stands by, and sits down
again when the seat has been empty for two milliseconds. The seat is a lock: its holder may touch the sockets.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec

P = ParamSpec("P")

EMPTY_S = 0.002
"""A seat empty for longer is taken by the loop's own thread: callers in a row come back much sooner."""
LONG_S = 0.02
"""Who has waited for this long hands the seat back at once when leaving, as no other call is likely to follow."""

_MAIN = threading.main_thread
# ``_signal`` is what ``signal`` wraps with enums, at ten times the cost, which each round trip would pay.
_SIGINT = int(signal.SIGINT)
# Signals for which a program may have set a handler that raises. It must not do so in the midst of a turn, so
# there the main thread does not take the seat; Ctrl-C, which raises everywhere, is put off instead.
_RAISING = [
    int(getattr(signal, name))
    for name in ("SIGALRM", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGPROF", "SIGQUIT")
    if hasattr(signal, name)
]


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
                self._one_turn(self._turn, None, False)
        self._seat.acquire()  # whoever sat there has left for good

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Turn the loop until ``done()``, or for ``timeout`` seconds; return at once where others do it."""
        with _CtrlC(self._wake) as ctrl_c:
            if not self._asking.acquire(blocking=False):
                return
            try:
                if not self._seat.acquire(blocking=False):
                    self._wake()
                    self._seat.acquire()
                try:
                    self._sit(done, timeout, ctrl_c)
                finally:
                    self._left_at = time.monotonic()
                    self._seat.release()
            finally:
                self._asking.release()
                if self._waits_long:
                    self._waits_long = False
                    self._empty.set()

    def stop(self) -> None:
        """Have everybody leave the seat for good."""
        self.stopping = True
        self._empty.set()
        self._wake()

    def _sit(self, done: Callable[[], bool], timeout: float | None, ctrl_c: _CtrlC) -> None:
        began_at = now = time.monotonic()
        self._one_turn(self._begin)
        while not done() and not self.stopping and not ctrl_c.pressed:
            left = None if timeout is None else began_at + timeout - now
            if left is not None and left <= 0:
                return
            self._one_turn(self._turn, left, True)
            now = time.monotonic()
            self._waits_long = now - began_at >= LONG_S

    def _one_turn(self, turn: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self._turner = threading.get_ident()
        try:
            turn(*args, **kwargs)
        finally:
            self._turner = 0

    def _stand_by(self) -> None:
        """Wait until the seat has been empty for a while."""
        while not self.stopping:
            if self._waits_long:
                self._empty.clear()
                self._empty.wait(1.0)
            elif not self._asking.locked() and time.monotonic() - self._left_at >= EMPTY_S:
                return
            else:
                time.sleep(EMPTY_S)


class _CtrlC:
    """Puts Ctrl-C off while the main thread turns the loop: raised in the midst, it would break the machines."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._handler: Any = None
        self._frame: FrameType | None = None
        self.pressed = False

    def __enter__(self) -> _CtrlC:
        if threading.get_ident() == _MAIN().ident:
            handler = _signal.getsignal(_SIGINT)
            if callable(handler):
                _signal.signal(_SIGINT, self._note)
                self._handler = handler
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            _signal.signal(_SIGINT, self._handler)
            if self.pressed:
                self._handler(_SIGINT, self._frame)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed, self._frame = True, frame
        self._wake()


def may_turn() -> bool:
    """Whether the calling thread may turn a loop: no signal handler of the program's own can raise in it."""
    if threading.get_ident() != _MAIN().ident:
        return True
    return not any(map(callable, map(_signal.getsignal, _RAISING)))
