"""An owner that hands its tasks over: to which nodes, as what, and what becomes of those that nobody takes."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import A, B, C, joined, make_task, make_tasks, rack, result, said, send, settle, submit

from meshq.core import handing_over
from meshq.core.accounts import NodeAccount
from meshq.core.handing_over import take_up
from meshq.core.losses import MAX_DEATHS
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owner import Owner, PurgeAnswered, PurgeAsked, Submitted, WithdrawAnswered, WithdrawAsked
from meshq.core.owning import HandedOver, HandOverAsked, NodeLost, RetryPlanned, Revoked
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Accepted, Credit, Nack, Parked, Started, Status, Submit, Withdraw, Withdrawn
from meshq.protocol.retries import RetryAsked, dump_retry

OWN = A
"""The node that drains; B and C are its peers."""


def asked(*tasks: OwnedTask) -> HandOverAsked:
    """Return the event that starts it."""
    return HandOverAsked([task.id for task in tasks], OWN)


def begin(*tasks: OwnedTask, slots: int = 1) -> Conversation:
    """Let the own node have what its credit allows of these tasks."""
    talk = Conversation(Owner())
    talk.say(joined(OWN, slots=slots))
    talk.say(Submitted(list(tasks)))
    talk.take()
    return talk


def detached(task: OwnedTask, attempt: int = 1, **options: Any) -> Submit:
    """Return the SUBMIT by which a task is handed over."""
    return Submit(task.id, attempt, "f", "msgpack", b"args", True, {**(task.options or {}), **options} or None)


def dropped(task: OwnedTask, attempt: int = 1, by: bytes = OWN) -> Any:
    """Return a node's word that it has let go of an attempt."""
    return said(Withdrawn(task.id, attempt, "dropped"), by=by)


def accepted(task: OwnedTask, attempt: int, by: bytes = B) -> Any:
    """Return a node's word that it has an attempt."""
    return said(Accepted(task.id, attempt), by=by)


def test_what_waits_goes_to_a_peer_as_a_detached_task() -> None:
    """What the peer has accepted is its own from then on: the owner says so, and says no more of it."""
    tasks = make_tasks(4)
    talk = begin(*tasks)
    talk.say(joined(B, slots=1))
    talk.expect(send(submit(tasks[2]), submit(tasks[3]), to=B))
    more = make_task(9)
    talk.say(Submitted([more]))
    talk.say(asked(more))
    talk.expect(send(detached(more), to=B))
    talk.say(accepted(more, 1))
    talk.expect(HandedOver([more]))
    talk.say(said(result(more), by=B))
    talk.expect(send(rack(more), to=B))


def test_what_a_node_has_not_started_is_called_back_first() -> None:
    """Also what a peer has; what has started stays where it is."""
    tasks = make_tasks(3)
    talk = begin(*tasks[:2])
    talk.say(joined(B))
    talk.say(Submitted([tasks[2]]))
    talk.expect(send(submit(tasks[2]), to=B))
    talk.say(said(Accepted(tasks[0].id, 1), Started(tasks[0].id, 1)))
    talk.say(asked(*tasks))
    talk.expect(send(Withdraw(tasks[1].id, 1)), send(Withdraw(tasks[2].id, 1), to=B))
    talk.say(dropped(tasks[1]))
    talk.expect(send(detached(tasks[1], 2), to=B))
    talk.say(dropped(tasks[2], by=B))
    talk.expect(send(detached(tasks[2], 2), to=B))
    talk.say(said(Accepted(tasks[1].id, 2), Accepted(tasks[2].id, 2), by=B))
    talk.expect(HandedOver([tasks[1], tasks[2]]))
    talk.say(said(result(tasks[0])))
    talk.expect(send(rack(tasks[0])), settle(tasks[0]))


