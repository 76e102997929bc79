"""Who turns a client's loop: its own thread, or whoever waits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meshq.client import turning
from meshq.client.turning import Turning


class Loop:
    """A loop that notes which thread turns it, and whether two ever did at once."""

    def __init__(self) -> None:
        self.turners: list[int] = []
        self.clashes = 0
        self._busy = threading.Lock()
        self._woken = threading.Event()
        self.turning = Turning(lambda: self._note(0.0), lambda limit, eager: self._note(limit), self._woken.set)
        self.thread = threading.Thread(target=self.turning.serve)
        self.thread.start()

    def _note(self, limit: float | None) -> None:
        if not self._busy.acquire(blocking=False):
            self.clashes += 1
            return
        with_limit = 0.01 if limit is None else min(limit, 0.01)
        self.turners.append(threading.get_ident())
        self._woken.wait(with_limit)
        self._woken.clear()
        self._busy.release()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, without a turn of our own."""
        end_at = time.monotonic() + 5.0
        while not condition():
            assert time.monotonic() < end_at
            time.sleep(0.001)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that is being served."""
    loop = Loop()
    yield loop
    loop.turning.stop()
    loop.thread.join(5.0)
    assert not loop.thread.is_alive()
    assert loop.clashes == 0


def test_whoever_waits_turns_the_loop(loop: Loop) -> None:
    """The loop's own thread leaves it the seat, and takes it back when the wait is over."""
    end_at = time.monotonic() + 0.1
    loop.turning.wait(lambda: time.monotonic() >= end_at, None)
    assert threading.get_ident() in loop.turners
    loop.turners.clear()
    loop.until(lambda: loop.thread.ident in loop.turners)


def test_a_short_wait_does_not_keep_the_seat(loop: Loop) -> None:
    """After a wait of no time the loop's own thread goes on within milliseconds."""
    loop.turning.wait(lambda: True, None)
    loop.turners.clear()
    loop.until(lambda: loop.thread.ident in loop.turners)


def test_a_wait_ends_with_its_timeout(loop: Loop) -> None:
    """It does not outlast what it was given."""
    began_at = time.monotonic()
    loop.turning.wait(lambda: False, 0.05)
    assert 0.04 <= time.monotonic() - began_at < 1.0


def test_a_second_waiter_leaves_the_turning_to_the_first(loop: Loop) -> None:
    """It returns at once, to wait in its own way, and the loop is never turned twice at a time."""
    done = threading.Event()
    first = threading.Thread(target=loop.turning.wait, args=(done.is_set, 5.0))
    first.start()
    loop.until(lambda: first.ident in loop.turners)
    began_at = time.monotonic()
    loop.turning.wait(lambda: False, 5.0)
    assert time.monotonic() - began_at < 1.0
    done.set()
    first.join(5.0)


def test_only_the_turner_is_in_a_turn(loop: Loop) -> None:
    """A callback knows that it must not wait; a thread that waits elsewhere may."""
    seen: list[bool] = []

    def done() -> bool:
        seen.append(loop.turning.is_here())
        return len(seen) > 2

    loop.turning.wait(done, 5.0)
    assert seen == [False, False, False]
    assert not loop.turning.is_here()


def test_stopping_ends_a_wait(loop: Loop) -> None:
    """A mesh that is closed by one thread does not keep another one waiting."""
    waiter = threading.Thread(target=loop.turning.wait, args=(lambda: False, None))
    waiter.start()
    loop.until(lambda: waiter.ident in loop.turners)
    loop.turning.stop()
    waiter.join(5.0)
    assert not waiter.is_alive()


class _Alarm(Exception):
    pass


def test_no_signal_is_lost_where_the_handler_of_another_raises(loop: Loop) -> None:
    """As without a mesh: a Ctrl-C counts that comes with an alarm."""
    seen: list[int] = []

    def ring(number: int, frame: object) -> None:
        seen.append(number)
        raise _Alarm

    def done() -> bool:
        for number in numbers:
            signal.raise_signal(number)
        return False

    numbers = [signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2]
    before = [signal.signal(number, ring) for number in numbers]
    try:
        with pytest.raises(_Alarm):
            loop.turning.wait(done, 5.0)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert sorted(seen) == sorted(numbers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_what_a_signal_raises_comes_between_turns(loop: Loop, number: signal.Signals) -> None:
    """A handler's exception leaves the loop as it was, ends the wait, and is raised from it."""
    turning: list[bool] = []

    def raise_alarm(number: int, frame: object) -> None:
        turning.append(loop.turning.is_here())
        raise _Alarm

    previous = signal.signal(number, raise_alarm)
    try:
        sender = threading.Timer(0.05, os.kill, (os.getpid(), number))
        sender.start()
        with pytest.raises(_Alarm):
            loop.turning.wait(lambda: False, 5.0)
        assert signal.getsignal(number) is raise_alarm
    finally:
        signal.signal(number, previous)
        sender.join()
    assert turning == [False]
    loop.turning.wait(lambda: True, None)


@pytest.mark.parametrize("at", range(1, 5))
def test_a_handler_that_raises_in_between_leaves_all_handlers_in_place(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the handlers are being replaced, or put back: a Ctrl-C later is to be heard, and so is a SIGTERM."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    calls = 0
    replace = turning._signal.signal

    def signal_in_between(number: int, handler: Any) -> Any:
        nonlocal calls
        calls += 1
        before = replace(number, handler)
        if calls == at:
            signal.raise_signal(signal.SIGINT)
        return before

    def defer_for_a_moment() -> None:
        deferral = turning._Deferral(lambda: None)
        deferral.begin()
        deferral.end()

    numbers = [signal.SIGTERM, signal.SIGINT]
    before = [signal.signal(number, interrupt) for number in numbers]
    monkeypatch.setattr(turning, "_SIGNALS", numbers)
    monkeypatch.setattr(turning._signal, "signal", signal_in_between)
    try:
        with pytest.raises(KeyboardInterrupt):
            defer_for_a_moment()
        assert [signal.getsignal(number) for number in numbers] == [interrupt, interrupt]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_what_came_is_told_where_a_wait_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the handler of a signal that is not put off yet raises, after another one was."""
    told: list[int] = []

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError

    replace = turning._signal.signal

    def signal_in_between(number: int, handler: Any) -> Any:
        before = replace(number, handler)
        monkeypatch.setattr(turning._signal, "signal", replace)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGALRM)
        return before

    numbers = [signal.SIGTERM, signal.SIGALRM]
    handlers = [lambda number, frame: told.append(number), give_up]
    before = [signal.signal(number, handler) for number, handler in zip(numbers, handlers, strict=True)]
    monkeypatch.setattr(turning, "_SIGNALS", numbers)
    monkeypatch.setattr(turning._signal, "signal", signal_in_between)
    try:
        with pytest.raises(TimeoutError):
            turning._Deferral(lambda: None).begin()
        assert told == [signal.SIGTERM]
        assert [signal.getsignal(number) for number in numbers] == handlers
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
