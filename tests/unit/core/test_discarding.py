"""Purge at the owner: what waits ends at once, what nodes have is called back, each task counts once."""

from __future__ import annotations

import pytest
from conversation import Conversation
from owner_words import A, B, joined, make_task, make_tasks, rack, result, said, send, settle, start, submit

from meshq.core.discarding import ANSWER_S, MAX_KNOWN
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owner import (
    NodeLost,
    Owner,
    PurgeAnswered,
    PurgeAsked,
    Revoked,
    Settle,
    Submitted,
    WithdrawAsked,
)
from meshq.protocol.messages import Accepted, Message, Nack, Relay, Relayed, Started, Status, Withdraw, Withdrawn

COMMAND, OTHER = b"c" * 16, b"o" * 16
REVOKED = Outcome(Ending.REVOKED)


def relay(command: bytes = COMMAND) -> Relay:
    """Return what a node passes on."""
    return Relay(command, "purge", [])


def test_what_waits_is_discarded_at_once(talk: Conversation) -> None:
    """The tasks end as revoked, and then the answer says how many they were."""
    tasks = make_tasks(3)
    talk.say(Submitted(tasks))
    talk.say(PurgeAsked(COMMAND))
    talk.expect(Settle([(task, REVOKED) for task in tasks]), PurgeAnswered(COMMAND, 3))
    talk.say(joined())


def test_nothing_to_discard(talk: Conversation, owner: Owner) -> None:
    """An owner without tasks says so."""
    talk.say(joined())
    talk.say(said(relay()))
    talk.expect(send(Relayed(COMMAND, 0)))
    assert owner.next_deadline() is None


def test_a_purge_is_carried_out_once(talk: Conversation, task: OwnedTask) -> None:
    """However many nodes pass it on, and though it was asked for here; each gets the same count."""
    later = make_task(2)
    talk.say(Submitted([task]))
    talk.say(PurgeAsked(COMMAND))
    talk.expect(settle(task, REVOKED), PurgeAnswered(COMMAND, 1))
    talk.say(joined(A))
    talk.say(Submitted([later]))
    talk.expect(send(submit(later)))
    talk.say(said(relay()))
    talk.expect(send(Relayed(COMMAND, 1)))
    talk.say(PurgeAsked(COMMAND))
    talk.expect(PurgeAnswered(COMMAND, 1))


def test_what_nodes_have_is_called_back(talk: Conversation) -> None:
    """What they let go of counts, what has started does not; who asked hears of it when all have answered."""
    running, dropped, started, unknown, waiting = make_tasks(5)
    talk.say(joined(A))
    talk.say(joined(B, functions=()))
    talk.say(Submitted([running, dropped, started, unknown, waiting]))
    talk.expect(send(*map(submit, (running, dropped, started, unknown))))
    talk.say(said(Started(running.id, 1), Accepted(dropped.id, 1)))
    talk.say(said(relay()))
    called = (dropped, started, unknown)
    talk.expect(send(*(Withdraw(each.id, 1) for each in called)), settle(waiting, REVOKED))
    talk.say(said(relay()))
    talk.say(said(relay(), by=B))
    talk.say(PurgeAsked(COMMAND))
    talk.say(said(Withdrawn(started.id, 1, "running"), Withdrawn(dropped.id, 1, "dropped")))
    talk.expect(settle(dropped, REVOKED))
    talk.say(said(Withdrawn(unknown.id, 1, "unknown")))
    talk.expect(
        settle(unknown, REVOKED),
        PurgeAnswered(COMMAND, 3),
        send(Relayed(COMMAND, 3)),
        send(Relayed(COMMAND, 3), to=B),
    )
    assert (started.revoked, running.revoked) == (False, False)


def test_a_parked_task_is_discarded(talk: Conversation) -> None:
    """It waits, if only for its time."""
    task = make_task(options={"countdown": 60.0})
    start(talk, task)
    talk.say(PurgeAsked(COMMAND))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.expect(settle(task, REVOKED), PurgeAnswered(COMMAND, 1))


@pytest.mark.parametrize("how", ["withdrawing", "revoked", "entrusted"])
def test_what_is_not_the_purges_to_discard(talk: Conversation, how: str) -> None:
    """What ends for another reason is not counted, and what a node owns is counted there."""
    task = make_task(detached=how == "entrusted")
    start(talk, task)
    talk.say(said(Accepted(task.id, 1)))
    if how == "withdrawing":
        talk.say(WithdrawAsked([task.id]))
    elif how == "revoked":
        talk.say(Revoked([task.id]))
    talk.take()
    talk.say(PurgeAsked(COMMAND))
    talk.expect(PurgeAnswered(COMMAND, 0))