def test_without_a_peer_it_goes_on_here() -> None:
    """Nothing waits for one; when one comes that offers the function, it gets what has not started."""
    tasks = make_tasks(4)
    talk = begin(*tasks)
    talk.say(asked(*tasks))
    talk.say(said(result(tasks[0], seconds=1.0)))
    talk.expect(send(rack(tasks[0])), settle(tasks[0]), send(submit(tasks[2])))
    talk.say(joined(B, functions=("g",)))
    talk.wait(0.6)
    talk.say(said(Started(tasks[1].id, 1)))
    talk.say(joined(C))
    talk.expect(send(submit(tasks[3]), to=C))
    talk.wait(0.8)
    talk.expect(send(Withdraw(tasks[2].id, 1)), send(Withdraw(tasks[3].id, 1), to=C))
    talk.say(dropped(tasks[2]))
    talk.expect(send(detached(tasks[2], 2), to=C))


def join_peer(talk: Conversation) -> None:
    """Let the peer B join, with room for detached tasks alone: whatever else there is stays here."""
    talk.say(joined(B))
    talk.say(said(Credit(1, 0), by=B))


def test_a_peer_that_refuses_is_left_alone_for_a_while() -> None:
    """The task goes on here; no other is called back for a peer that has no room."""
    first, second = make_tasks(2)
    talk = begin(first, second)
    join_peer(talk)
    talk.say(asked(first, second))
    talk.expect(send(Withdraw(first.id, 1), Withdraw(second.id, 1)))
    talk.say(dropped(first))
    talk.expect(send(detached(first, 2), to=B))
    talk.say(said(Nack(first.id, 2, "full"), by=B))
    talk.expect(send(submit(first, 3)))
    talk.say(said(Accepted(first.id, 3), Accepted(second.id, 1), Withdrawn(second.id, 1, "running")))
    talk.wait(3.0)


def test_what_waits_for_a_peer_with_no_room_goes_on_here() -> None:
    """And again to the peer, one at a time, when its pause is over."""
    tasks = make_tasks(4)
    talk = begin(*tasks[:2])
    talk.say(said(Started(tasks[0].id, 1), Started(tasks[1].id, 1)))
    join_peer(talk)
    talk.say(Submitted(tasks[2:]))
    talk.say(asked(*tasks))
    talk.expect(send(detached(tasks[2]), detached(tasks[3]), to=B))
    talk.say(said(Nack(tasks[2].id, 1, "full"), Nack(tasks[3].id, 1, "full"), by=B))
    talk.wait(0.3)
    (sent,) = talk.take()
    assert [message.detached for message in sent.messages] == [True]
    talk.say(said(Nack(sent.messages[0].task, 2, "full"), by=B))
    talk.say(said(result(tasks[0], seconds=1.0)))
    effects = talk.take()
    assert [message.detached for message in effects[-1].messages] == [False]


def handed(*tasks: OwnedTask) -> Conversation:
    """Let the peer B have been sent these tasks, to own them; it has not answered."""
    fillers = make_tasks(2)
    for index, filler in enumerate(fillers):
        filler.id = bytes([index + 1]) * 16
    talk = begin(*fillers[:2])
    join_peer(talk)
    talk.say(Submitted(list(tasks)))
    talk.say(asked(*tasks))
    sent = talk.take()[-1]
    assert sent == send(*(detached(task) for task in tasks), to=B)
    return talk


def test_a_peer_that_dies_before_it_has_accepted() -> None:
    """The task goes to another one; one that must not run twice is lost."""
    plain, once = make_task(1), make_task(2, options={"once": True})
    talk = handed(plain, once)
    talk.say(joined(C, slots=1))
    talk.say(NodeLost(B, "silent", died=False))
    effects = talk.take()
    assert [(task, outcome.ending) for task, outcome in effects[0].ended] == [(once, Ending.LOST)]
    assert detached(plain, 2) in [message for effect in effects[1:] for message in effect.messages]


