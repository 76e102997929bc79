"""When tasks may start and until when they must have: from options to instants, and back to what is left."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import A, B, joined, make_task, result, said, send, settle, submit

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import NodeLost, Owner, Settle, Submitted, WithdrawAsked
from meshq.core.schedule import Schedule, has_expired, is_delayed, submission, take_over_once
from meshq.protocol.messages import Accepted, Started, Status

EXPIRED = Outcome(Ending.EXPIRED)


def scheduled(now: float = 0.0, **options: Any) -> OwnedTask:
    """Return a task whose options were read at this time."""
    task = make_task(options=options)
    Schedule({task.id: task}, lambda *_: None).take(task, now)
    return task


def test_durations_become_instants() -> None:
    """They count from when the task was submitted."""
    task = scheduled(100.0, countdown=5, expires=60.0, priority=9)
    assert (task.due_at, task.expires_at, task.priority) == (105.0, 160.0, 9)
    assert (is_delayed(task, 104.9), is_delayed(task, 105.0)) == (True, False)
    assert (has_expired(task, 159.9), has_expired(task, 160.0)) == (False, True)


@pytest.mark.parametrize("options", [{}, {"chunk": True}, {"countdown": 0, "priority": "high", "expires": -1}])
def test_what_says_nothing_changes_nothing(options: dict[str, Any]) -> None:
    """Options for the node alone, and values that make no sense, leave a task a plain one."""
    task = scheduled(**options)
    assert (task.due_at, task.expires_at, task.priority) == (None, None, 5)
    assert not is_delayed(task, 0.0)
    assert not has_expired(task, 1e9)
    assert submission(task, 0.0).options is task.options


def test_a_submit_says_what_is_left() -> None:
    """Less each time; a countdown that is over is not mentioned, and an expiry that is past is 0."""
    task = scheduled(countdown=4, expires=8, priority=1)
    assert submission(task, 1.0).options == {"countdown": 3.0, "expires": 7.0, "priority": 1}
    assert submission(task, 4.0).options == {"expires": 4.0, "priority": 1}
    assert submission(task, 9.0).options == {"expires": 0.0, "priority": 1}
    assert submission(scheduled(countdown=4), 1.0).options == {"countdown": 3.0}
    assert task.options == {"countdown": 4, "expires": 8, "priority": 1}


def test_a_waiting_task_expires_at_its_time(talk: Conversation, owner: Owner) -> None:
    """Exactly then, and those that were withdrawn before are not heard of again."""
    first, second, gone = (make_task(n, "nowhere", options={"expires": 0.1 * n}) for n in (1, 2, 3))
    talk.say(Submitted([second, first, gone]))
    assert owner.next_deadline() == 0.1
    talk.say(WithdrawAsked([gone.id]))
    talk.take()
    talk.wait(0.1)
    talk.expect(settle(first, EXPIRED))
    assert first.state is TaskState.EXPIRED
    talk.wait(0.2)
    talk.expect(settle(second, EXPIRED))
    talk.wait(5.0)
    assert owner.next_deadline() is None


def test_what_expires_at_once_is_not_sent(talk: Conversation) -> None:
    """However many nodes could take it; the others go out."""
    late, plain = make_task(1, options={"expires": 0}), make_task(2)
    talk.say(joined())
    talk.say(Submitted([late, plain]))
    talk.expect(Settle([(late, EXPIRED)]), send(submit(plain)))


def test_what_expires_while_the_owner_is_late_is_not_sent(talk: Conversation) -> None:
    """A node that joins then gets what may still start."""
    late, plain = make_task(1, options={"expires": 1}), make_task(2)
    talk.say(Submitted([late, plain]))
    talk.say(joined(), at=3.0)
    talk.expect(Settle([(late, EXPIRED)]), send(submit(plain)))


def test_what_a_node_has_is_the_nodes_to_end(talk: Conversation) -> None:
    """It may have started there in time; an attempt that is not answered is sent again with nothing left."""
    task = make_task(options={"expires": 0.5})
    talk.say(joined())
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    talk.wait(1.0)
    talk.expect(send(submit(task)._replace(options={"expires": 0.0})))
    talk.say(said(result(task, status=Status.EXPIRED)))
    assert talk.take()[1] == settle(task, Outcome(Ending.EXPIRED, "msgpack", b"42"))


@pytest.mark.parametrize("started", [False, True])
def test_what_comes_back_too_late_has_expired(talk: Conversation, started: bool) -> None:
    """Where its node is lost after that, it is not tried again, and its story says whether it was tried."""
    task = make_task(options={"expires": 0.5})
    talk.say(joined(A))
    talk.say(joined(B))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    talk.say(said(Started(task.id, 1) if started else Accepted(task.id, 1)))
    talk.wait(1.0)
    talk.say(NodeLost(A, "it was restarted", died=True))
    story = "attempt 1 on node@a: the node was lost (it was restarted)"
    talk.expect(settle(task, Outcome(Ending.EXPIRED, text=story if started else "")))


def test_what_comes_back_in_time_goes_out_with_what_is_left(talk: Conversation) -> None:
    """To another node, where it has yet to wait."""
    task = make_task(options={"countdown": 10.0, "expires": 20.0})
    talk.say(joined(A))
    talk.say(joined(B))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False), at=4.0)
    talk.expect(send(submit(task, 2)._replace(options={"countdown": 6.0, "expires": 16.0}), to=B))
    assert task.parked


def test_a_task_that_must_not_run_twice(talk: Conversation) -> None:
    """Is known to its owner by its options, which go to the node as they are."""
    task = make_task(options={"once": True})
    talk.say(joined())
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    assert task.once


def test_a_further_try_says_how_many_there_were() -> None:
    """Beside what the call has of options."""
    task = scheduled(expires=5.0)
    task.retries = 2
    assert submission(task, 1.0).options == {"expires": 4.0, "retries": 2}


@pytest.mark.parametrize("options", [None, {"priority": 9}, {"once": True}])
def test_a_node_that_declares_at_most_once_is_obeyed(options: dict[str, Any] | None) -> None:
    """Where the call says nothing of it; it is told with the attempt, for node and worker to keep to it."""
    task = make_task(options=options)
    take_over_once(task)
    assert submission(task, 0.0).options == {**(options or {}), "once": True}


def test_a_call_that_says_how_it_is_delivered_is_obeyed() -> None:
    """More than what the function declares."""
    task = scheduled(once=False)
    take_over_once(task)
    assert (task.once, submission(task, 0.0).options) == (False, {"once": False})


def test_who_owns_a_task_next_is_told_what_became_of_it_so_far() -> None:
    """The tries are for the worker too; the deaths for whoever takes a detached task over."""
    task, detached = make_task(options={"max_retries": 5}), make_task(detached=True)
    for each in (task, detached):
        each.deaths, each.retries = ["once", "twice"], 3
    assert submission(task, 0.0).options == {"max_retries": 5, "retries": 3}
    assert submission(detached, 0.0).options == {"retries": 3, "deaths": 2}
    task.retries = detached.retries = 0
    assert submission(task, 0.0).options == {"max_retries": 5}
    assert submission(detached, 0.0).options == {"deaths": 2}
