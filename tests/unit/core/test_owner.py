"""The owner: tasks from submission until each is settled once, as conversations of events and effects."""

from __future__ import annotations

import math

import pytest
from conversation import Conversation
from owner_words import (
    CANCELLED,
    DONE,
    A,
    B,
    C,
    joined,
    lost,
    make_task,
    make_tasks,
    rack,
    result,
    said,
    send,
    sent,
    settle,
    start,
    submit,
    teach,
)

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    Leaving,
    NodeLost,
    Owner,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.protocol.messages import (
    Accepted,
    Bye,
    Credit,
    Draining,
    Holding,
    Nack,
    Ping,
    Relay,
    Relayed,
    Result,
    Started,
    Status,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.payload import Payload
from meshq.protocol.retries import RetryAsked, dump_retry

# ---------------------------------------------------------------------- submit, route, result, settle


def test_a_task_from_submission_to_settlement(talk: Conversation, task: OwnedTask) -> None:
    """A task goes to a node; its result settles it and is acknowledged."""
    start(talk, task)
    assert (task.state, task.node) == (TaskState.PENDING, A)
    talk.say(said(result(task)), at=0.1)
    talk.expect(send(rack(task)), settle(task))
    assert task.state is TaskState.DONE


def test_whether_a_node_has_work(owner: Owner, talk: Conversation, task: OwnedTask) -> None:
    """It has until the result has come; a node that nobody knows has none."""
    start(talk, task)
    assert [owner.is_busy(node) for node in (A, B)] == [True, False]
    talk.say(said(result(task)), at=0.1)
    talk.expect(send(rack(task)), settle(task))
    assert not owner.is_busy(A)


def test_a_result_that_comes_twice_settles_once(talk: Conversation, task: OwnedTask) -> None:
    """A copy of a result is acknowledged again, and that is all."""
    start(talk, task)
    talk.say(said(result(task), result(task)))
    talk.expect(send(rack(task), rack(task)), settle(task))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)))


def test_news_of_an_attempt_show_in_its_state(talk: Conversation, task: OwnedTask) -> None:
    """ACCEPTED makes a task QUEUED and STARTED makes it STARTED; an ACCEPTED that is late changes nothing."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    assert task.state is TaskState.QUEUED
    talk.say(said(Started(task.id, 1)))
    talk.say(said(Accepted(task.id, 1)))
    assert task.state is TaskState.STARTED


def test_news_of_another_attempt_are_ignored(talk: Conversation, task: OwnedTask) -> None:
    """ACCEPTED, STARTED, NACK and WITHDRAWN count only for the attempt that is under way."""
    start(talk, task)
    talk.say(
        said(Accepted(task.id, 2), Started(task.id, 0), Nack(task.id, 7, "full"), Withdrawn(task.id, 9, "dropped"))
    )
    assert (task.state, task.accepted) == (TaskState.PENDING, False)
    talk.wait(0.9)
    assert (task.node, task.attempt) == (A, 1)


@pytest.mark.parametrize(
    ("status", "ending", "state"),
    [
        (Status.OK, Ending.DONE, TaskState.DONE),
        (Status.FAILURE, Ending.FAILURE, TaskState.FAILURE),
        (Status.REVOKED, Ending.REVOKED, TaskState.REVOKED),
        (Status.EXPIRED, Ending.EXPIRED, TaskState.EXPIRED),
        (Status.TIME_LIMIT, Ending.TIME_LIMIT, TaskState.FAILURE),
        (77, Ending.FAILURE, TaskState.FAILURE),
        (-1, Ending.FAILURE, TaskState.FAILURE),
    ],
)
def test_each_status_has_its_ending(
    talk: Conversation, task: OwnedTask, status: int, ending: Ending, state: TaskState
) -> None:
    """The result's status tells how the task ended; one that is not known is a failure."""
    start(talk, task)
    talk.say(said(result(task, status=status)))
    talk.expect(send(rack(task)), settle(task, Outcome(ending, "msgpack", b"42")))
    assert task.state is state


