"""Whose the tasks are that somebody asks for, and which owners are there."""

from __future__ import annotations

import pytest
from holder_conversation import OWN, A, B, Conversation, rack, short, submit, task

from meshq.core import asked as module
from meshq.core.asked import OWNER_BYTES, PATIENCE_S, Asked
from meshq.core.held import ClientAccount, is_there, last_wanted_at
from meshq.core.holding import ClientUnreachable
from meshq.protocol.messages import Bye

OWNER_A, OWNER_B = A[:OWNER_BYTES], B[:OWNER_BYTES]


def test_the_owners_of_what_is_held() -> None:
    """Waiting, running or finished; not of what is acknowledged, nor what our own owner has here."""
    talk = Conversation(clients=(A, B, OWN))
    talk.do_quietly(A, submit(1), submit(2))
    talk.do_quietly(B, submit(3))
    talk.do_quietly(OWN, submit(4))
    asked = talk.holder.asked
    tasks = [task(number) for number in range(1, 6)]
    assert asked.owners(tasks, talk.now) == {task(1): OWNER_A, task(2): OWNER_A, task(3): OWNER_B}
    talk.do(short(1))
    assert task(1) in asked.owners(tasks, talk.now)
    talk.do_quietly(A, rack(1))
    assert task(1) not in asked.owners(tasks, talk.now)
    assert asked.owners([task(3)], talk.now) == {task(3): OWNER_B}


def test_the_owners_within_reach() -> None:
    """Those that are connected, stay, and were heard within five seconds."""
    talk = Conversation(clients=(A, B, OWN))
    asked = talk.holder.asked
    owners = [OWNER_A, OWNER_B, OWN[:OWNER_BYTES], b"stranger"]
    assert asked.present(owners, talk.now) == [OWNER_A, OWNER_B]
    assert asked.present([OWNER_B], talk.now) == [OWNER_B]
    assert asked.present([], talk.now) == []
    talk.do(ClientUnreachable(A))
    assert asked.present(owners, talk.now) == [OWNER_B]
    talk.pass_time(6.0)
    assert asked.present(owners, talk.now) == []
    talk.do_quietly(B, rack(9))
    assert asked.present(owners, talk.now) == [OWNER_B]
    talk.do_quietly(B, Bye())
    assert asked.present(owners, talk.now) == []


def test_a_lease_counts_from_the_last_word_or_asking() -> None:
    """Whichever came later; an asking is no sign of life of the client."""
    account = ClientAccount(A, 10.0)
    account.held[task(1)] = None  # type: ignore[assignment]
    Asked({A: account}, OWN).owners([task(1)], 20.0)
    assert (last_wanted_at(account), is_there(account, 20.0)) == (20.0, False)
    account.heard_at = 30.0
    assert (last_wanted_at(account), is_there(account, 30.0)) == (30.0, True)


def test_who_waits_for_a_task_is_known_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the task has ended and that was told, or nobody has asked for a while."""
    monkeypatch.setattr(module, "MAX_AWAITED", 2)
    talk = Conversation()
    talk.do_quietly(A, submit(1), submit(2), submit(3))
    asked = talk.holder.asked
    assert asked.awaited_until(talk.now) is None
    asked.owners([task(1), task(9)], talk.now)
    assert asked.awaited_until(talk.now) == talk.now + PATIENCE_S
    talk.do(short(1))
    assert asked.awaited_until(talk.now) == talk.now + PATIENCE_S, "they have not been told"
    asked.owners([task(1)], talk.now)
    assert asked.awaited_until(talk.now) is None
    asked.owners([task(1), task(2), task(3)], talk.now)
    asked.owners([task(2)], talk.now + 1.0)
    assert asked.awaited_until(talk.now + 1.0) == talk.now + 1.0 + PATIENCE_S
    assert asked.awaited_until(talk.now + 1.0 + PATIENCE_S) is None
    for number in (1, 2, 3):
        talk.do_quietly(A, submit(number + 10))
    asked.owners([task(11), task(12), task(13)], talk.now)
    assert len(asked._awaited) == 2
