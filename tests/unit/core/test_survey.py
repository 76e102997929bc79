"""What a node shows of what it holds: each task once, as what it is furthest."""

from __future__ import annotations

from typing import Any

from holder_conversation import (
    LONG_S,
    OWN,
    SHORT_S,
    A,
    B,
    Conversation,
    about,
    done,
    gone,
    rack,
    result,
    revoked,
    submit,
    task,
)

from meshq.core.clients import RESULT_LEASE_S
from meshq.core.held import Held
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    EntrustedDone,
    EntrustedRetrying,
    RateLimitSet,
    RevokeAsked,
)
from meshq.core.survey import TaskView
from meshq.protocol.messages import Bye, Result, Status

CLIENT_A, CLIENT_B = "pid 1 on HOST", "pid 2 on HOST"


def conversation(slots: int = 1) -> Conversation:
    """Return a conversation with two clients that have labels, and this node's own owner."""
    talk = Conversation(slots, clients=())
    talk.do(ClientGreeted(A, "client", CLIENT_A))
    talk.do(ClientGreeted(B, "client", CLIENT_B))
    talk.do(ClientGreeted(OWN, "client", "this node"))
    return talk


def view(number: int, state: str, *, function: str = "f", seconds: Any = 0.0, slot: int | None = None,
         client: str = CLIENT_A, reason: str = "", priority: int = 5) -> TaskView:  # fmt: skip
    """Return what is shown of a task."""
    return TaskView(task(number), 1, function, "msgpack", b"x", state, seconds, slot, client, reason, priority)


def active(number: int, seconds: float, slot: int = 0, **more: Any) -> TaskView:
    """Return what is shown of a task that runs."""
    return view(number, "active", seconds=about(seconds), slot=slot, **more)


def scheduled(number: int, seconds: float, reason: str, **more: Any) -> TaskView:
    """Return what is shown of a task that is parked."""
    return view(number, "scheduled", seconds=about(seconds), reason=reason, **more)


def everything(talk: Conversation) -> list[TaskView]:
    """Return all that is shown."""
    survey, now = talk.holder.survey, talk.now
    return [*survey.active(now), *survey.reserved(now), *survey.scheduled(now)]


def found(talk: Conversation, number: int) -> TaskView | None:
    """Return what is shown of one task, which must be what the lists show."""
    shown = talk.holder.survey.find(task(number), talk.now)
    listed = [view for view in everything(talk) if view.task == task(number)]
    assert listed == ([shown] if shown else [])
    return shown


def failed(talk: Conversation, number: int) -> Result | None:
    """Return what a try has failed of that its owner does not know of yet."""
    return talk.holder.survey.failed_try(task(number))


def kept(talk: Conversation, number: int) -> Result | None:
    """Return what whoever asks for a task's result is told."""
    return talk.holder.survey.result(task(number), talk.now)


def test_what_runs_and_what_waits() -> None:
    """The head of each slot is active; what is ahead at a worker, queued or parked is not."""
    talk = conversation(slots=2)
    talk.teach("f", SHORT_S)
    talk.now += 1.0
    talk.do_quietly(A, submit(1, function="g"), submit(2), submit(3))
    talk.do_quietly(B, submit(4, function="g"), submit(5, function="g", priority=9))
    talk.do_quietly(A, submit(6, countdown=5.0), submit(7, countdown=2.0, priority=1))
    talk.now += 0.004
    lists = {
        "active": [active(1, 0.004, function="g"), active(2, 0.004, slot=1)],
        "reserved": [
            view(3, "reserved", slot=1),
            view(5, "reserved", function="g", client=CLIENT_B, priority=9),
            view(4, "reserved", function="g", client=CLIENT_B),
        ],
        "scheduled": [
            scheduled(7, 1.996, "countdown", priority=1),
            scheduled(6, 4.996, "countdown"),
        ],
    }
    survey = talk.holder.survey
    assert list(survey.active(talk.now)) == lists["active"]
    assert list(survey.reserved(talk.now)) == lists["reserved"]
    assert list(survey.scheduled(talk.now)) == lists["scheduled"]
    for shown in (shown for shown_together in lists.values() for shown in shown_together):
        assert survey.find(shown.task, talk.now) == shown
    assert survey.find(task(8), talk.now) is None


def test_what_a_rate_limit_holds_back() -> None:
    """It is scheduled, with the time that it has to wait as things stand."""
    talk = conversation()
    talk.do(RateLimitSet("f", 0.5))
    talk.do_quietly(A, submit(1), submit(2))
    assert everything(talk) == [active(1, 0.0), scheduled(2, 2.0, "rate limit")]
    assert found(talk, 2) == scheduled(2, 2.0, "rate limit")


