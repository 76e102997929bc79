"""Detached tasks at a node that drains: given back to their clients, or handed over to a peer."""

from __future__ import annotations

import pytest
from holder_conversation import OWN, A, B, Conversation, about, rack, submit, task, to, withdraw
from test_entrusting import detached_result, entrust, entrusted_done

from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    Disown,
    DrainAsked,
    Drained,
    EntrustedHandedOver,
    EntrustedRetrying,
    EntrustedWithdrawn,
    HandOver,
    HolderEvent,
)
from meshq.protocol.messages import Accepted, Bye, Draining, Nack, Ping, Pong, Result, Status, Withdrawn

WHY = ("draining", "the node finishes what it has and takes nothing new")


def nack(number: int, attempt: int = 1) -> Nack:
    """Return the word that a client is to have a task again."""
    return Nack(task(number), attempt, *WHY)


def begin(*numbers: int, **options: object) -> Conversation:
    """Let A have entrusted these tasks to a node."""
    talk = Conversation(clients=(A, OWN))
    for number in numbers:
        talk.do_quietly(A, submit(number, detached=True, **options))
    return talk


def given_back(*numbers: int, **options: object) -> Conversation:
    """Let a node that drains have given these tasks back to A, which has not answered."""
    talk = begin(*numbers, **options)
    talk.hear(DrainAsked(), *(Disown(A, task(number)) for number in numbers), to(A, Draining()))
    for number in numbers:
        talk.hear(withdrawn(number), to(A, nack(number)))
    return talk


def withdrawn(number: int, client: bytes = A, *, really: bool = True) -> HolderEvent:
    """Return our own owner's answer to ``Disown``."""
    return EntrustedWithdrawn(client, task(number), really)


def looks(talk: Conversation, *effects: object) -> None:
    """Let the client be heard, and the node look again after a second."""
    talk.do_quietly(A, Ping(1))
    assert talk.pass_time(1.0) == list(effects)


def test_a_client_within_reach_gets_its_tasks_back() -> None:
    """The node ends when the client says that others have them; copies of what it says change nothing."""
    talk = given_back(1, 2)
    talk.say(A, [rack(1), rack(1), rack(2, 7)])
    talk.say(A, rack(2), Drained())
    talk.say(A, [rack(1), rack(9)])


def test_it_is_told_again_until_it_answers() -> None:
    """A copy of the task is answered so as well."""
    talk = given_back(1)
    looks(talk, to(A, nack(1)))
    talk.say(A, submit(1, detached=True), to(A, nack(1)))
    talk.say(A, submit(1, 2, detached=True), to(A, nack(1, 2)))
    talk.say(A, rack(1))
    talk.say(A, rack(1, 2), Drained())


def test_what_no_other_node_takes_waits_at_its_client() -> None:
    """The node does not wait for nodes to come, where the client is there to do so."""
    talk = given_back(1)
    looks(talk, to(A, nack(1)))
    looks(talk, to(A, nack(1)))
    looks(talk, Drained())


def test_a_client_that_is_silent_since_is_no_good_keeper() -> None:
    """The task is kept, and handed over once the client counts as gone."""
    talk = given_back(1)
    effects = talk.pass_time(5.5)
    assert effects[-2:] == [entrust(1), HandOver([task(1)])]
    talk.hear(EntrustedHandedOver(A, task(1)), Drained())


@pytest.mark.parametrize("leaves", [False, True])
def test_a_client_that_goes_before_it_has_answered(leaves: bool) -> None:
    """Its task is our own owner's again, for a peer to take over."""
    talk = given_back(1)
    if leaves:
        talk.do_quietly(A, Bye())
        assert talk.pass_time(0.1) == [entrust(1), HandOver([task(1)])]
    else:
        talk.hear(ClientUnreachable(A))
        assert talk.pass_time(5.5) == [entrust(1), HandOver([task(1)])]
    talk.hear(EntrustedHandedOver(A, task(1)), Drained())


