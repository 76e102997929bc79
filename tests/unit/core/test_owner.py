"""The owner: tasks from submission until each is settled once, as conversations of events and effects."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
    settle,
    submit,
)

from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owner import (
    Leaving,
    NodeLost,
    NodeReturned,
    NodeSuspected,
    Owner,
    Revoked,
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
    Message,
    Nack,
    Ping,
    Result,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)

NO_NODES_S = 5.0


@pytest.fixture
def owner() -> Owner:
    """An owner that waits 5 s for nodes."""
    return Owner(no_nodes_timeout=NO_NODES_S)


@pytest.fixture
def talk(owner: Owner) -> Iterator[Conversation]:
    """A conversation with the owner, in which nothing may be left over."""
    conversation = Conversation(owner)
    yield conversation
    conversation.end()


@pytest.fixture
def task() -> OwnedTask:
    """A task of the function f."""
    return make_task()


def start(talk: Conversation, task: OwnedTask, *nodes: bytes) -> None:
    """Let nodes join, then send the task to the first of them."""
    for node in nodes or (A,):
        talk.say(joined(node))
    talk.say(Submitted([task]))
    talk.expect(send(submit(task), to=nodes[0] if nodes else A))


def sent(talk: Conversation) -> dict[bytes, list[Submit]]:
    """Take the attempts just sent, by node."""
    return {effect.peer: effect.messages for effect in talk.take()}


def teach(talk: Conversation, seconds: float, function: str = "f") -> None:
    """Let the node A show how long a function takes."""
    task = make_task(900_000, function)
    talk.say(Submitted([task]))
    talk.expect(send(submit(task)))
    talk.say(said(result(task, seconds=seconds)))
    talk.expect(send(rack(task)), settle(task))


# ---------------------------------------------------------------------- submit, route, result, settle


def test_a_task_from_submission_to_settlement(talk: Conversation, owner: Owner, task: OwnedTask) -> None:
    """A task goes to a node; its result settles it and is acknowledged."""
    start(talk, task)
    assert (owner.unsettled(), owner.find(task.id), task.state) == (1, task, TaskState.PENDING)
    talk.say(said(result(task)), at=0.1)
    talk.expect(send(rack(task)), settle(task))
    assert (owner.unsettled(), owner.find(task.id), task.state) == (0, None, TaskState.DONE)


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
    assert owner.unsettled() == 1
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))
    assert owner.unsettled() == 0


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


def test_detached_tasks_go_beyond_credit(talk: Conversation, owner: Owner) -> None:
    """Detached tasks are all sent at once, even past others of their function that must wait."""
    plain, detached = make_tasks(6), [make_task(500 + index, detached=True) for index in range(10)]
    talk.say(joined())
    talk.say(Submitted(plain + detached))
    talk.expect(send(*map(submit, plain[:4]), *map(submit, detached)))
    assert owner.unaccepted() == 10
    talk.say(said(*(Accepted(each.id, 1) for each in detached[:7])))
    assert owner.unaccepted() == 3
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
    talk.wait(60.0)
    talk.say(joined(B))
    talk.expect(send(submit(task, 2), submit(later), to=B))


# ---------------------------------------------------------------------- nodes come and go


def test_a_suspect_node_gets_nothing_new_until_it_returns(talk: Conversation, task: OwnedTask) -> None:
    """A suspect node keeps what it has; new work waits for it, or goes elsewhere."""
    start(talk, task)
    talk.say(NodeSuspected(A))
    later = make_task(2)
    talk.say(Submitted([later]))
    talk.say(NodeReturned(A))
    talk.expect(send(submit(later)))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))


def test_tasks_of_a_lost_node_go_elsewhere_before_all_others(talk: Conversation) -> None:
    """What a lost node had is sent to another, in its order, before what has waited all along."""
    tasks = make_tasks(8)
    talk.say(joined(A))
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.say(joined(B, slots=3))
    talk.expect(send(*(submit(each, 2) for each in tasks[:4]), *map(submit, tasks[4:6]), to=B))


def test_attempts_re_sent_elsewhere_are_withdrawn_when_the_node_returns(
    talk: Conversation, task: OwnedTask
) -> None:
    """A node that was out of reach and comes back is told what it need not run any more, once."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(joined(A), at=5.0)
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.say(joined(A))


def test_a_task_goes_back_to_the_only_node_when_it_returns(talk: Conversation, task: OwnedTask) -> None:
    """The earlier attempt is withdrawn, and the task is sent there with the next number."""
    start(talk, task)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.say(joined(A), at=4.0)
    talk.expect(send(Withdraw(task.id, 1)), send(submit(task, 2)))