def test_an_id_that_is_under_way_is_not_taken_again(talk: Conversation, owner: Owner, task: OwnedTask) -> None:
    """A second task with the id of an unsettled one is ignored, and leaks no credit."""
    start(talk, task)
    talk.say(Submitted([make_task()]))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))
    talk.wait(1.0)
    assert owner.next_deadline() is None


def test_an_unknown_event_is_an_error(owner: Owner) -> None:
    """An event that the owner does not know is a mistake of the caller's, and is raised."""
    with pytest.raises(KeyError):
        owner.handle("hello", 0.0)  # type: ignore[arg-type]


def test_there_is_nothing_to_wait_for_without_tasks(talk: Conversation, owner: Owner, task: OwnedTask) -> None:
    """An owner without tasks asks for no tick."""
    talk.say(joined())
    assert owner.next_deadline() is None
    start(talk, task)
    assert owner.next_deadline() == 0.25
    talk.say(said(result(task)), at=0.1)
    talk.expect(send(rack(task)), settle(task))
    talk.wait(1.0)
    assert owner.next_deadline() is None


# ---------------------------------------------------------------------- credit, windows, the choice of a node


def test_before_any_credit_a_node_gets_two_attempts_a_slot(talk: Conversation) -> None:
    """A node of two slots that has not granted credit gets four attempts, and one more for each result."""
    tasks = make_tasks(6)
    talk.say(joined())
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(said(result(tasks[0])))
    talk.expect(send(rack(tasks[0])), settle(tasks[0]), send(submit(tasks[4])))


def test_the_credit_of_the_highest_sequence_counts(talk: Conversation) -> None:
    """A cap that is overtaken by a later one has no effect."""
    tasks = make_tasks(20)
    talk.say(joined())
    teach(talk, seconds=0.001)
    talk.say(said(Credit(2, 6)))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:6])))
    talk.say(said(Credit(1, 15)))
    talk.say(said(Credit(2, 15)))
    talk.say(said(Credit(3, 8)))
    talk.expect(send(*map(submit, tasks[6:8])))


def test_a_lower_cap_calls_nothing_back(talk: Conversation) -> None:
    """When the cap falls below what is under way, nothing goes out until enough has come back."""
    tasks = make_tasks(5)
    talk.say(joined())
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(said(Credit(1, 2)))
    for done in tasks[:2]:
        talk.say(said(result(done)))
        talk.expect(send(rack(done)), settle(done))
    talk.say(said(result(tasks[2])))
    talk.expect(send(rack(tasks[2])), settle(tasks[2]), send(submit(tasks[4])))


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 3), (0.01, 5), (0.001, 23)])
def test_the_window_goes_by_the_mean_time(talk: Conversation, seconds: float, count: int) -> None:
    """Of a function that takes longer, less is sent ahead of the two slots."""
    tasks = make_tasks(100)
    talk.say(joined())
    teach(talk, seconds)
    talk.say(said(Credit(1, 1000)))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:count])))


@pytest.mark.parametrize(
    ("status", "ending"), [(Status.REVOKED, Ending.REVOKED), (Status.EXPIRED, Ending.EXPIRED)]
)
def test_what_did_not_run_says_nothing_of_the_time(talk: Conversation, status: Status, ending: Ending) -> None:
    """Results with no seconds, as of revoked tasks, do not make a slow function look quick."""
    tasks = make_tasks(30)
    talk.say(joined())
    teach(talk, seconds=0.01)
    talk.say(said(Credit(1, 1000)))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:5])))
    talk.say(said(*(result(each, status=status) for each in tasks[:5])))
    settled = Settle([(each, Outcome(ending, "msgpack", b"42")) for each in tasks[:5]])
    talk.expect(send(*map(rack, tasks[:5])), settled, send(*map(submit, tasks[5:10])))