def test_what_must_not_run_twice_is_lost_with_a_client_that_has_not_answered() -> None:
    """It may have sent the task elsewhere a moment before it went; one that never heard of it cannot have."""
    talk = given_back(1, once=True)
    talk.do_quietly(A, Bye())
    assert talk.pass_time(0.1) == [Drained()]
    kept = talk.holder.survey.result(task(1), talk.now)
    assert kept is not None
    assert kept.status == Status.WORKER_LOST
    talk = begin(2, once=True)
    talk.hear(DrainAsked(), Disown(A, task(2)), to(A, Draining()))
    talk.hear(ClientUnreachable(A))
    talk.hear(withdrawn(2), entrust(2)._replace(options={"once": True}))
    assert talk.pass_time(5.5) == [HandOver([task(2)])]


def test_what_runs_is_finished_here() -> None:
    """It is asked for again each second, as it may fail and be tried again."""
    talk = begin(1)
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    looks(talk)
    talk.hear(withdrawn(1, really=False))
    looks(talk, Disown(A, task(1)))
    talk.hear(withdrawn(1, really=False))
    talk.hear(entrusted_done(1), to(A, detached_result(1)))
    talk.say(A, rack(1), Drained())


def test_a_withdrawal_before_and_after_it_was_given_back() -> None:
    """The client has it either way, and is not told of the drain besides."""
    talk = begin(1)
    talk.say(A, withdraw(1), Disown(A, task(1)))
    talk.hear(DrainAsked(), to(A, Draining()))
    talk.hear(withdrawn(1), to(A, Withdrawn(task(1), 1, "dropped")), Drained())
    talk = given_back(2)
    talk.say(A, withdraw(2), to(A, Withdrawn(task(2), 1, "dropped")), Drained())


def leave(talk: Conversation, *numbers: int) -> None:
    """Let the client leave, and the node drain."""
    talk.do_quietly(A, Bye())
    talk.hear(DrainAsked(), HandOver([task(number) for number in numbers]), to(A, Draining()))


def test_a_client_that_has_left_has_its_tasks_handed_over() -> None:
    """The peer is asked once for each; the node drains as soon as it has them all."""
    talk = begin(1, 2)
    leave(talk, 1, 2)
    assert talk.pass_time(3.0) == []
    talk.hear(EntrustedHandedOver(A, task(1)))
    talk.hear(EntrustedHandedOver(A, task(1)))
    talk.hear(EntrustedHandedOver(B, task(2)))
    talk.hear(EntrustedHandedOver(A, task(2)), Drained())
    assert talk.holder._entrusting.bytes == 0


def test_a_client_that_is_back_before_the_peer_has_the_task() -> None:
    """It gets it back after all, unless it is too late; then it is told that it is in good hands."""
    talk = begin(1, 2)
    leave(talk, 1, 2)
    talk.do(ClientGreeted(A))
    assert talk.pass_time(1.0) == [Disown(A, task(1)), Disown(A, task(2))]
    talk.hear(withdrawn(1), to(A, nack(1)))
    talk.say(A, withdraw(2))
    talk.hear(EntrustedHandedOver(A, task(2)), to(A, Withdrawn(task(2), 1, "running")))
    talk.say(A, submit(2, detached=True), to(A, Accepted(task(2), 1)))
    talk.say(A, withdraw(2), to(A, Withdrawn(task(2), 1, "running")))
    talk.say(A, submit(3, detached=True), to(A, nack(3)))


def test_a_task_of_two_clients_one_of_which_is_gone() -> None:
    """What our own owner has let go of for the one is entrusted to it again for the other, and asked for anew."""
    talk = Conversation(clients=(A, B, OWN))
    for client in (A, B):
        talk.do_quietly(client, submit(1, detached=True))
    talk.do_quietly(A, Bye())
    talk.hear(DrainAsked(), Disown(B, task(1)), HandOver([task(1)]), to(A, Draining()), to(B, Draining()))
    talk.hear(withdrawn(1), entrust(1))
    talk.hear(withdrawn(1, B), to(B, nack(1)))
    talk.do_quietly(B, Ping(1))
    assert talk.pass_time(1.0) == [HandOver([task(1)]), to(B, nack(1))]