def test_what_the_withdrawal_of_an_earlier_attempt_took_along_goes_out_again(
    talk: Conversation, task: OwnedTask
) -> None:
    """A node that dropped the attempt under way, though that was not asked for, gets a new one."""
    start(talk, task)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.say(joined(A), at=4.0)
    talk.expect(send(Withdraw(task.id, 1)), send(submit(task, 2)))
    talk.say(said(Accepted(task.id, 2), Withdrawn(task.id, 2, "dropped")))
    talk.expect(send(submit(task, 3)))


def test_a_restarted_node_has_lost_everything(talk: Conversation, task: OwnedTask) -> None:
    """A new incarnation means that the old one died: its tasks go out again, with nothing to withdraw."""
    start(talk, task)
    talk.say(said(Credit(9, 0), Accepted(task.id, 1)))
    talk.say(joined(incarnation=2))
    talk.expect(send(submit(task, 2)))
    assert task.deaths is None


def test_a_node_that_restarted_while_it_was_lost(talk: Conversation, task: OwnedTask) -> None:
    """A new incarnation knows nothing of what the old one had, so nothing is withdrawn there."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(joined(A, incarnation=2))


def test_a_node_that_says_something_new_keeps_its_tasks(talk: Conversation, task: OwnedTask) -> None:
    """The same incarnation, with another function: nothing under way is touched, and waiting work goes there."""
    start(talk, task)
    new = make_task(2, "new")
    talk.say(Submitted([new]))
    talk.say(joined(functions=("f", "new")))
    talk.expect(send(submit(new)))


def test_a_node_can_be_lost_only_once(talk: Conversation, task: OwnedTask) -> None:
    """A second verdict on a lost node, or one on a node never seen, changes nothing."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    for event in (NodeLost(C, "", died=True), NodeSuspected(C), NodeReturned(C)):
        talk.say(event)


def test_a_node_lost_long_ago_is_forgotten(talk: Conversation, task: OwnedTask) -> None:
    """A quarter of an hour after it was lost, a node that returns is a new one."""
    start(talk, task, A, B)
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    talk.say(said(Accepted(task.id, 2), by=B))
    talk.wait(901.0)
    talk.say(joined(A))


# ---------------------------------------------------------------------- deaths


def test_a_task_that_kills_three_workers_is_given_up(talk: Conversation, task: OwnedTask) -> None:
    """Each lost worker is charged; the third ends the task, and its story names all three."""
    start(talk, task)
    for attempt in (1, 2):
        talk.say(said(lost(task, attempt)))
        talk.expect(send(rack(task, attempt)), send(submit(task, attempt + 1)))
        assert task.state is TaskState.RETRY
    talk.say(said(Accepted(task.id, 3)))
    assert task.state is TaskState.QUEUED
    talk.say(said(lost(task, 3, b"exit code 3")))
    story = (
        "attempt 1 on node@a: killed by signal 9; attempt 2 on node@a: killed by signal 9; "
        "attempt 3 on node@a: exit code 3"
    )
    talk.expect(send(rack(task, 3)), settle(task, Outcome(Ending.WORKER_LOST, text=story)))
    assert task.state is TaskState.LOST


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


def test_only_started_attempts_are_charged_when_a_node_dies(talk: Conversation) -> None:
    """Of a node's tasks, the running one is charged with its death; the queued ones are not."""
    running, queued = make_tasks(2)
    talk.say(joined(A))
    talk.say(Submitted([running, queued]))
    talk.expect(send(submit(running), submit(queued)))
    talk.say(said(Started(running.id, 1), Accepted(queued.id, 1)))
    talk.say(NodeLost(A, "the connection was refused", died=True))
    assert (running.state, running.deaths) == (
        TaskState.RETRY,
        ["attempt 1 on node@a: the node was lost (the connection was refused)"],
    )
    assert (queued.state, queued.deaths) == (TaskState.PENDING, None)
    talk.say(joined(B))
    talk.expect(send(submit(queued, 2), submit(running, 2), to=B))


def test_a_node_out_of_reach_charges_nobody(talk: Conversation, task: OwnedTask) -> None:
    """Where it is not known that a node died, the attempts that ran there are not charged."""
    start(talk, task, A, B)
    talk.say(said(Started(task.id, 1)))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(send(submit(task, 2), to=B))
    assert (task.state, task.deaths) == (TaskState.PENDING, None)


def test_a_task_that_kills_three_nodes_is_given_up(talk: Conversation, task: OwnedTask) -> None:
    """The deaths of nodes under a task count like those of workers."""
    start(talk, task)
    for attempt in (1, 2, 3):
        talk.say(said(Started(task.id, attempt)))
        talk.say(joined(incarnation=attempt + 1))
        if attempt < 3:
            talk.expect(send(submit(task, attempt + 1)))
    story = "; ".join(f"attempt {n} on node@a: the node was lost (it was restarted)" for n in (1, 2, 3))
    talk.expect(settle(task, Outcome(Ending.WORKER_LOST, text=story)))