def test_work_goes_to_the_node_with_the_least_for_a_slot(talk: Conversation) -> None:
    """Of two idle nodes, the one with twice the slots gets twice the tasks."""
    tasks = make_tasks(6)
    talk.say(joined(A, slots=2))
    talk.say(joined(B, slots=4))
    talk.say(Submitted(tasks))
    went = sent(talk)
    assert (len(went[A]), len(went[B])) == (2, 4)


def test_the_work_of_other_clients_counts(talk: Conversation, task: OwnedTask) -> None:
    """A node that is busy for others is chosen after one that is idle."""
    talk.say(joined(A))
    talk.say(joined(B))
    talk.say(said(Credit(1, 4, others=3)))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task), to=B))


def test_a_node_that_joins_in_the_middle_gets_waiting_work_at_once(talk: Conversation) -> None:
    """What waits for credit goes to a new node the moment it joins."""
    tasks = make_tasks(10)
    talk.say(joined(A))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(joined(B), at=3.0)
    talk.expect(send(*map(submit, tasks[4:8]), to=B))


def test_two_functions_share_the_credit_of_a_node(talk: Conversation) -> None:
    """The many tasks of one function do not hold up those of another, whichever was first."""
    fs, gs = make_tasks(40, "f"), make_tasks(10, "g")
    talk.say(joined())
    talk.say(Submitted(fs + gs))
    talk.expect(send(*map(submit, fs[:4])))
    flying = fs[:4]
    order = ""
    for _ in range(20):
        done = flying.pop(0)
        talk.say(said(result(done)))
        talk.expect(send(rack(done)), settle(done))
        [message] = sent(talk)[A]
        flying.append(next(each for each in fs + gs if each.id == message.task))
        order += message.function
    assert order == "gf" * 10


def test_a_slow_function_gets_its_share_beside_a_quick_one(talk: Conversation) -> None:
    """Quick attempts that are under way by the score do not keep a slow function's task at home."""
    quick, slow = make_tasks(200, "g"), make_tasks(5, "f")
    talk.say(joined())
    teach(talk, 1.0, "f")
    teach(talk, 0.0005, "g")
    talk.say(said(Credit(1, 60)))
    talk.say(Submitted(quick))
    talk.expect(send(*map(submit, quick[:43])))
    talk.say(Submitted(slow))
    talk.expect(send(*map(submit, slow[:3])))


def test_detached_tasks_go_beyond_credit(talk: Conversation) -> None:
    """Detached tasks are all sent at once, even past others of their function that must wait."""
    plain, detached = make_tasks(6), [make_task(500 + index, detached=True) for index in range(10)]
    talk.say(joined())
    talk.say(Submitted(plain + detached))
    talk.expect(send(*map(submit, plain[:4]), *map(submit, detached)))
    talk.say(said(*(Accepted(each.id, 1) for each in detached[:7])))
    assert [each.accepted for each in detached] == [True] * 7 + [False] * 3
    talk.say(said(result(detached[0])))
    talk.expect(send(rack(detached[0])), settle(detached[0]))


# ---------------------------------------------------------------------- what is sent again


def test_what_is_not_answered_within_a_second_is_sent_again(talk: Conversation, task: OwnedTask) -> None:
    """The same attempt goes to the same node each second, until it is accepted."""
    talk.wait(7.0)
    start(talk, task)
    talk.wait(7.99)
    talk.wait(8.0)
    talk.expect(send(submit(task)))
    talk.wait(8.99)
    talk.wait(9.0)
    talk.expect(send(submit(task)))
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(20.0)


def test_nothing_is_sent_to_a_lost_node(talk: Conversation, task: OwnedTask) -> None:
    """Its attempt goes to another node, and only that one is sent it again."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.wait(1.0)
    talk.expect(send(submit(task, 2), to=B))


def test_what_has_started_is_not_sent_again(talk: Conversation, task: OwnedTask) -> None:
    """STARTED stands for ACCEPTED too."""
    start(talk, task)
    talk.say(said(Started(task.id, 1)))
    talk.wait(10.0)


def test_the_first_result_wins_and_the_later_attempt_is_called_back(talk: Conversation, task: OwnedTask) -> None:
    """A result of the node thought lost settles the task; the attempt sent elsewhere is withdrawn."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(result(task, 1), by=A))
    talk.expect(send(Withdraw(task.id, 2), to=B), send(rack(task, 1)), settle(task))
    talk.say(said(Withdrawn(task.id, 2, "running"), by=B))
    talk.say(said(result(task, 2), by=B))
    talk.expect(send(rack(task, 2), to=B))