def test_a_peer_s_tasks_are_handed_on() -> None:
    """The peer, which drains as well, has forgotten them."""
    talk = Conversation(clients=(OWN,))
    talk.do(ClientGreeted(B, "node", "peer"))
    talk.do_quietly(B, submit(1, detached=True))
    talk.hear(DrainAsked(), HandOver([task(1)]), to(B, Draining()))
    talk.say(B, Ping(1), to(B, Pong(1)))
    talk.hear(EntrustedHandedOver(B, task(1)), Drained())


def test_the_tries_that_a_task_has_had_go_with_it() -> None:
    """Entrusted once more, it has no more of them than it may."""
    talk = begin(1, max_retries=5)
    for retries in (1, 4):  # of those between nothing was heard
        talk.do(EntrustedRetrying(A, task(1), 0.0, retries))
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    talk.hear(ClientUnreachable(A))
    talk.hear(withdrawn(1), entrust(1)._replace(options={"max_retries": 5, "retries": 4}))


def test_what_a_task_has_killed_goes_with_it() -> None:
    """To its client, each time that it is told, and to our own owner, should that get the task again."""
    talk = begin(1)
    talk.hear(DrainAsked(), Disown(A, task(1)), to(A, Draining()))
    told = to(A, Nack(task(1), 1, *WHY, 2))
    talk.hear(EntrustedWithdrawn(A, task(1), True, 2), told)
    looks(talk, told)
    talk.do_quietly(A, Bye())
    again = entrust(1)._replace(options={"deaths": 2})
    assert talk.pass_time(0.1) == [again, HandOver([task(1)])]


@pytest.mark.parametrize("countdown", [None, 2.0, 60.0])
def test_what_is_left_of_its_pause_goes_with_it(countdown: float | None) -> None:
    """It would start at once where it is tried next; a pause that is over counts no more."""
    options = {} if countdown is None else {"countdown": countdown}
    talk = given_back(1, **options)
    talk.do(EntrustedRetrying(A, task(1), 5.0, 1))
    talk.now += 1.0
    talk.do_quietly(A, Bye())
    again, _ = talk.pass_time(0.0)
    left = max(4.0, (countdown or 0.0) - 1.0)
    assert again == entrust(1)._replace(options={"retries": 1, "countdown": about(left)})
    talk = given_back(2)
    talk.do(EntrustedRetrying(A, task(2), 0.5, 1))
    talk.now += 1.0
    talk.do_quietly(A, Bye())
    assert talk.pass_time(0.0)[0] == entrust(2)._replace(options={"retries": 1})


def test_what_is_left_of_its_time_goes_with_it() -> None:
    """Our own owner counts from when it is entrusted with the task anew."""
    talk = given_back(1, countdown=60.0)
    talk.wait(2.0, to(A, nack(1)), to(A, nack(1)))
    talk.do_quietly(A, Bye())
    again, _ = talk.pass_time(0.1)
    assert again == entrust(1)._replace(options={"countdown": about(58.0)})


def test_that_another_client_leaves_does_not_hurry_the_first() -> None:
    """It is not told again before its time."""
    talk = given_back(1)
    talk.do(ClientGreeted(B))
    talk.now += 0.3
    talk.do_quietly(B, Bye())
    assert talk.pass_time(0.5) == []


def test_a_result_of_one_that_was_handed_over_too_late() -> None:
    """What ended here first is delivered."""
    talk = begin(1)
    talk.do(ClientUnreachable(A))
    talk.pass_time(10.0)
    talk.hear(DrainAsked(), HandOver([task(1)]))
    talk.hear(entrusted_done(1), Drained())
    talk.hear(EntrustedHandedOver(A, task(1)))
    effects = talk.do(ClientGreeted(A))
    assert [type(message) for effect in effects for message in effect.messages][-1] is Result  # type: ignore[union-attr]
