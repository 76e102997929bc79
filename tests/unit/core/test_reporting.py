"""Reports: what a node says to its clients, and what it says again."""

from __future__ import annotations

from itertools import pairwise

from meshq.core.events import Send
from meshq.core.held import SILENT_S, ClientAccount, Held, HeldState
from meshq.core.reporting import BURST_REPORT_S, REPORT_S, RESEND_S, Reports
from meshq.protocol.messages import Accepted, Pong, Result, Started, Status, Submit

A, B = b"a" * 16, b"b" * 16
BEGIN = 100.1


def client(name: bytes = A) -> ClientAccount:
    """Return a client that was heard just now."""
    return ClientAccount(name, now=BEGIN)


def held(account: ClientAccount, number: int = 1) -> Held:
    """Return a queued attempt."""
    return Held(account, *Submit(bytes([number]) * 16, 1, "f", "msgpack", b"x"))


def finish(reports: Reports, one: Held, now: float = BEGIN) -> Result:
    """Let an attempt end; return its result."""
    reports.finished(one, Status.OK, "msgpack", b"value", 0.5, now)
    return Result(one.task, 1, Status.OK, "msgpack", b"value", 0.5)


def test_each_client_gets_one_send() -> None:
    """What is said in one go travels in one message, in order; then there is nothing left to send."""
    reports, a, b = Reports(), client(A), client(B)
    assert reports.flush() == []
    for account, number in ((a, 1), (b, 2), (a, 3)):
        reports.say(account, Pong(number))
    assert reports.flush() == [Send(A, [Pong(1), Pong(3)]), Send(B, [Pong(2)])]
    assert reports.flush() == []


def test_nothing_is_said_to_a_client_out_of_reach() -> None:
    """A result is kept for it all the same, and no deadline is set for sending it again."""
    reports, a = Reports(), client()
    a.connected = False
    reports.say(a, Pong(1))
    finish(reports, held(a))
    assert reports.flush() == []
    assert list(a.unacknowledged) == [b"\1" * 16]
    assert reports.next_deadline() is None


def test_a_large_result_takes_the_place_of_its_arguments_in_the_budget() -> None:
    """A small one takes up nothing there, in one piece or several."""
    reports, a = Reports(), client()
    first, second = held(a), held(a, 2)
    for one in (first, second):
        reports.budget.take(one, 9_000)
    reports.finished(first, Status.OK, "msgpack", [bytes(3_000), b"x"], 0.5, BEGIN)
    assert (reports.budget.arguments, reports.budget.results) == (9_000, 3_001)
    reports.finished(second, Status.OK, "msgpack", [b"x"], 0.5, BEGIN)
    assert (reports.budget.arguments, reports.budget.results) == (0, 3_001)


def test_a_result_is_made_sent_and_kept() -> None:
    """The arguments are let go of, since nobody needs them any more."""
    reports, a = Reports(), client()
    one = held(a)
    expected = finish(reports, one, BEGIN + 1.0)
    assert reports.flush() == [Send(A, [expected])]
    assert (one.state, one.payload, one.result, a.ended_at) == (HeldState.DONE, b"", expected, BEGIN + 1.0)
    assert reports.next_deadline() == BEGIN + 1.0 + RESEND_S


def test_what_takes_long_is_accepted() -> None:
    """After 10 ms, of what waits or is about to start; not of what is known to run, or has ended."""
    reports, a = Reports(), client()
    queued, ahead, started, done, later = (held(a, number) for number in range(1, 6))
    reports.taken([queued, ahead, started, done], BEGIN)
    reports.taken([later], BEGIN + 0.001)
    ahead.state = started.state = HeldState.RUNNING
    started.reported = True
    done.state = HeldState.DONE
    assert reports.next_deadline() == BEGIN + REPORT_S
    reports.tick([a], BEGIN + 0.009)
    assert reports.flush() == []
    reports.tick([a], BEGIN + REPORT_S)
    assert reports.flush() == [Send(A, [Accepted(b"\1" * 16, 1), Accepted(b"\2" * 16, 1)])]
    reports.tick([a], BEGIN + 0.1)
    assert reports.flush() == [Send(A, [Accepted(b"\5" * 16, 1)])]
    assert reports.next_deadline() is None