def test_a_result_of_an_earlier_attempt_settles_a_task_that_waits(talk: Conversation, task: OwnedTask) -> None:
    """A late result counts also while the task waits for another node, and it is not sent out any more."""
    start(talk, task)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))
    talk.say(joined(B))


def test_each_of_many_results_has_its_own_end(owner: Owner) -> None:
    """Whatever came before it: the like of it, the same bytes that mean something else, or a slower function."""
    quick, slow = make_tasks(6), make_tasks(2, "g")
    tasks = [*quick[:3], slow[0], *quick[3:], slow[1]]
    ends: list[tuple[int, str, Payload, float]] = [
        (Status.OK, "msgpack", b"1", 0.5),
        (Status.OK, "msgpack", b"1", 0.5),
        (Status.OK, "msgpack", b"2", 0.2),
        (Status.OK, "msgpack", [b"2"], 4.0),
        (Status.OK, "msgpack", [b"2"], 0.0),
        (Status.FAILURE, "msgpack", b"2", float("nan")),
        (Status.FAILURE, "json", b"2", 0.0),
        (Status.OK, "json", b"2", 2.0),
    ]
    owner.handle(joined(slots=1, functions=("f", "g")), 0.0)
    owner.handle(Submitted(tasks), 0.0)
    results = [Result(task.id, 1, *end) for task, end in zip(tasks, ends, strict=True)]
    effects = owner.handle(said(*results), 1.0)
    settled = [
        (task, Outcome(Ending.DONE if status == Status.OK else Ending.FAILURE, encoding, payload))
        for task, (status, encoding, payload, _) in zip(tasks, ends, strict=True)
    ]
    assert effects == [send(*map(rack, tasks)), Settle(settled)]
    assert [task.state for task in tasks] == [TaskState.DONE] * 5 + [TaskState.FAILURE] * 2 + [TaskState.DONE]
    assert owner._means.get("f") == pytest.approx(0.4)
    assert owner._means.get("g") == pytest.approx(3.0)


# ---------------------------------------------------------------------- workers lost


def test_a_story_may_come_in_pieces_and_be_garbage(talk: Conversation, task: OwnedTask) -> None:
    """A reason that is not text is still told as well as can be."""
    start(talk, task)
    talk.say(said(Result(task.id, 1, Status.WORKER_LOST, "", [b"exit \xff", bytearray(b" 9")])))
    talk.expect(send(rack(task)), send(submit(task, 2)))
    assert task.deaths == ["attempt 1 on node@a: exit \ufffd 9"]


