"""The loop: what it calls, when, and what it survives."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from meshq.transport import looking
from meshq.transport import loop as loops
from meshq.transport.loop import Loop, _milliseconds


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop, closed at the end."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def test_calls_a_source_that_can_be_read(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A descriptor's callback comes once data is there, and not before."""
    left, right = pair
    got: list[bytes] = []
    loop.register(left, lambda: got.append(left.recv(10)))
    loop.turn(0)
    assert got == []
    right.send(b"x")
    loop.turn(1)
    assert got == [b"x"]


def test_takes_bare_descriptors(loop: Loop) -> None:
    """An int is polled as well as an object that has one."""
    reading, writing = os.pipe()
    got: list[bytes] = []
    loop.register(reading, lambda: got.append(os.read(reading, 10)))
    os.write(writing, b"x")
    loop.turn(1)
    loop.unregister(reading)
    os.close(reading)
    os.close(writing)
    assert got == [b"x"]


def test_calls_again_for_what_a_zmq_socket_still_holds(loop: Loop) -> None:
    """A callback that takes one message of many is called in each turn until none is left."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as left, context.socket(zmq.PAIR) as right:
        left.bind("inproc://pair")
        right.connect("inproc://pair")
        got: list[bytes] = []
        loop.register(left, lambda: got.append(left.recv()))
        for number in range(3):
            right.send(b"%d" % number)
        for _ in range(3):
            loop.turn(1)
        assert got == [b"0", b"1", b"2"]
        loop.unregister(left)


def test_reports_room_to_write_until_told_to_stop(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A full pipe is silent, one with room calls in each turn, and reading goes on beside it."""
    left, right = pair
    calls: list[str] = []
    loop.register(left, lambda: calls.append("read") or left.recv(10))
    while True:
        try:
            left.send(b"x" * 65536)
        except BlockingIOError:
            break
    loop.register_write(left, lambda: calls.append("write"))
    loop.turn(0)
    assert calls == []
    while len(right.recv(1 << 20)) == 1 << 20:
        pass
    loop.turn(1)
    assert calls == ["write"]
    loop.unregister_write(left)
    right.send(b"y")
    loop.turn(1)
    assert calls == ["write", "read"]