def test_results_are_sent_again_with_growing_pauses() -> None:
    """From 0.5 s, doubling, to 8 s and no further."""
    reports, a = Reports(), client()
    expected = finish(reports, held(a))
    reports.flush()
    sent = [BEGIN]
    while len(sent) < 8:
        now = reports.next_deadline()
        assert now is not None
        a.heard_at = now
        reports.tick([a], now)
        if reports.flush():
            sent.append(now)
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(sent)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert a.held == {}
    assert a.unacknowledged[expected.task].result == expected


def test_a_client_that_is_back_is_sent_what_is_kept_for_it() -> None:
    """From then on it is sent again as any other; what has not ended is no matter for this."""
    reports, a = Reports(), client()
    a.connected = False
    expected = finish(reports, held(a))
    a.connected = True
    reports.send_result(held(a, 2), BEGIN)
    reports.send_result(a.unacknowledged[expected.task], BEGIN)
    assert reports.flush() == [Send(A, [expected])]
    assert reports.next_deadline() == BEGIN + RESEND_S


def test_the_rhythm_is_one_for_all() -> None:
    """A result that ends while another waits is sent again by the same deadline, not before its time."""
    reports, a = Reports(), client()
    finish(reports, held(a, 1))
    second = finish(reports, held(a, 2), BEGIN + 0.1)
    reports.flush()
    reports.tick([a], BEGIN + 0.5)
    [send] = reports.flush()
    assert [type(message) for message in send.messages] == [Result]
    reports.tick([a], BEGIN + 1.0)
    assert reports.flush() == [Send(A, [second])]


def test_a_silent_client_is_spared() -> None:
    """Nothing is sent again from 5 s of silence on; it is looked at twice a second whether it was heard."""
    reports, a = Reports(), client()
    expected = finish(reports, held(a))
    reports.flush()
    now = BEGIN + SILENT_S
    reports.tick([a], now)
    assert reports.flush() == []
    assert reports.next_deadline() == now + RESEND_S
    a.heard_at = now
    reports.tick([a], now + RESEND_S)
    assert reports.flush() == [Send(A, [expected])]


def test_there_is_nothing_to_wait_for_once_all_is_acknowledged() -> None:
    """Neither a client without results nor one out of reach keeps the clock running."""
    reports, a, b = Reports(), client(A), client(B)
    finish(reports, held(a))
    b.connected = False
    finish(reports, held(b))
    a.unacknowledged.clear()
    reports.tick([a, b], BEGIN + RESEND_S)
    assert reports.next_deadline() is None


def test_a_result_sent_thousands_of_times_has_its_pause_bounded() -> None:
    """However often a client makes the node send it, the arithmetic holds."""
    reports, a = Reports(), client()
    one = held(a)
    finish(reports, one)
    for _ in range(5_000):
        reports.send_result(one, BEGIN)
    reports.tick([a], BEGIN + 4.9)
    assert len(reports.flush()[0].messages) == 5_001


def test_quick_tasks_leave_no_deadline_behind_for_each() -> None:
    """What has ended when the next is taken is not looked at again; what waits still is."""
    reports, a = Reports(), client()
    first, second = held(a), held(a, 2)
    reports.taken([first], BEGIN)
    first.state = HeldState.DONE
    reports.taken([second], BEGIN + 0.001)
    assert reports.next_deadline() == BEGIN + 0.001 + REPORT_S
    reports.tick([a], BEGIN + 0.001 + REPORT_S)
    assert reports.flush() == [Send(A, [Accepted(second.task, 1)])]


def test_in_a_burst_of_quick_runs_what_waits_is_accepted_later() -> None:
    """Results of many runs that take microseconds come after some 20 ms, and say the same; 50 ms are too long."""
    reports, quick, slow = Reports(), client(A), client(B)
    quick.mean_s, slow.mean_s = 0.00005, 0.0005
    reports.taken([held(quick, 1)], BEGIN)
    reports.taken([held(slow, 2)], BEGIN)
    reports.tick([quick, slow], BEGIN + REPORT_S)
    assert reports.flush() == [Send(B, [Accepted(b"\2" * 16, 1)])]
    assert reports.next_deadline() == BEGIN + BURST_REPORT_S
    reports.tick([quick, slow], BEGIN + BURST_REPORT_S)
    assert reports.flush() == [Send(A, [Accepted(b"\1" * 16, 1)])]
    assert reports.next_deadline() is None


def test_what_has_begun_is_said_once() -> None:
    """Of attempts that must not run twice, as soon as a worker has them."""
    reports, account = Reports(), client()
    helds = [held(account)]
    reports.begun(helds)
    assert helds == []
    assert reports.flush() == [Send(A, [Started(bytes([1]) * 16, 1)])]