def test_a_lost_worker_of_an_earlier_attempt_is_not_charged(talk: Conversation, task: OwnedTask) -> None:
    """The news that an attempt re-sent elsewhere meanwhile has died is only acknowledged."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(lost(task, 1)))
    talk.expect(send(rack(task, 1)))
    talk.say(said(lost(task, 1), by=B))
    talk.expect(send(rack(task, 1), to=B))
    assert task.deaths is None


def test_a_detached_task_is_not_tried_again_after_its_node_gave_it_up(talk: Conversation) -> None:
    """The node that took a detached task over has charged its deaths: its word is the last."""
    task = make_task(detached=True)
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.say(said(lost(task, 1, b"attempt 3: signal 9")))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.WORKER_LOST, text="attempt 3: signal 9")))


# ---------------------------------------------------------------------- refusals


def test_a_full_node_is_left_alone_for_a_moment(talk: Conversation, task: OwnedTask) -> None:
    """After NACK(full) the task waits for the next turn after 0.1 s, as a new attempt."""
    start(talk, task)
    talk.say(said(Nack(task.id, 1, "full")), at=0.2)
    talk.wait(0.25)
    talk.wait(0.5)
    talk.expect(send(submit(task, 2)))


def test_a_refused_task_goes_to_another_node_at_once(talk: Conversation, task: OwnedTask) -> None:
    """After NACK(full) the task goes to a node that is not full, before all others that wait."""
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, "full")))
    talk.expect(send(submit(task, 2), to=B))


@pytest.mark.parametrize("reason", ["draining", "a reason of a later version"])
def test_a_node_that_refuses_for_good_gets_nothing_more(talk: Conversation, task: OwnedTask, reason: str) -> None:
    """After NACK(draining), or for a reason not known here, all work goes elsewhere."""
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, reason)))
    talk.expect(send(submit(task, 2), to=B))
    later = make_tasks(20)[1:]
    talk.say(Submitted(later))
    talk.expect(send(*map(submit, later[:3]), to=B))


def test_a_node_that_lacks_a_function_keeps_getting_others(talk: Conversation, task: OwnedTask) -> None:
    """NACK(unknown-task) strikes the function off the node's list, and nothing else."""
    other = make_task(1001, "g")
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, "unknown-task")))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(Submitted([other]))
    talk.expect(send(submit(other)))


def test_a_node_that_lacks_a_serializer(talk: Conversation, task: OwnedTask) -> None:
    """NACK(serializer) strikes the serializer off the node's list."""
    start(talk, task, A, B)
    talk.say(said(Nack(task.id, 1, "serializer")))
    talk.expect(send(submit(task, 2), to=B))
    later = make_task(2)
    talk.say(Submitted([later]))
    talk.expect(send(submit(later), to=B))


def test_a_draining_node_gets_nothing_new(talk: Conversation, task: OwnedTask) -> None:
    """DRAINING stops new work; what comes back as NACK(draining) goes elsewhere."""
    start(talk, task)
    talk.say(said(Draining()))
    later = make_task(2)
    talk.say(Submitted([later]))
    talk.say(said(Nack(task.id, 1, "draining")))
    talk.wait(4.0)
    talk.say(joined(B))
    talk.expect(send(submit(task, 2), submit(later), to=B))


def test_what_a_draining_node_handed_back_unheard_is_asked_for(talk: Conversation) -> None:
    """Its word may be lost with a connection; what runs there, or is the node's own, stays."""
    running, waiting, entrusted = make_task(1), make_task(2), make_task(3, detached=True)
    talk.say(joined(A))
    talk.say(Submitted([running, waiting, entrusted]))
    talk.take()
    talk.say(said(Started(running.id, 1), Accepted(waiting.id, 1), Accepted(entrusted.id, 1), Draining()))
    talk.say(joined(B))
    talk.wait(0.9)
    talk.wait(1.0)
    talk.expect(send(Withdraw(waiting.id, 1)))
    talk.say(said(Withdrawn(waiting.id, 1, "unknown")))
    talk.expect(send(submit(waiting, 2), to=B))
    talk.say(said(Accepted(waiting.id, 2), by=B))
    talk.wait(5.0)


# ---------------------------------------------------------------------- leaving


def test_leaving_cancels_what_is_unsettled(talk: Conversation) -> None:
    """All unsettled tasks end and the nodes within reach get BYE; accepted detached tasks are left to them."""
    plain, entrusted, unaccepted = make_task(1), make_task(2, detached=True), make_task(3, detached=True)
    waiting = make_task(4, "nowhere")
    talk.say(joined(A))
    talk.say(joined(B, functions=()))
    talk.say(NodeLost(B, "nothing heard for 3.0 s", died=False))
    talk.say(Submitted([plain, entrusted, unaccepted, waiting]))
    talk.expect(send(submit(plain), submit(entrusted), submit(unaccepted)))
    talk.say(said(Accepted(entrusted.id, 1)))
    talk.say(Leaving())
    talk.expect(send(Bye()), Settle([(each, CANCELLED) for each in (plain, unaccepted, waiting)]))
    assert entrusted.state is TaskState.QUEUED