def test_a_detached_task_is_not_tried_again_after_its_node_gave_it_up(talk: Conversation) -> None:
    """The node that took a detached task over has charged its deaths: its word is the last."""
    task = make_task(detached=True)
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.say(said(lost(task, 1, b"attempt 3: signal 9")))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.WORKER_LOST, text="attempt 3: signal 9")))


# ---------------------------------------------------------------------- waiting in vain


def test_a_function_that_no_node_offers_is_given_up_within_a_second(talk: Conversation) -> None:
    """While there are nodes, and none offers the function, it fails after 0.9 s."""
    task, later = make_task(1, "nowhere"), make_task(2, "nowhere")
    talk.say(joined())
    talk.say(Submitted([task]), at=7.1)
    talk.wait(7.9)
    talk.say(Submitted([later]))
    talk.wait(7.999)
    talk.wait(8.0)
    unknown = Outcome(Ending.UNKNOWN_TASK)
    talk.expect(Settle([(task, unknown), (later, unknown)]))
    assert task.state is TaskState.FAILURE


def test_giving_up_does_not_hasten_other_things(talk: Conversation, owner: Owner, task: OwnedTask) -> None:
    """After a task was given up, the next tick comes in its own time."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    unknown = make_task(2, "nowhere")
    talk.say(Submitted([unknown]))
    talk.wait(0.9)
    talk.expect(settle(unknown, Outcome(Ending.UNKNOWN_TASK)))
    assert owner.next_deadline() == pytest.approx(1.15)


def test_the_first_nodes_have_time_to_appear(talk: Conversation) -> None:
    """What waited for any node at all is not given up the moment that the first one lacks its function."""
    task = make_task(1, "new")
    talk.say(Submitted([task]))
    talk.wait(4.0)
    talk.say(joined(A))
    talk.wait(4.5)
    talk.say(joined(B, functions=["new"]))
    talk.expect(send(submit(task), to=B))


def test_a_refused_function_has_its_time_too(talk: Conversation, task: OwnedTask) -> None:
    """Where the only node turns out to lack the function, it is given up 0.9 s from then."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(10.0)
    talk.say(said(Nack(task.id, 1, "unknown-task")))
    talk.wait(10.89)
    talk.wait(11.0)
    talk.expect(settle(task, Outcome(Ending.UNKNOWN_TASK)))


def test_there_is_patience_where_a_lost_node_offered_the_function(talk: Conversation, task: OwnedTask) -> None:
    """A node that was lost may come back, so its functions are unknown only after the wait for nodes."""
    start(talk, task)
    talk.say(joined(B, functions=["other"]))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False), at=1.0)
    talk.wait(6.5)
    talk.wait(7.0)
    talk.expect(settle(task, Outcome(Ending.UNKNOWN_TASK)))


def test_no_nodes_at_all(talk: Conversation) -> None:
    """Without any node a task fails after the timeout, each in its own time."""
    first, second = make_tasks(2)
    talk.say(Submitted([first]))
    talk.say(Submitted([second]), at=2.0)
    talk.wait(4.9)
    talk.wait(5.5)
    talk.expect(settle(first, Outcome(Ending.NO_NODES)))
    talk.wait(6.9)
    talk.wait(7.5)
    talk.expect(settle(second, Outcome(Ending.NO_NODES)))


def test_no_nodes_any_more(talk: Conversation, task: OwnedTask) -> None:
    """The wait for nodes begins when the last one was lost."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(100.0)
    talk.say(NodeLost(A, "the connection was refused", died=True))
    talk.wait(104.9)
    talk.wait(105.5)
    talk.expect(settle(task, Outcome(Ending.NO_NODES)))


# ---------------------------------------------------------------------- withdraw


def test_a_waiting_task_is_withdrawn_at_once(talk: Conversation, task: OwnedTask) -> None:
    """What no node has is answered for, and cancelled."""
    talk.say(Submitted([task]))
    talk.say(WithdrawAsked([task.id]))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))
    assert task.state is TaskState.REVOKED
    talk.say(joined())


def test_what_is_not_known_cannot_be_withdrawn(talk: Conversation, task: OwnedTask) -> None:
    """A task that has ended, or never was, is answered with no."""
    talk.say(WithdrawAsked([task.id]))
    talk.expect(WithdrawAnswered(task.id, False))


@pytest.mark.parametrize("outcome", ["dropped", "unknown"])
def test_a_node_is_asked_to_drop_what_it_has(talk: Conversation, task: OwnedTask, outcome: str) -> None:
    """What the node has not started is cancelled, once it says so; its credit is free again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))
    tasks = make_tasks(6)[1:]
    talk.say(Submitted(tasks))
    talk.expect(send(*map(submit, tasks[:4])))