def test_a_task_that_is_wanted_back_is_not_handed_over_before_the_answer() -> None:
    """Withdrawn at the peer, it is cancelled; where it runs there, the peer has it."""
    first, second = make_tasks(2)
    talk = handed(first, second)
    talk.say(WithdrawAsked([first.id, second.id]))
    talk.expect(send(Withdraw(first.id, 1), to=B), send(Withdraw(second.id, 1), to=B))
    talk.say(said(Accepted(first.id, 1), Accepted(second.id, 1), by=B))
    talk.say(dropped(first, by=B))
    talk.expect(WithdrawAnswered(first.id, True), settle(first, Outcome(Ending.CANCELLED)))
    talk.say(said(Withdrawn(second.id, 1, "running"), by=B))
    talk.expect(WithdrawAnswered(second.id, False))
    talk.wait(0.3)
    talk.expect(HandedOver([second]))
    talk.say(WithdrawAsked([second.id]))
    talk.expect(WithdrawAnswered(second.id, False))


def test_a_purge_does_not_count_what_a_peer_has_started() -> None:
    """It waits no longer for a task that is handed over; nor does a revoke keep one here."""
    purged, revoked = make_tasks(2)
    talk = handed(purged, revoked)
    talk.say(Revoked([revoked.id]))
    talk.say(accepted(revoked, 1))
    talk.expect(HandedOver([revoked]))
    talk.say(PurgeAsked(b"command"))
    talk.take()
    talk.say(said(Accepted(purged.id, 1), Withdrawn(purged.id, 1, "running"), by=B))
    talk.wait(0.3)
    assert HandedOver([purged]) in talk.take()
    talk.wait(0.5)
    assert [effect.discarded for effect in talk.take() if isinstance(effect, PurgeAnswered)] == [0]


def test_what_ends_before_it_comes_to_that_is_settled_as_ever() -> None:
    """What is asked for is not known any more, or ends while it is called back."""
    first, second = make_tasks(2)
    talk = begin(first)
    talk.say(joined(B))
    talk.say(asked(first, second))
    talk.expect(send(Withdraw(first.id, 1)))
    talk.say(said(result(first)))
    talk.expect(send(rack(first)), settle(first))
    talk.wait(3.0)


def test_what_waits_for_its_time_does_so_at_the_peer() -> None:
    """With what is left of its durations, and no credit; so does what waits for its next try."""
    parked = make_task(1, options={"countdown": 10.0, "expires": 20.0, "priority": 7})
    failed = make_task(2, options={"max_retries": 3})
    talk = begin(parked, failed)
    talk.say(said(Parked(parked.id, 1)), at=1.0)
    asks = RetryAsked(dump_failure(ValueError("no")), delay=5.0, most=3)
    talk.say(said(result(failed, status=Status.RETRY)._replace(payload=dump_retry(asks))))
    talk.expect(RetryPlanned(failed.id, 5.0), send(rack(failed)))
    talk.say(joined(B))
    talk.say(asked(parked, failed), at=2.0)
    talk.expect(send(Withdraw(parked.id, 1)), send(detached(failed, 2, countdown=4.0, retries=1), to=B))
    talk.say(dropped(parked))
    talk.expect(send(detached(parked, 2, countdown=8.0, expires=18.0), to=B))
    talk.say(said(Accepted(parked.id, 2), Accepted(failed.id, 2), by=B))
    talk.expect(HandedOver([parked, failed]))
    talk.wait(30.0)


def test_what_waits_for_its_next_try_goes_on_here_without_a_peer() -> None:
    """It goes out again when its time has come."""
    task = make_task()
    talk = begin(task)
    asks = RetryAsked(dump_failure(ValueError("no")), delay=2.0, most=3)
    talk.say(said(result(task, status=Status.RETRY)._replace(payload=dump_retry(asks))))
    talk.take()
    talk.say(asked(task))
    talk.wait(2.0)
    (sent,) = talk.take()
    assert [message.attempt for message in sent.messages] == [2]