def test_leaving_answers_who_waits_for_a_withdrawal(talk: Conversation, task: OwnedTask) -> None:
    """A withdrawal that no node has answered is complete when the owner leaves."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(Leaving())
    talk.expect(WithdrawAnswered(task.id, True), send(Bye()), settle(task, CANCELLED))


# ---------------------------------------------------------------------- time


def test_a_task_that_expires_while_it_waits_ends(talk: Conversation, owner: Owner) -> None:
    """At its time, and not when its owner next looks around; one that was sent is the node's to end."""
    waiting, sent_out = make_task(1, "nowhere", options={"expires": 0.1}), make_task(2, options={"expires": 0.1})
    talk.say(joined())
    talk.say(Submitted([waiting, sent_out]))
    talk.expect(send(submit(sent_out)))
    assert owner.next_deadline() == 0.1
    talk.wait(0.1)
    talk.expect(settle(waiting, Outcome(Ending.EXPIRED)))
    talk.say(said(result(sent_out)))
    talk.expect(send(rack(sent_out)), settle(sent_out))


def test_a_purge_is_answered_once_the_tasks_have_ended(talk: Conversation, task: OwnedTask) -> None:
    """So that who asked finds their futures settled; a result that comes first is not discarded."""
    start(talk, task)
    waiting = make_task(2, "nowhere")
    talk.say(Submitted([waiting]))
    talk.say(PurgeAsked(b"c" * 16))
    talk.expect(send(Withdraw(task.id, 1)), settle(waiting, Outcome(Ending.REVOKED)))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task), PurgeAnswered(b"c" * 16, 1))


# ---------------------------------------------------------------------- what nodes pass on


def test_a_revoke_that_a_node_passes_on(talk: Conversation) -> None:
    """What waits ends at once; what a node has is not sent out again, once it is lost."""
    task, waiting = make_task(1), make_task(2, "nowhere")
    start(talk, task, A, B)
    talk.say(Submitted([waiting]))
    talk.say(said(Relay(b"c" * 16, "revoke", [waiting.id, task.id, b"?" * 16])))
    talk.expect(settle(waiting, Outcome(Ending.REVOKED)))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(settle(task, Outcome(Ending.REVOKED)))


def test_a_purge_that_a_node_passes_on(talk: Conversation, task: OwnedTask) -> None:
    """It is carried out and answered; see ``test_discarding``."""
    start(talk, task)
    talk.say(said(Relay(b"c" * 16, "purge", [])))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.wait(1.9)
    talk.take()
    talk.wait(2.0)
    talk.take()
    talk.say(said(Relay(b"c" * 16, "purge", [])))
    talk.expect(send(Relayed(b"c" * 16, 0)))


def test_a_command_that_is_not_known_is_not_passed_on(talk: Conversation, task: OwnedTask) -> None:
    """A node of a later version may say what this owner does not understand."""
    start(talk, task)
    talk.say(said(Relay(b"c" * 16, "dance", [task.id])))


# ---------------------------------------------------------------------- hostile and mistaken nodes


def test_a_node_that_was_never_seen_is_not_heard(talk: Conversation, task: OwnedTask) -> None:
    """Messages of a node that never joined have no effect, results included."""
    start(talk, task)
    talk.say(said(result(task), Credit(1, 1000), by=C))


def test_results_for_unknown_tasks_are_acknowledged(talk: Conversation) -> None:
    """A result that nobody waits for is acknowledged, so that the node can forget it."""
    stranger = make_task(77)
    talk.say(joined())
    talk.say(said(result(stranger, 5), lost(stranger, 6)))
    talk.expect(send(rack(stranger, 5), rack(stranger, 6)))


def test_messages_that_are_not_for_an_owner_are_ignored(talk: Conversation, task: OwnedTask) -> None:
    """What a node should never send has no effect."""
    start(talk, task)
    talk.say(said(Ping(1), submit(task), rack(task), Withdraw(task.id, 1), Bye()))


