"""A client wants a task back from a node (WITHDRAW), or leaves (BYE)."""

from __future__ import annotations

from typing import Any

import pytest
from holder_conversation import (
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    gone,
    lost,
    quick,
    recalled,
    result,
    revoked,
    run,
    short,
    start,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core.events import Send
from meshq.core.holding import (
    ClientGreeted,
    Disown,
    EntrustedDone,
    EntrustedWithdrawn,
    RateLimitSet,
    RecallRuns,
    RevokeAnswered,
    RevokeAsked,
    SignalWorker,
)
from meshq.core.work import WorkerReady
from meshq.protocol.messages import (
    Accepted,
    Bye,
    ByeAck,
    Credit,
    Holding,
    Parked,
    Ping,
    Result,
    Started,
    Status,
    Withdrawn,
)


def withdrawn(number: int, outcome: str, attempt: int = 1) -> Withdrawn:
    """Return the answer to ``withdraw``."""
    return Withdrawn(task(number), attempt, outcome)


def test_a_queued_task_is_dropped() -> None:
    """It is gone at once, nothing is said of it afterwards, and a copy of its SUBMIT is not run."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.say(A, withdraw(2), to(A, withdrawn(2, "dropped")))
    talk.say(A, submit(2), to(A, Withdrawn(task(2), 1, "unknown")))
    talk.wait(0.011, to(A, Started(task(1), 1, about(0.010)), Accepted(task(3), 1)))
    talk.say(A, withdraw(3), to(A, withdrawn(3, "dropped")))
    talk.hear(done(1), to(A, result(1)))


def test_a_task_ahead_of_its_slot_is_fetched_back() -> None:
    """The worker is asked first; a second WITHDRAW meanwhile does not ask it again."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.say(A, withdraw(2), RecallRuns(0, [n + 1]))
    talk.say(A, withdraw(2))
    talk.hear(recalled([n + 1], [n + 1]), to(A, withdrawn(2, "dropped")))
    talk.say(A, submit(2), to(A, Withdrawn(task(2), 1, "unknown")))
    talk.hear(short(n, n + 2), to(A, quick(1), quick(3)))


def test_a_running_task_stays() -> None:
    """The client hears that it runs, and gets its result; asking again is answered again."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    for _ in range(2):
        talk.say(A, withdraw(1), RecallRuns(0, [1]))
        talk.hear(recalled([1], []), to(A, withdrawn(1, "running")))
    talk.hear(done(1), to(A, result(1)))


def test_a_task_that_ends_while_it_is_asked_for() -> None:
    """The client hears that it is finished, then its result; the worker's answer comes to nothing."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.hear(done(1), to(A, withdrawn(1, "finished"), result(1)))
    talk.hear(recalled([1], []))


def test_a_finished_task_is_answered_with_its_result() -> None:
    """The result says more than WITHDRAWN could."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, withdraw(1), to(A, result(1)))


def test_a_withdrawal_that_overtakes_its_task() -> None:
    """A task that is not known is answered for, and refused when it comes; a later attempt is not."""
    talk = Conversation()
    talk.say(A, withdraw(1), to(A, withdrawn(1, "unknown")))
    talk.say(A, submit(1), to(A, Withdrawn(task(1), 1, "unknown")))
    talk.say(A, submit(1, 2), start(run(1, 1, 2)))


def test_the_withdrawal_of_an_earlier_attempt_is_ignored() -> None:
    """The owner that moved a task elsewhere and back again wants the later attempt."""
    talk = Conversation()
    talk.say(A, submit(1, 2), start(run(1, 1, 2)))
    talk.say(A, withdraw(1, 1))
    talk.hear(done(1), to(A, result(1, 2)))


def test_the_withdrawal_of_a_later_attempt_counts_for_what_is_here() -> None:
    """The owner's SUBMIT of that attempt was lost; it wants none of them."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.say(A, withdraw(2, 2), to(A, withdrawn(2, "dropped", 2)))
    talk.say(A, submit(2, 2), to(A, Withdrawn(task(2), 2, "unknown")))
    talk.say(A, withdraw(1, 2), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), to(A, withdrawn(1, "running", 2)))


def test_a_later_attempt_calls_off_the_withdrawal_of_the_earlier() -> None:
    """What the worker gives back is run under its new number, as the owner expects."""
    talk = Conversation(clients=(A, B))
    n = talk.teach("f", SHORT_S, client=B)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.say(A, withdraw(2), RecallRuns(0, [n + 1]))
    talk.say(A, submit(2, 2), to(A, Accepted(task(2), 2)))
    talk.hear(recalled([n + 1], [n + 1]), start(run(n + 2, 2, 2)))
    talk.hear(done(n, n + 2), to(A, result(1), result(2, 2)))