def test_a_detached_task_is_shown_once() -> None:
    """It waits with this node's own owner, then stands here for that one, and is shown under its client."""
    talk = conversation()
    talk.do_quietly(A, submit(1, detached=True), submit(2))
    assert everything(talk) == [active(2, 0.0), view(1, "reserved")]
    assert found(talk, 1) == view(1, "reserved")
    talk.do_quietly(OWN, submit(1, countdown=5.0))
    assert everything(talk) == [active(2, 0.0), scheduled(1, 5.0, "countdown")]
    assert found(talk, 1) == scheduled(1, 5.0, "countdown")
    talk.do(done(1))
    talk.pass_time(5.0)
    assert everything(talk) == [active(1, 0.0)]
    assert found(talk, 1) == active(1, 0.0)


def test_a_detached_task_that_is_to_be_tried_again() -> None:
    """Its first attempt is over, the task is not: until this node's own owner sends the next, it waits."""
    talk = conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.do_quietly(OWN, submit(1))
    talk.do(done(1, status=Status.FAILURE))
    assert found(talk, 1) == view(1, "reserved")
    talk.do_quietly(OWN, rack(1))
    assert found(talk, 1) == view(1, "reserved")
    talk.do(EntrustedDone(A, task(1), Status.OK, "msgpack", b"value"))
    assert found(talk, 1) is None
    assert kept(talk, 1) == result(1, seconds=0.0)


def test_a_detached_task_of_two_clients_is_one() -> None:
    """They gave it the same id, and it runs once."""
    talk = conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.do_quietly(B, submit(1, detached=True))
    assert everything(talk) == [view(1, "reserved")]
    assert found(talk, 1) == view(1, "reserved")
    talk.do_quietly(OWN, submit(1))
    assert everything(talk) == [active(1, 0.0)]
    assert found(talk, 1) == active(1, 0.0)


def test_of_several_attempts_the_furthest_is_found() -> None:
    """What runs, before what waits for a slot, before what is parked."""
    talk = conversation()
    talk.do_quietly(A, submit(1), submit(2, countdown=5.0), submit(3))
    talk.do_quietly(B, submit(1), submit(2), submit(3, countdown=5.0))
    survey = talk.holder.survey
    assert survey.find(task(1), talk.now) == active(1, 0.0)
    assert survey.find(task(2), talk.now) == view(2, "reserved", client=CLIENT_B)
    assert survey.find(task(3), talk.now) == view(3, "reserved")


def test_how_long_what_is_left_to_the_node_may_take_to_start() -> None:
    """Which keeps a node that drains from ending: those of the tasks asked for whose clients are gone."""
    talk = conversation()
    survey, stranded = talk.holder.survey, frozenset(task(number) for number in (1, 3, 4))
    assert survey.left_behind(stranded, talk.now) == (0, 0.0)
    talk.do_quietly(A, submit(1, detached=True), submit(2, countdown=900.0))
    talk.do_quietly(B, submit(3, detached=True, countdown=60.0), submit(4, detached=True, expires=5.0))
    talk.do_quietly(B, submit(5, detached=True, countdown=600.0))
    assert survey.left_behind(stranded, talk.now) == (0, 0.0)
    talk.do_quietly(B, Bye())
    assert survey.left_behind(stranded, talk.now) == (2, about(60.0))
    talk.now += 10.0
    assert survey.left_behind(stranded, talk.now) == (3, about(50.0))
    talk.do(EntrustedDone(B, task(3), Status.OK, "msgpack", b"value"))
    assert survey.left_behind(stranded, talk.now) == (2, 0.0)


class Looked(dict[bytes, Held]):
    """What a client has, with how often it was asked whether it has a task."""

    looks = 0

    def __contains__(self, key: object) -> bool:
        """Count, and answer."""
        self.looks += 1
        return super().__contains__(key)


def test_many_clients_do_not_make_it_long_to_tell_what_is_left() -> None:
    """What each of them has is gone through once, not for each task anew."""
    talk = conversation()
    numbers = range(1, 101)
    talk.do_quietly(A, *(submit(number, detached=True) for number in numbers))
    talk.do_quietly(B, submit(1, detached=True))
    account = talk.holder._clients.accounts[B]
    account.held = looked = Looked(account.held)
    stranded = frozenset(task(number) for number in numbers)
    talk.do_quietly(A, Bye())
    looked.looks = 0
    assert talk.holder.survey.left_behind(stranded, talk.now) == (99, 0.0)
    assert looked.looks <= 1


# ---------------------------------------------------------------------- results


def test_a_result_is_there_before_and_after_its_acknowledgement() -> None:
    """For whoever asks; a task that has finished is not shown as held."""
    talk = conversation()
    talk.do_quietly(A, submit(1))
    assert kept(talk, 1) is None
    talk.do(done(1))
    assert found(talk, 1) is None
    assert kept(talk, 1) == result(1)
    talk.do_quietly(A, rack(1))
    assert kept(talk, 1) == result(1, seconds=0.0)
    assert talk.holder.forget(task(1))
    assert kept(talk, 1) is None
    assert not talk.holder.forget(task(1))