@pytest.mark.parametrize("seconds", [-1.0, -math.inf, math.inf, math.nan, 1e308, 2**64])
def test_nonsense_about_time_breaks_nothing(talk: Conversation, seconds: float) -> None:
    """However long a node claims that a task took, the others still run, one at a time if need be."""
    tasks = make_tasks(30)
    talk.say(joined())
    talk.say(Submitted(tasks))
    flying = tasks[:4]
    talk.expect(send(*map(submit, flying)))
    talk.say(said(*(result(each, seconds=seconds) for each in flying)))
    talk.expect(send(*map(rack, flying)), Settle([(each, DONE) for each in flying]))
    assert 3 <= len(sent(talk)[A]) <= 4


@pytest.mark.parametrize(("cap", "count"), [(-1, 0), (0, 0), (2**63, 4)])
def test_nonsense_about_credit_breaks_nothing(talk: Conversation, cap: int, count: int) -> None:
    """A cap below zero keeps work away, and a huge one brings no more than is worth sending ahead."""
    talk.say(joined())
    talk.say(said(Credit(2**63, cap, -5), Credit(-1, 3)))
    tasks = make_tasks(10)
    talk.say(Submitted(tasks))
    if count:
        talk.expect(send(*map(submit, tasks[:count])))


def test_a_node_that_claims_countless_slots_does_not_get_everything(talk: Conversation) -> None:
    """No node gets more than 5,000 attempts at a time, whatever it says of itself."""
    talk.say(joined(slots=2**63))
    talk.say(Submitted([make_task(number) for number in range(6000)]))
    assert len(sent(talk)[A]) == 5000


def test_a_task_that_asks_for_another_try_waits_for_it(talk: Conversation, task: OwnedTask) -> None:
    """It is nobody's then, and goes out again in time; only the attempt under way is heard."""
    start(talk, task)
    asked = result(task, status=Status.RETRY)._replace(
        payload=dump_retry(RetryAsked(b"failure", most=1, backoff=3.0))
    )
    talk.say(said(asked))
    talk.expect(RetryPlanned(task.id, 3.0), send(rack(task)))
    talk.say(said(asked))
    talk.expect(send(rack(task)))
    talk.wait(3.0)
    talk.expect(send(submit(task, 2)._replace(options={"retries": 1})))
    talk.say(said(result(task, 2)))
    talk.expect(send(rack(task, 2)), settle(task))


def test_a_detached_task_that_may_have_run_is_lost(talk: Conversation) -> None:
    """The node that took it over says that its worker died, and it must not run twice."""
    task = make_task(detached=True, options={"once": True})
    start(talk, task)
    talk.say(said(lost(task, 1)))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.LOST, text="killed by signal 9")))


def test_what_a_node_has_forgotten_is_sent_again(talk: Conversation, task: OwnedTask) -> None:
    """It is asked about what it has accepted and said no more of."""
    talk.is_asked = True
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(5.5)
    talk.expect(send(Holding([[task.id, 1]])))
    talk.say(said(Withdrawn(task.id, 1, "unknown")))
    talk.expect(send(submit(task, 2)))


def test_a_function_that_its_node_declares_at_most_once_is_not_run_twice(talk: Conversation) -> None:
    """Though the caller knows no more than its name; other functions of the node, and other nodes', may be."""
    plain, careful, told = make_task(1), make_task(2, "g"), make_task(3, "g", options={"once": False})
    talk.say(joined(slots=4, once=["g", "h"]))
    talk.say(Submitted([plain, careful, told]))
    first = sent(talk)[A]
    assert {message.task: message.options for message in first} == {
        plain.id: None, careful.id: {"once": True}, told.id: {"once": False},
    }  # fmt: skip
    assert (plain.once, careful.once, told.once) == (False, True, False)
    talk.say(joined(B))
    talk.say(NodeLost(A, "silent", died=False))
    ended = [pair for effect in talk.take() if isinstance(effect, Settle) for pair in effect.ended]
    assert [(task, outcome.ending) for task, outcome in ended] == [(careful, Ending.LOST)]
