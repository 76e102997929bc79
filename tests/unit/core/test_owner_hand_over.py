"""What an owner's books have of tasks that it hands over."""

from __future__ import annotations

from conversation import Conversation
from owner_words import A, B, joined, make_task, said, send, submit

from meshq.core.owned import OwnedTask
from meshq.core.owner import Owner, Submitted
from meshq.core.owning import HandedOver, HandOverAsked
from meshq.protocol.messages import Accepted, Credit, Withdraw, Withdrawn


def test_a_task_handed_over_leaves_the_books(talk: Conversation, owner: Owner) -> None:
    """Nothing is due for it any more; its id may be used again."""
    task = make_task(options={"expires": 60.0})
    talk.say(joined())
    talk.say(Submitted([task]))
    talk.take()
    talk.say(joined(B))
    talk.say(said(Credit(1, 0), by=B))
    talk.say(HandOverAsked([task.id], A))
    talk.expect(send(Withdraw(task.id, 1)))
    talk.say(said(Withdrawn(task.id, 1, "dropped")))
    talk.take()
    talk.say(HandOverAsked([task.id], A))
    talk.say(said(Accepted(task.id, 2), by=B))
    talk.expect(HandedOver([task]))
    assert owner.find(task.id) is None
    assert not any(account.in_flight for account in owner._nodes.values())
    talk.wait(100.0)
    again = OwnedTask(task.id, "f", "msgpack", b"args")
    talk.say(Submitted([again]))
    talk.expect(send(submit(again)))


def test_what_is_to_be_handed_over_is_looked_at_again_and_again(talk: Conversation, owner: Owner) -> None:
    """A peer may come; without one a task is stranded."""
    task = make_task()
    talk.say(joined())
    talk.say(Submitted([task]))
    talk.take()
    talk.say(HandOverAsked([task.id], A))
    assert owner.stranded(A) == {task.id}
    talk.say(joined(B))
    assert owner.stranded(A) == frozenset()
    talk.wait(0.3)
    talk.expect(send(Withdraw(task.id, 1)))