def test_other_tasks_go_on_as_ever() -> None:
    """They are sent, accepted and taken back as before; and so it is where the own node is not known yet."""
    wanted, other = make_tasks(2)
    talk = begin(wanted, other)
    talk.say(asked(wanted))
    talk.say(said(Accepted(other.id, 1), Accepted(b"unknown", 1)))
    talk.say(dropped(other))
    talk.expect(send(submit(other, 2)))
    early = Conversation(Owner())
    early.say(asked(wanted))
    early.say(joined(OWN))
    early.say(Submitted([task := make_task(3)]))
    early.expect(send(submit(task)))


def test_who_takes_a_task_over_goes_on_counting() -> None:
    """Its tries and its deaths; what a peer says of them is believed within reason."""
    task = make_task(1, options={"retries": 2, "deaths": 1, "priority": 7})
    take_up(task)
    assert (task.retries, len(task.deaths or ()), task.options) == (2, 1, {"priority": 7})
    plain, foul = make_task(2, options={"priority": 7}), make_task(3, options={"retries": "x", "deaths": 99})
    take_up(plain)
    take_up(foul)
    tried = make_task(4, options={"retries": 2})
    take_up(tried)
    take_up(make_task(5))
    assert (tried.retries, tried.deaths, tried.options) == (2, None, {})
    assert (plain.retries, plain.deaths, plain.options) == (0, None, {"priority": 7})
    assert (foul.retries, len(foul.deaths or ())) == (0, MAX_DEATHS - 1)


def test_the_deaths_of_a_task_go_with_it() -> None:
    """So that it kills no more workers than it may."""
    task = make_task()
    talk = begin(task)
    talk.say(asked(task))
    talk.say(said(result(task, status=Status.WORKER_LOST)))
    talk.take()
    talk.say(joined(B))
    talk.wait(0.3)
    talk.expect(send(Withdraw(task.id, 2)))
    talk.say(dropped(task, 2))
    talk.expect(send(detached(task, 3, deaths=1), to=B))


def test_many_are_gone_through_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the node has time for other things between; each has its turn, and what ends first loses its own."""
    monkeypatch.setattr(handing_over, "SLICE", 2)
    tasks = make_tasks(6)
    talk = begin(*tasks, slots=6)
    talk.say(said(*(Accepted(task.id, 1) for task in tasks)))
    join_peer(talk)
    talk.say(asked(*tasks))
    talk.expect(send(Withdraw(tasks[0].id, 1), Withdraw(tasks[1].id, 1)))
    talk.say(said(result(tasks[2])))
    talk.take()
    talk.wait(0.3)
    talk.expect(send(Withdraw(tasks[3].id, 1)))
    talk.wait(0.6)
    talk.expect(send(Withdraw(tasks[4].id, 1), Withdraw(tasks[5].id, 1)))


def test_what_is_alike_is_judged_once_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a peer takes a task depends on its function, its serializer and its tags alone."""
    tasks = [*make_tasks(20), make_task(50, "g")]
    talk = begin(*tasks, slots=50)
    talk.say(said(*(Started(task.id, 1) for task in tasks[:10])))
    join_peer(talk)
    judged: list[object] = []
    can_run = NodeAccount.can_run

    def counted(node: NodeAccount, work: Any) -> bool:
        judged.append(work)
        return can_run(node, work)

    monkeypatch.setattr(NodeAccount, "can_run", counted)
    talk.say(asked(*tasks))
    (sent,) = talk.take()
    assert [message.task for message in sent.messages] == [task.id for task in tasks[10:]]
    assert len(judged) <= 2


@pytest.mark.parametrize("kind", ["draining", "other function", "none"])
def test_which_tasks_are_stranded(kind: str) -> None:
    """Those that no other node could run: whoever ends their runs would have them start here again."""
    task = make_task()
    talk = begin(task)
    owner: Any = talk.machine
    if kind != "none":
        talk.say(joined(B, draining=kind == "draining", functions=("g",) if kind == "other function" else ("f",)))
    assert owner.stranded(OWN) == {task.id}
    talk.say(joined(C))
    assert owner.stranded(OWN) == frozenset()