def test_a_peer_that_hangs_up_is_found_by_reading(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """The end of a pipe wakes the loop and calls its reader."""
    left, right = pair
    got: list[bytes] = []
    loop.register(left, lambda: got.append(left.recv(10)))
    right.close()
    loop.turn(1)
    assert got == [b""]


def test_a_callback_that_fails_is_logged_and_harms_nobody(
    loop: Loop, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    """One broken callback and one broken posted call leave the loop and the others as they were."""
    left, right = pair

    def fail() -> None:
        left.recv(10)
        raise RuntimeError("broken")

    got: list[int] = []
    loop.register(left, fail)
    right.send(b"x")
    loop.post(int, "no number")
    loop.post(got.append, 1)
    with caplog.at_level(logging.ERROR, logger="meshq.loop"):
        loop.turn(1)
    assert got == [1]
    assert [record.name for record in caplog.records] == ["meshq.loop", "meshq.loop"]


def test_ctrl_c_passes_through(loop: Loop) -> None:
    """KeyboardInterrupt is no failure of a callback: it leaves the turn, and the next one goes on after it."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    got: list[int] = []
    loop.post(interrupt)
    loop.post(got.append, 1)
    with pytest.raises(KeyboardInterrupt):
        loop.turn(0)
    loop.turn(0)
    assert got == [1]


def test_callbacks_may_unregister_each_other(loop: Loop) -> None:
    """Of two ready sources, each of which closes the other, one is called."""
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def callback(number: int) -> None:
        called.append(number)
        loop.unregister(pairs[1 - number][0])
        pairs[1 - number][0].close()

    for number, (left, right) in enumerate(pairs):
        loop.register(left, lambda number=number: callback(number))
        right.send(b"x")
    loop.turn(1)
    assert len(called) == 1
    loop.unregister(pairs[called[0]][0])
    for left, right in pairs:
        left.close()
        right.close()


def test_unregistering_what_is_unknown_is_fine(loop: Loop) -> None:
    """Closing twice must not need bookkeeping in the caller."""
    loop.unregister(0)
    loop.unregister_write(0)


def test_ten_thousand_posts_from_four_threads_all_run(loop: Loop) -> None:
    """Nothing posted is lost, the posts of one thread keep their order, and they wake the loop seldom."""
    got: list[tuple[int, int]] = []

    def post_many(thread: int) -> None:
        for number in range(2_500):
            loop.post(got.append, (thread, number))

    threads = [threading.Thread(target=post_many, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    turns, deadline = 0, time.monotonic() + 20
    while len(got) < 10_000 and time.monotonic() < deadline:
        loop.turn(1)
        turns += 1
    for thread in threads:
        thread.join()
    assert len(got) == 10_000
    for thread in range(4):
        assert [number for sender, number in got if sender == thread] == list(range(2_500))
    assert loop.wakeups <= turns


def test_many_posts_before_a_turn_wake_it_without_a_word(loop: Loop) -> None:
    """Posts to a loop that is not asleep cost no write at all."""
    for number in range(1_000):
        loop.post(int, number)
    loop.turn(None)
    loop.turn(0)
    assert loop.wakeups == 0


def test_a_post_wakes_a_sleeping_loop(loop: Loop) -> None:
    """A loop that sleeps without a timeout is woken by another thread's post."""
    got: list[int] = []
    timer = threading.Timer(0.05, loop.post, (got.append, 1))
    timer.start()
    deadline = time.monotonic() + 10
    while not got and time.monotonic() < deadline:
        loop.turn(None)
    timer.join()
    assert got == [1]


def test_a_signal_handler_may_post(loop: Loop) -> None:
    """A handler that runs while the loop sleeps in poll wakes it."""
    got: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: loop.post(got.append, 1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        while not got:
            loop.turn(None)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert got == [1]


def test_posts_that_post_again_do_not_keep_sockets_waiting(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A call that posts itself for ever runs once a turn."""
    left, right = pair
    calls: list[str] = []

    def again() -> None:
        calls.append("post")
        loop.post(again)

    loop.register(left, lambda: calls.append("read") or left.recv(10))
    loop.post(again)
    loop.turn(None)
    right.send(b"x")
    loop.turn(None)
    assert calls == ["post", "read", "post"]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(None, -1), (-1.0, 0), (0.0, 0), (0.0001, 1), (0.001, 1), (0.0011, 2), (float("inf"), 3_600_000)],
)
def test_timeouts_are_rounded_up(seconds: float | None, milliseconds: int) -> None:
    """A deadline in a tenth of a millisecond is slept through; nothing overflows poll's C int."""
    assert _milliseconds(seconds) == milliseconds


def test_a_short_timeout_is_slept_not_spun(loop: Loop) -> None:
    """Turning until a deadline in 20.5 ms takes a few turns, not thousands."""
    deadline = time.monotonic() + 0.0205
    turns = 0
    while (left := deadline - time.monotonic()) > 0:
        loop.turn(left)
        turns += 1
    assert turns <= 3


SHORT_S, LONG_S = 0.05, 0.06
"""What counts as a short wait in these tests, so that a busy machine does not count; and a wait that is none."""


class Looks:
    """A source on a loop, and how often the loop has looked at it in vain instead of sleeping."""

    def __init__(self, loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
        self._loop = loop
        self.left, self.right = left, _ = pair
        self.count = 0
        self.answers = True
        self.sleeps_s = 0.0
        loop.register(left, lambda: left.recv(10))

    def look(self) -> None:
        """Be what the loop lets run."""
        self.count += 1
        if self.answers:
            self.right.send(b"x")
        time.sleep(self.sleeps_s)

    def wait_shortly(self, times: int) -> None:
        """Have something ready for each of so many waits."""
        for _ in range(times):
            self.right.send(b"x")
            self._loop.turn(5.0, eager=True)

    def wait(self, seconds: float, eager: bool = True) -> int:
        """Wait once with nothing there; return how often was looked."""
        self.count = 0
        self._loop.turn(seconds, eager=eager)
        return self.count


@pytest.fixture
def looks(loop: Loop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> Looks:
    """A loop that is watched."""
    made = Looks(loop, pair)
    monkeypatch.setattr(loops, "_let_others_run", made.look)
    monkeypatch.setattr(looking, "SPIN_S", SHORT_S)
    return made


def test_after_short_waits_it_looks_before_it_sleeps(looks: Looks) -> None:
    """What comes meanwhile ends the wait; one that may not last, or is not eager, is slept through."""
    looks.wait_shortly(2)
    assert looks.wait(5.0) == 1
    assert looks.wait(0.001) == 0
    assert looks.wait(LONG_S, eager=False) == 0
    looks.answers = False
    assert looks.wait(LONG_S) >= 1
    assert looks.wait(LONG_S) == 0  # as the one before has lasted


def test_it_tells_what_it_has_seen_come(looks: Looks, loop: Loop) -> None:
    """Whoever is called knows whether more may have come than the one thing: not where that was waited for."""
    seen: list[bool] = []
    loop.register(looks.left, lambda: (looks.left.recv(10), seen.append(loop.saw_it_come)))
    looks.wait_shortly(2)  # it was there
    looks.wait(5.0)  # it came while the loop looked
    looks.sleeps_s = 2 * SHORT_S  # it came, and the process was stopped just then
    looks.wait(5.0)
    looks.answers, looks.sleeps_s = False, 0.0
    threading.Timer(LONG_S, looks.right.send, [b"x"]).start()  # it came while the loop slept
    looks.wait(5.0)
    assert seen == [False, False, True, False, False]


def test_each_look_in_vain_makes_the_next_one_rarer(looks: Looks) -> None:
    """It takes twice as many short waits then, and fewer again once looks have paid."""
    looks.answers = False
    looks.wait_shortly(2)
    assert looks.wait(LONG_S) >= 1
    looks.wait_shortly(3)
    assert looks.wait(LONG_S) == 0
    looks.answers = True
    looks.wait_shortly(4)
    assert [looks.wait(5.0) for _ in range(2)] == [1, 1]


def test_a_look_is_part_of_the_wait(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due after half a second is not late by a look of half a second."""
    monkeypatch.setattr(looking, "SPIN_S", 0.5)
    looks.answers = False
    looks.wait_shortly(2)
    began_at = time.monotonic()
    assert looks.wait(0.5) >= 1
    assert time.monotonic() - began_at < 0.9


def test_looks_that_pay_soon_make_up_for_those_in_vain(looks: Looks) -> None:
    """A burst of other work, in which none paid, is not held against those that come after it."""
    looks.answers = False
    for needed in (2, 4, 8):
        looks.wait_shortly(needed)
        assert looks.wait(LONG_S) >= 1
    looks.answers = True
    looks.wait_shortly(16)
    assert [looks.wait(5.0) for _ in range(3)] == [1] * 3
    looks.answers = False
    assert looks.wait(LONG_S) >= 1
    looks.wait_shortly(4)
    assert looks.wait(LONG_S) >= 1


def test_a_closed_loop_drops_posts_and_closes_again() -> None:
    """Threads that outlive the loop may go on posting."""
    loop = Loop()
    loop.close()
    loop.post(int)
    loop.close()