def test_what_a_node_ends_itself_is_not_counted(talk: Conversation, task: OwnedTask) -> None:
    """A task whose result comes first is the node's to count, if it was discarded at all."""
    start(talk, task)
    talk.say(said(relay()))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(result(task, status=Status.REVOKED)))
    talk.expect(
        send(rack(task)), settle(task, Outcome(Ending.REVOKED, "msgpack", b"42")), send(Relayed(COMMAND, 0))
    )


@pytest.mark.parametrize("message", [Nack(make_task().id, 1, "full"), None])
def test_what_a_node_will_not_run_counts(talk: Conversation, task: OwnedTask, message: Message | None) -> None:
    """A node that refuses the task meanwhile, or is lost, lets go of it too."""
    start(talk, task, A, B)
    talk.say(PurgeAsked(COMMAND))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(NodeLost(A, "it was restarted", died=True) if message is None else said(message))
    talk.expect(settle(task, REVOKED), PurgeAnswered(COMMAND, 1))


def test_what_is_withdrawn_meanwhile_is_counted(talk: Conversation, task: OwnedTask) -> None:
    """The purge was first: it ends as cancelled, as the rest of a dmap does once one of its tasks is revoked."""
    start(talk, task)
    talk.say(PurgeAsked(COMMAND))
    talk.take()
    talk.say(WithdrawAsked([task.id]))
    talk.take()
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    assert talk.take()[-1] == PurgeAnswered(COMMAND, 1)


def test_what_is_revoked_meanwhile_ends_for_that(talk: Conversation, task: OwnedTask) -> None:
    """A node's word that it runs does not undo the revoke."""
    start(talk, task)
    talk.say(PurgeAsked(COMMAND))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(Revoked([task.id]))
    talk.expect(PurgeAnswered(COMMAND, 0))
    talk.say(said(Withdrawn(task.id, 1, "running")))
    talk.say(NodeLost(A, "nothing heard for 3.0 s", died=False))
    talk.expect(settle(task, REVOKED))


def test_a_silent_node_is_not_waited_for(talk: Conversation, owner: Owner) -> None:
    """After two seconds the count is said; what the node lets go of later is discarded all the same."""
    first, second, third = make_tasks(3)
    talk.say(joined(A))
    talk.say(joined(B, functions=()))
    talk.say(Submitted([first, second, third]))
    talk.take()
    talk.say(PurgeAsked(COMMAND))
    talk.take()
    talk.say(said(relay(), relay(OTHER), by=B), at=0.1)
    talk.expect(send(Relayed(OTHER, 0), to=B))
    talk.say(said(Withdrawn(first.id, 1, "dropped")))
    talk.expect(settle(first, REVOKED))
    talk.say(NodeLost(B, "it was restarted", died=True))
    talk.wait(ANSWER_S - 0.01)
    assert all(message == Withdraw(message.task, 1) for effect in talk.take() for message in effect.messages)
    talk.wait(ANSWER_S)
    assert PurgeAnswered(COMMAND, 1) in talk.take()
    talk.say(said(Withdrawn(second.id, 1, "dropped"), Withdrawn(third.id, 1, "running")))
    talk.expect(settle(second, REVOKED))
    talk.say(said(relay()))
    talk.expect(send(Relayed(COMMAND, 1)))


def test_a_node_that_left_before_the_answer_gets_none(talk: Conversation, task: OwnedTask) -> None:
    """Whoever is there still does."""
    start(talk, task)
    talk.say(joined(B, functions=()))
    talk.say(said(relay()))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(relay(), by=B))
    talk.say(NodeLost(B, "nothing heard for 3.0 s", died=False))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.expect(settle(task, REVOKED), send(Relayed(COMMAND, 1)))


def test_purges_are_remembered_to_a_bound(talk: Conversation, task: OwnedTask) -> None:
    """A node that makes up commands does not fill the memory; the oldest is forgotten."""
    start(talk, task)
    talk.say(said(relay()))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(*(relay(number.to_bytes(16, "big")) for number in range(MAX_KNOWN))))
    assert len(talk.take()) == MAX_KNOWN
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.expect(settle(task, REVOKED), send(Relayed(COMMAND, 1)))
    talk.say(said(relay()))
    talk.expect(send(Relayed(COMMAND, 0)))