@pytest.mark.parametrize(("started", "outcome"), [(0, "dropped"), (1, "finished")])
def test_a_worker_dies_while_it_is_asked_for_a_task(started: int, outcome: str) -> None:
    """A run that it had not started is dropped as asked; one that it had is lost, and the client told."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    answer = withdrawn(1, outcome)
    talk.hear(gone(started), to(A, answer, lost(1)) if started else to(A, answer))
    talk.hear(WorkerReady(0, 4_001, []))


def test_a_revoke_outdoes_a_withdrawal() -> None:
    """A task that is withdrawn and then revoked ends as revoked, and the revoke is answered."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.hear(RevokeAsked(7, [task(1)], 0), RecallRuns(0, [1]))
    talk.hear(recalled([1], [1]), to(A, revoked(1)), RevokeAnswered(7, {task(1): "dropped"}))
    talk.hear(recalled([1], []))


def test_a_withdrawal_is_answered_though_a_revoke_outdoes_it() -> None:
    """Once it is known that the task runs, which may take no notice of the signal for as long as it likes."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.hear(RevokeAsked(7, [task(1)], 15), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, 15), to(A, withdrawn(1, "running")))
    talk.hear(recalled([1], []))
    talk.hear(gone(1), to(A, revoked(1)), RevokeAnswered(7, {task(1): "terminated"}))


def test_a_withdrawal_of_what_was_sent_a_signal_is_answered() -> None:
    """Each time; a task that takes no notice of the signal ends as it likes."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(RevokeAsked(7, [task(1)], 15), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, 15))
    for _ in range(2):
        talk.say(A, withdraw(1), RecallRuns(0, [1]))
        talk.hear(recalled([1], []), to(A, withdrawn(1, "running")))
    talk.hear(done(1), to(A, result(1)), RevokeAnswered(7, {task(1): "finished"}))


@pytest.mark.parametrize("ends", ["given back", "done", "killed", "over time"])
def test_what_ends_before_the_withdrawal_is_answered_says_so_itself(ends: str) -> None:
    """By its result; nothing is left to be answered."""
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    talk.say(A, withdraw(1), RecallRuns(0, [1]))
    talk.hear(RevokeAsked(7, [task(1)], 0), RecallRuns(0, [1]))
    if ends == "over time":
        talk.pass_time(1.0)
    event = {"given back": recalled([1], [1]), "done": done(1)}.get(ends, gone(1))
    told = [message for effect in talk.do(event) if isinstance(effect, Send) for message in effect.messages]
    assert [type(message) for message in told] == [Result]
    assert talk.holder._withdrawals._outdone == {}


def test_a_detached_task_is_our_own_owner_s_to_give_back() -> None:
    """It is asked, once, and answers for the task."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.say(A, withdraw(1), Disown(A, task(1)))
    talk.say(A, withdraw(1))
    talk.hear(EntrustedWithdrawn(A, task(1), True), to(A, withdrawn(1, "dropped")))


# ---------------------------------------------------------------------- BYE


def test_bye_drops_what_is_queued() -> None:
    """The client hears how many; they are not run, nor is a copy of them."""
    talk = Conversation(clients=(A, B))
    talk.say(A, [submit(i) for i in range(1, 11)], start(run(1, 1)))
    talk.say(B, submit(20))
    talk.say(A, Bye(), RecallRuns(0, [1]), to(A, ByeAck(9)))
    talk.say(A, submit(2))
    talk.hear(recalled([1], []))
    talk.hear(done(1), start(run(2, 20)))


def test_what_comes_after_bye_is_not_taken() -> None:
    """A SUBMIT that was overtaken by BYE is of a client that wants nothing any more, until it greets again."""
    talk = Conversation()
    talk.say(A, Bye(), to(A, ByeAck(0)))
    talk.say(A, submit(1))
    talk.do(ClientGreeted(A))
    talk.say(A, submit(1), start(run(1, 1)))


def test_bye_calls_back_what_is_ahead() -> None:
    """What a worker has not started is given back and dropped, or else ends unheard."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.say(A, Bye(), *[RecallRuns(0, [run]) for run in (n, n + 1, n + 2)], to(A, ByeAck(0)))
    talk.hear(recalled([n], []))
    talk.hear(recalled([n + 1], [n + 1]))
    talk.hear(recalled([n + 2], [n + 2]))
    talk.hear(short(n))
    talk.wait(6.0)
    assert set(talk.holder.counts().values()) == {0}


