"""Revokes at a node: what each finds, what it does there, and what it answers."""

from __future__ import annotations

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
    rack,
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

from meshq.core import revocations
from meshq.core.held import Intent
from meshq.core.holding import (
    ClientGreeted,
    EntrustedDone,
    KillWorker,
    RecallRuns,
    RevocationsAdded,
    RevocationsHeard,
    RevokeAnswered,
    RevokeAsked,
    SignalWorker,
)
from meshq.core.recalls import NOT_REMEMBERED, STILL_RUNS, UNKNOWN
from meshq.core.revocations import TTL_S
from meshq.core.work import WorkerReady
from meshq.protocol.messages import Bye, Parked, Relay, RevokedIds, Started, Status

TERM, KILL = 15, 9
PEER, COMMAND = b"a peer's id.....", b"a command's id.."


def revoke(*numbers: int, signal: int = 0, token: str = "token") -> RevokeAsked:
    """Return the asking for a revoke."""
    return RevokeAsked(token, [task(number) for number in numbers], signal)


def answer(outcome: dict[int, str], token: str = "token") -> RevokeAnswered:
    """Return the answer to ``revoke``."""
    return RevokeAnswered(token, {task(number): text for number, text in outcome.items()})


def test_an_unknown_task_is_refused_when_it_comes() -> None:
    """The id is remembered: a task that comes later ends as revoked, without running, in every attempt."""
    talk = Conversation()
    talk.hear(revoke(1), answer({1: UNKNOWN}))
    talk.say(A, submit(1), to(A, revoked(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(1, 2), to(A, revoked(1, 2)))
    talk.say(A, submit(2, detached=False), start(run(1, 2)))


def test_a_detached_task_is_refused_as_well() -> None:
    """A revoked task is not entrusted to anybody."""
    talk = Conversation()
    talk.hear(revoke(1), answer({1: UNKNOWN}))
    talk.say(A, submit(1, detached=True), to(A, revoked(1)))


def test_a_detached_task_that_is_here_already_is_revoked_where_it_runs() -> None:
    """It is not ended here, since it runs as an attempt of this node's own owner."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.hear(revoke(1), answer({1: UNKNOWN}))


def test_a_full_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who revokes more than a node remembers is told which ids may still run."""
    monkeypatch.setattr(revocations.Revocations.__init__, "__defaults__", (1, 60.0))
    talk = Conversation()
    talk.hear(revoke(1, 2), answer({1: UNKNOWN, 2: NOT_REMEMBERED}))
    talk.say(A, submit(2), start(run(1, 2)))


def test_a_queued_task_is_dropped() -> None:
    """It ends as revoked at once, and the next in the queue is not touched."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(revoke(2), to(A, revoked(2)), answer({2: "dropped"}))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)))


def test_a_task_ahead_of_its_slot_is_fetched_back() -> None:
    """The answer comes when the worker has given it back."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(revoke(2), RecallRuns(0, [n + 1]))
    talk.hear(recalled([n + 1], [n + 1]), to(A, revoked(2)), answer({2: "dropped"}))
    talk.hear(short(n), to(A, quick(1)))


def test_a_running_task_goes_on_without_a_signal() -> None:
    """The answer is "running", and its result is its own."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(done(1), to(A, result(1)))
    talk.hear(revoke(1), answer({1: "finished"}))


def test_a_running_task_is_terminated_with_a_signal() -> None:
    """The worker gets the signal; the answer is "terminated" once it is gone, and the task ends as revoked."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}))
    talk.hear(WorkerReady(0, 4_001, []), start(run(2, 2)))


def test_a_task_that_survives_the_signal() -> None:
    """Where a task ends of its own its result counts, and the answer is "finished"."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(done(1), to(A, result(1)), answer({1: "finished"}))


def test_a_task_that_lives_on_after_the_signal() -> None:
    """The answer comes while it is waited for, with all that was found; the task still ends as revoked."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2)], start(run(1, 1)))
    asked = revoke(1, 2, signal=TERM)._replace(seconds=1.0)
    talk.hear(asked, RecallRuns(0, [1]), to(A, revoked(2)))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.do_quietly(A, rack(2))
    talk.wait(0.61, to(A, Started(task(1), 1, about(0.01))), answer({1: STILL_RUNS, 2: "dropped"}))
    talk.hear(revoke(1, token="second"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}, "second"))
    talk.hear(gone(1), to(A, revoked(1)))


def test_a_task_that_ends_while_it_is_asked_for() -> None:
    """No signal is sent, since it would hit another run."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    talk.hear(done(1), to(A, result(1)), answer({1: "finished"}))
    talk.hear(recalled([1], []))


def test_a_stronger_signal_may_follow() -> None:
    """A task that ignores TERM can still be killed; both who asked are answered when it is gone."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM, token="first"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(revoke(1, signal=KILL, token="second"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}, "first"), answer({1: "terminated"}, "second"))


def test_a_revoke_without_a_signal_does_not_wait_for_one_with() -> None:
    """It is answered "running", the signal is not sent again, and the task still ends as revoked."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1, signal=TERM, token="first"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, TERM))
    talk.hear(revoke(1, token="second"), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}, "second"))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}, "first"))


def test_a_task_left_running_may_be_terminated_later() -> None:
    """A revoke without a signal is no obstacle to one with."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(revoke(1, signal=KILL), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(gone(1), to(A, revoked(1)), answer({1: "terminated"}))


def test_a_task_left_running_may_die_of_itself() -> None:
    """Once the revoke is answered "running", a death is charged like any other."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(gone(1), to(A, lost(1)))


def test_a_worker_dies_before_it_answers() -> None:
    """A run that it had not started counts as dropped, and is not run again."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(revoke(1, 2), RecallRuns(0, [n]), RecallRuns(0, [n + 1]))
    talk.hear(gone(n), to(A, revoked(1), revoked(2)), answer({1: "terminated", 2: "dropped"}))
    talk.hear(WorkerReady(0, 4_001, []))


def test_several_ids_are_answered_together() -> None:
    """One answer, when the last of them is clear; an id named twice counts once."""
    talk = Conversation()
    talk.say(A, [submit(1), submit(2), submit(3)], start(run(1, 1)))
    talk.hear(revoke(1, 2, 9, 2, 1), RecallRuns(0, [1]), to(A, revoked(2)))
    talk.hear(done(1), start(run(2, 3)), to(A, result(1)), answer({1: "finished", 2: "dropped", 9: UNKNOWN}))


def test_a_task_that_is_over_is_known_for_as_long_as_its_end_is_kept() -> None:
    """Once its owner has the result too; one whose worker was lost may be tried again elsewhere."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1), to(A, result(1)))
    talk.say(A, rack(1))
    talk.say(A, submit(2), start(run(2, 2)))
    talk.hear(gone(2), to(A, lost(2)))
    talk.say(A, rack(2))
    talk.hear(revoke(1, 2), answer({1: "finished", 2: UNKNOWN}))


def test_several_attempts_of_one_task() -> None:
    """Each client's attempt is revoked; the answer names what matters most."""
    talk = Conversation(clients=(A, B))
    talk.say(A, submit(1), start(run(1, 1)))
    talk.say(B, submit(1))
    talk.hear(revoke(1), RecallRuns(0, [1]), to(B, revoked(1)))
    talk.hear(recalled([1], []), answer({1: "running"}))


def test_revoking_for_a_client_that_left() -> None:
    """Nobody hears of the result, but who revoked has the answer."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.do_quietly(A, Bye())
    talk.hear(revoke(1, signal=KILL), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), SignalWorker(0, KILL))
    talk.hear(recalled([1], []))
    talk.hear(gone(1), answer({1: "terminated"}))
    assert talk.holder.counts()["finished"] == 0


def test_a_parked_task_is_dropped() -> None:
    """It ends as revoked at once, and nothing comes of it when its time has come."""
    talk = Conversation()
    talk.say(A, submit(1, countdown=5.0), to(A, Parked(task(1), 1, about(5.0))))
    talk.hear(revoke(1), to(A, revoked(1)), answer({1: "dropped"}))
    talk.say(A, rack(1))
    talk.wait(10.0)


def test_a_detached_task_that_our_own_owner_has_dropped_just_now() -> None:
    """The answer says so, not that it had finished."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.do(EntrustedDone(A, task(1), Status.REVOKED, "", b""))
    talk.hear(revoke(1), answer({1: "dropped"}))


def test_a_detached_task_of_a_client_that_left_that_our_own_owner_has_dropped_just_now() -> None:
    """Of what is only kept the answer says so as well: it never ran."""
    talk = Conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.do_quietly(A, Bye())
    talk.do(EntrustedDone(A, task(1), Status.REVOKED, "", b""))
    talk.hear(revoke(1), answer({1: "dropped"}))


def test_the_run_that_was_signalled_is_written_down() -> None:
    """Whatever else dies with its worker is not to blame."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [n]))
    talk.hear(recalled([n], []), SignalWorker(0, TERM))
    assert talk.holder._dispatch.slots.all[0].signalled == n


# ---------------------------------------------------------------------- what is passed on


def test_a_revoke_is_kept_and_passed_on() -> None:
    """To the disk and to the peers, before anybody is answered, and to the owners; as often as it is asked for."""
    talk = Conversation(clients=(A,), relays=True)
    talk.do(ClientGreeted(PEER, "node", "node on HOST"))
    command = RevokeAsked("token", [task(1), task(2), task(1)], 0, COMMAND)
    talk.hear(
        command,
        RevocationsAdded([(task(1), TTL_S), (task(2), TTL_S)]),
        to(A, Relay(COMMAND, "revoke", [task(1), task(2)])),
        to(PEER, RevokedIds([[task(1), TTL_S], [task(2), TTL_S]])),
        answer({1: UNKNOWN, 2: UNKNOWN}),
    )
    talk.wait(100.0)
    talk.hear(
        command._replace(tasks=[task(2), task(3)]),  # one of which is refused for longer from now on
        RevocationsAdded([(task(2), TTL_S), (task(3), TTL_S)]),
        to(A, Relay(COMMAND, "revoke", [task(2), task(3)])),
        to(PEER, RevokedIds([[task(2), TTL_S], [task(3), TTL_S]])),
        answer({2: UNKNOWN, 3: UNKNOWN}),
    )
    assert [left for left, _ in talk.holder.revoked(talk.now)] == [task(1), task(2), task(3)]


# ---------------------------------------------------------------------- together with time limits


def over_time(talk: Conversation, number: int) -> None:
    """Have the worker of a run be killed for its time limit, which is a second."""
    assert KillWorker(0) in talk.pass_time(1.0)
    held = talk.holder._dispatch.find(number)
    assert held is not None
    assert held.intent is Intent.TIME_LIMIT


def test_a_run_that_is_being_killed_for_its_time_limit_is_not_asked_for() -> None:
    """It ends in a moment, whoever else wants that."""
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    over_time(talk, 1)
    talk.hear(revoke(1, signal=KILL), answer({1: "running"}))
    talk.say(A, withdraw(1))


def test_a_run_that_was_asked_for_before_its_time_was_over() -> None:
    """The worker's answer changes nothing: what has started ends with the worker."""
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    over_time(talk, 1)
    talk.hear(recalled([1], []))
    [effect] = [effect for effect in talk.do(gone(1)) if isinstance(effect, RevokeAnswered)]
    assert list(effect.outcome) == [task(1)]


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_run_that_only_seemed_to_take_too_long(is_revoked: bool) -> None:
    """A worker that gives it back had not started it: it goes again, unless it was revoked besides."""
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    if is_revoked:
        talk.hear(revoke(1, signal=TERM), RecallRuns(0, [1]))
    else:
        talk.say(A, withdraw(1), RecallRuns(0, [1]))
    over_time(talk, 1)
    if is_revoked:
        talk.hear(recalled([1], [1]), to(A, revoked(1)), answer({1: "dropped"}))
    else:
        talk.hear(recalled([1], [1]), start(run(2, 1, time_limit=1)))


def test_a_revoke_that_is_not_remembered_holds_for_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the table be full, a run that the worker gives back for another reason is not run again."""
    monkeypatch.setattr(revocations.Revocations.__init__, "__defaults__", (0, 60.0))
    talk = Conversation()
    talk.say(A, submit(1, time_limit=1), start(run(1, 1, time_limit=1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    over_time(talk, 1)
    talk.hear(recalled([1], [1]), to(A, revoked(1)), answer({1: "dropped"}))


def test_what_was_revoked_while_it_ran_does_not_run_again() -> None:
    """A run that was left running, and whose worker ends for another reason, is not given to the next."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(revoke(1), RecallRuns(0, [1]))
    talk.hear(recalled([1], []), answer({1: "running"}))
    talk.hear(gone(1, retired=True), to(A, revoked(1)))
    talk.hear(WorkerReady(0, 4_001, []))


def test_what_a_peer_refuses_is_dropped_here_too() -> None:
    """What waits ends at once, what is ahead is fetched back, what has started is left; nobody is answered."""
    talk = Conversation()
    n = talk.teach("f", SHORT_S)
    talk.say(A, [submit(1), submit(2)], start(run(n, 1), run(n + 1, 2)))
    talk.say(A, submit(3, countdown=5.0), to(A, Parked(task(3), 1, about(5.0))))
    heard = RevocationsHeard([(task(number), 900.0) for number in range(1, 5)])
    talk.hear(heard, RecallRuns(0, [n]), RecallRuns(0, [n + 1]), to(A, revoked(3)))
    talk.hear(recalled([n], []))
    talk.hear(recalled([n + 1], [n + 1]), to(A, revoked(2)))
    talk.hear(short(n), to(A, quick(1)))
    talk.say(A, submit(4), to(A, revoked(4)))
    talk.hear(heard)


def test_a_failure_that_is_tried_again_is_not_finished() -> None:
    """A revoke that meets it says so; the task's owner, or the next node, ends it."""
    talk = Conversation()
    talk.say(A, submit(1), start(run(1, 1)))
    talk.hear(done(1, status=Status.RETRY), to(A, result(1)._replace(status=Status.RETRY)))
    talk.hear(revoke(1), answer({1: UNKNOWN}))
    talk.say(A, submit(1, 2), to(A, revoked(1, 2)))
