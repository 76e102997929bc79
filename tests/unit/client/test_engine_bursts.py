"""Bursts of tasks: whoever submits them waits for the loop now and then, which sends them meanwhile."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from client_harness import unturned_engine

from meshq.client import engine as module
from meshq.client.engine import BURST, Engine
from meshq.core.owned import OwnedTask


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that nobody turns, and for which whoever submits waits for very long."""
    monkeypatch.setattr(module, "BURST_S", 60.0)
    with unturned_engine() as made:
        yield made


def submit(engine: Engine, count: int) -> None:
    """Hand over so many tasks."""
    for number in range(count):
        engine.submit(OwnedTask(number.to_bytes(16, "big"), "m.f", "msgpack", b""))


def test_it_ends_with_the_next_turn(engine: Engine) -> None:
    """All who submit go on when what they have handed over is taken."""
    submit(engine, BURST)
    waiting = [threading.Thread(target=engine.wait_until_taken, daemon=True) for _ in range(2)]
    for thread in waiting:
        thread.start()
    while len(engine._awaiting) < 2:
        time.sleep(0.001)
    engine.step()
    for thread in waiting:
        thread.join(10.0)
    assert not any(thread.is_alive() for thread in waiting)
    assert not engine.inbox


def test_few_wait_for_nothing(engine: Engine) -> None:
    """They may just have been taken, and then the next turn is far."""
    submit(engine, BURST - 1)
    engine.wait_until_taken()
    assert len(engine.inbox) == BURST - 1


def test_a_loop_that_is_held_up_holds_up_nobody_for_long(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback may wait for the very thread that submits: it waits a few times in all, not with each task."""
    monkeypatch.setattr(module, "BURST_S", 0.001)
    waits = 0
    for _ in range(100):
        submit(engine, BURST)
        if len(engine.inbox) >= engine.wait_from:
            engine.wait_until_taken()
            waits += 1
    assert waits == 7
    assert len(engine.inbox) == 100 * BURST
    engine.step()
    assert engine.wait_from == BURST
    engine.step()


def test_what_a_signals_handler_raises_leaves_nothing_locked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever moment it comes: the loop would stop there for ever."""

    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    monkeypatch.setattr(module, "BURST_S", 0.00002)
    submit(engine, BURST)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for number in range(300):
            with contextlib.suppress(Alarm):
                signal.setitimer(signal.ITIMER_REAL, (5 + number % 60) / 1e6)
                for _ in range(100):
                    engine.wait_from = BURST
                    engine.wait_until_taken()
                signal.pause()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    stepping = threading.Thread(target=engine.step, daemon=True)
    stepping.start()
    stepping.join(10.0)
    assert not stepping.is_alive()