def test_each_end_is_remembered() -> None:
    """A revoked task, one that expired, one whose worker was lost."""
    talk = conversation()
    talk.do_quietly(A, submit(1), submit(2), submit(3, expires=1.0))
    talk.do(RevokeAsked("token", [task(2)], 0))
    talk.pass_time(1.5)
    talk.do(gone(1))
    talk.do_quietly(A, rack(1), rack(2), rack(3))
    assert kept(talk, 2) == revoked(2)
    ends = [result.status for number in (1, 3) if (result := kept(talk, number))]
    assert ends == [Status.WORKER_LOST, Status.EXPIRED]


def test_a_result_outlives_the_lease_of_its_client() -> None:
    """A client that does not come back for its results leaves them to whoever asks."""
    talk = conversation()
    talk.do_quietly(A, submit(1))
    talk.do(ClientUnreachable(A))
    talk.do(done(1, seconds=LONG_S))
    talk.pass_time(RESULT_LEASE_S + 10.0)
    assert A not in talk.holder._accounts
    assert kept(talk, 1) == result(1, seconds=0.0)


def test_a_detached_task_that_waits_for_its_next_try() -> None:
    """It is scheduled, for that reason, until it has been given to this node again."""
    talk = conversation()
    talk.do_quietly(A, submit(1, detached=True))
    talk.do_quietly(OWN, submit(1))
    talk.do(done(1, status=Status.RETRY))
    talk.do(EntrustedRetrying(A, task(1), 5.0))
    talk.now += 2.0
    assert found(talk, 1) == scheduled(1, 3.0, "retry")
    assert everything(talk) == [scheduled(1, 3.0, "retry")]
    talk.do_quietly(OWN, rack(1), submit(1, 2))
    assert everything(talk) == [active(1, 0.0)._replace(attempt=2)]
    talk.now += 10.0
    talk.do(done(2, status=Status.RETRY))
    assert found(talk, 1) == scheduled(1, 0.0, "retry")


def test_a_failure_that_is_tried_again_is_no_result() -> None:
    """Neither before its owner has it, nor after."""
    talk = conversation()
    talk.do_quietly(A, submit(1))
    talk.do(done(1, status=Status.RETRY))
    assert kept(talk, 1) is None
    talk.do_quietly(A, rack(1))
    assert kept(talk, 1) is None


def test_the_value_for_a_key_is_one_that_fits() -> None:
    """Of a call that has returned, in a serializer that the other one takes."""
    talk = conversation()
    talk.do_quietly(A, submit(1, key=True), submit(2, key=True))
    asked = {number: talk.holder._accounts[A].held[task(number)] for number in (1, 2)}
    survey = talk.holder.survey
    assert survey.value_of(asked[1], talk.now) is None
    talk.do(done(1))
    talk.do(done(2, status=Status.FAILURE))
    found = survey.value_of(asked[1], talk.now)
    assert found is not None
    assert found.payload == b"value"
    assert survey.value_of(asked[2], talk.now) is None
    asked[1].serializer = "json"
    assert survey.value_of(asked[1], talk.now) == found


def test_a_try_that_failed_is_told_until_its_owner_knows() -> None:
    """It is no result of its task; that of a detached task is our own owner's business."""
    talk = conversation(slots=3)
    talk.do_quietly(A, submit(1), submit(2))
    talk.do_quietly(OWN, submit(3))
    for number in (1, 2, 3):
        talk.do(done(number, slot=number - 1, status=Status.RETRY if number != 2 else Status.OK))
    asks = Result(task(1), 1, Status.RETRY, "msgpack", b"value", LONG_S)
    assert [failed(talk, number) for number in (1, 2, 3, 4)] == [asks, None, None, None]
    assert kept(talk, 1) is None
    talk.do_quietly(A, rack(1))
    assert failed(talk, 1) is None


def test_a_detached_task_that_is_elsewhere_is_listed_there() -> None:
    """Asked for by its id it is known here all the same; back here, it is listed as ever."""
    talk = conversation()
    talk.do_quietly(A, submit(1, detached=True), submit(2, detached=True))
    talk.do(EntrustedRetrying(A, task(2), 3.0))
    away = {task(1), task(2)}
    talk.holder.survey.is_elsewhere = away.__contains__
    assert everything(talk) == []
    shown = talk.holder.survey.find(task(1), talk.now)
    assert shown == view(1, "reserved")._replace(elsewhere=True)
    away.clear()
    assert everything(talk) == [view(1, "reserved"), scheduled(2, 3.0, "retry")]


def test_what_a_peers_attempt_has_come_to_is_that_nodes_to_say() -> None:
    """A worker that was lost here is not the end of another node's task."""
    talk = conversation()
    talk.do(ClientGreeted(PEER, "node"))
    talk.do_quietly(PEER, submit(1))
    talk.do(gone(1))
    assert kept(talk, 1) is None
    talk.do_quietly(PEER, rack(1))
    assert kept(talk, 1) is None


PEER = b"a peer's id....."