@pytest.mark.parametrize("outcome", ["running", "finished", "an answer of a later version"])
def test_what_runs_is_not_withdrawn(talk: Conversation, task: OwnedTask, outcome: str) -> None:
    """A task that runs goes on, and is settled by its result."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.expect(WithdrawAnswered(task.id, False))
    talk.say(said(Withdrawn(task.id, 1, outcome)))
    talk.say(said(result(task)))
    talk.expect(send(rack(task)), settle(task))


def test_a_withdraw_that_is_not_answered_is_sent_again(talk: Conversation, task: OwnedTask) -> None:
    """WITHDRAW goes out each second from when it was first sent, in place of SUBMIT, until answered."""
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    talk.wait(3.1)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.wait(4.0)
    talk.wait(4.3)
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))


def test_a_result_beats_the_withdraw(talk: Conversation, task: OwnedTask) -> None:
    """A result that was under way settles the task; the withdrawal is answered with no."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(result(task)))
    talk.expect(WithdrawAnswered(task.id, False), send(rack(task)), settle(task))
    talk.say(said(Withdrawn(task.id, 1, "finished")))


@pytest.mark.parametrize(
    "message", [Nack(make_task().id, 1, "draining"), lost(make_task(), 1)], ids=["refused", "worker lost"]
)
def test_what_comes_back_while_it_is_withdrawn_stays(
    talk: Conversation, task: OwnedTask, message: Message
) -> None:
    """A refused or failed attempt whose task is being withdrawn is not tried again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(message))
    talk.expect(WithdrawAnswered(task.id, True))
    if isinstance(message, Result):
        talk.expect(send(rack(task)))
    talk.expect(settle(task, CANCELLED))


@pytest.mark.parametrize("died", [True, False])
@pytest.mark.parametrize("started", [True, False])
def test_a_node_is_lost_while_a_task_is_withdrawn_there(
    talk: Conversation, task: OwnedTask, died: bool, started: bool
) -> None:
    """The loss of the node completes the withdrawal."""
    start(talk, task, A, B)
    if started:
        talk.say(said(Started(task.id, 1)))
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(NodeLost(A, "gone", died=died))
    talk.expect(WithdrawAnswered(task.id, True), settle(task, CANCELLED))


def test_a_copy_of_withdraw_drops_a_task_that_was_kept(talk: Conversation, task: OwnedTask) -> None:
    """Where the node dropped the task after its owner was told that it runs, it goes out again."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "running"), Withdrawn(task.id, 1, "dropped")))
    talk.expect(WithdrawAnswered(task.id, False), send(submit(task, 2)))


# ---------------------------------------------------------------------- revoke


def test_a_revoked_task_that_waits_ends_at_once(talk: Conversation, task: OwnedTask) -> None:
    """What no node has ends as revoked; ids that are not known are passed over."""
    talk.say(Submitted([task]))
    talk.say(Revoked([b"?" * 16, task.id]))
    talk.expect(settle(task, Outcome(Ending.REVOKED)))


def test_a_revoked_task_is_the_nodes_to_end(talk: Conversation, task: OwnedTask) -> None:
    """What a node has is ended by the node's result."""
    start(talk, task)
    talk.say(Revoked([task.id]))
    talk.say(said(result(task, status=Status.REVOKED)))
    talk.expect(send(rack(task)), settle(task, Outcome(Ending.REVOKED, "msgpack", b"42")))


def test_a_revoked_task_is_not_sent_out_again(talk: Conversation, task: OwnedTask) -> None:
    """When its node is lost, a revoked task ends."""
    start(talk, task, A, B)
    talk.say(Revoked([task.id]))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(settle(task, Outcome(Ending.REVOKED)))


# ---------------------------------------------------------------------- leaving


def test_leaving_cancels_what_is_unsettled(talk: Conversation, owner: Owner) -> None:
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
    assert (owner.unsettled(), owner.unaccepted()) == (1, 0)


def test_leaving_answers_who_waits_for_a_withdrawal(talk: Conversation, task: OwnedTask) -> None:
    """A withdrawal that no node has answered is complete when the owner leaves."""
    start(talk, task)
    talk.say(WithdrawAsked([task.id]))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(Leaving())
    talk.expect(WithdrawAnswered(task.id, True), send(Bye()), settle(task, CANCELLED))


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


def test_what_waits_at_a_busy_node_is_called_back_for_an_idle_one() -> None:
    """A task behind a long one goes to the node that has joined since; see ``test_rebalance``."""
    talk = Conversation(Owner())
    tasks = make_tasks(2)
    talk.say(joined(A, slots=1))
    talk.say(Submitted(tasks))
    talk.take()
    talk.say(said(Started(tasks[0].id, 1), Accepted(tasks[1].id, 1)))
    talk.say(joined(B, slots=1))
    talk.wait(0.4)
    talk.expect(send(Withdraw(tasks[1].id, 1)))
    talk.end()