def test_a_death_after_bye_is_unheard_too() -> None:
    """Neither the lost run of a client that left nor those behind it are kept."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.do_quietly(A, Bye())
    talk.hear(gone(n))
    talk.hear(WorkerReady(0, 4_001, []))


def kept(talk: Conversation, number: int) -> object:
    """Return the value that whoever asks for a task is given."""
    found = talk.holder.survey.result(task(number), talk.now)
    return found and found.payload


def test_bye_lets_go_of_results() -> None:
    """Those not acknowledged are not sent again, but kept for whoever asks; so is one still to come."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(done(1), start(run(2, 2)), to(A, result(1)))
    talk.say(A, Bye(), RecallRuns(0, [2]), to(A, ByeAck(0)))
    talk.hear(recalled([2], []))
    talk.hear(done(2))
    talk.wait(100.0)
    assert talk.holder.counts()["finished"] == 0
    assert (kept(talk, 1), kept(talk, 2)) == (b"value", b"value")


def test_bye_leaves_detached_tasks_alone() -> None:
    """They go on; what comes of them, and has come, is kept for whoever asks."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True), submit(2, detached=True))
    talk.do(EntrustedDone(A, task(1), Status.OK, "msgpack", b"value"))
    talk.say(A, Bye(), to(A, ByeAck(0)))
    assert (kept(talk, 1), kept(talk, 2)) == (b"value", None)
    talk.hear(EntrustedDone(A, task(2), Status.OK, "msgpack", b"value"))
    assert talk.holder.counts()["finished"] == 0
    assert kept(talk, 2) == b"value"


def test_a_client_may_come_back_after_bye() -> None:
    """It is served as before, and what was called back for its leave runs on for it."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(A, Bye(), RecallRuns(0, [1]), to(A, ByeAck(0)))
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2)))
    talk.hear(recalled([1], [1]), start(run(2, 1)))
    talk.hear(done(2), to(A, result(1)))


# ---------------------------------------------------------------------- what is parked


def parked(number: int, seconds: float, attempt: int = 1) -> Parked:
    """Return the word that an attempt waits for its time, or a rate limit."""
    return Parked(task(number), attempt, about(seconds))


def test_a_parked_task_is_dropped() -> None:
    """It is gone at once, nothing comes of it when its time has come, and a copy of it is not run."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0), to(A, parked(1, 5.0)))
    talk.say(A, withdraw(1), to(A, withdrawn(1, "dropped")))
    talk.say(A, submit(1, countdown=5.0), to(A, withdrawn(1, "unknown")))
    talk.wait(10.0)


def test_bye_drops_what_is_parked() -> None:
    """It counts among what is dropped."""
    talk = Conversation(clients=(A, B))
    talk.do_quietly(A, submit(1), submit(2), submit(3, countdown=5.0))
    talk.say(B, submit(4, countdown=5.0), to(B, parked(4, 5.0)))
    talk.say(A, Bye(), RecallRuns(0, [1]), to(A, ByeAck(2)))
    talk.hear(recalled([1], [1]))
    talk.wait(6.0, start(run(2, 4, countdown=5.0)), to(B, Started(task(4), 1, about(0.01))))


def test_what_a_worker_gives_back_may_have_to_wait_longer() -> None:
    """A rate limit that was set meanwhile holds for it as for any other that has not started."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(n, 1), run(n + 1, 2), run(n + 2, 3)))
    talk.hear(RateLimitSet("f", 0.5), RecallRuns(0, [n + 1, n + 2]))
    talk.hear(recalled([n + 1, n + 2], [n + 1, n + 2]), to(A, parked(3, 2.0)))
    counts = talk.holder.counts()
    assert (counts["queued"], counts["parked"]) == (1, 1)


def test_what_a_worker_gives_back_may_have_expired() -> None:
    """It is not run too late."""
    talk = Conversation()
    talk.say(A, submit(1, expires=1.0), start(run(1, 1, expires=1.0)))
    talk.pass_time(1.1)
    talk.do_quietly(A, Ping(1))
    talk.hear(gone(0), to(A, Result(task(1), 1, Status.EXPIRED, "", b"")))


def test_the_next_try_is_withdrawn_before_it_has_come() -> None:
    """The failure of the one before is not its own, nor what a revoke finds finished."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1, status=Status.RETRY), to(A, result(1)._replace(status=Status.RETRY)))
    talk.say(A, withdraw(1, 2), to(A, Withdrawn(task(1), 2, "unknown")))
    talk.say(A, submit(1, 2), to(A, Withdrawn(task(1), 2, "unknown")))


def test_what_a_client_counts_on_and_is_not_here() -> None:
    """It is told so, and a late copy is not run; what is here is not spoken of, nor what makes no sense."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    nonsense: list[list[Any]] = [[], [b"short", 1], [task(3), "1"], ["text", 1]]
    pairs = [[task(1), 1], [task(2), 4], *nonsense]
    talk.say(A, Holding(pairs), to(A, Withdrawn(task(2), 4, "unknown")))
    talk.say(A, submit(2, 4), to(A, Withdrawn(task(2), 4, "unknown")))
