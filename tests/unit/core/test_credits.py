"""Credit: what each client may send, and when it is worth a message."""

from __future__ import annotations

import pytest

from meshq.core.budget import Budget
from meshq.core.credits import Credits
from meshq.core.held import NODE, ClientAccount, Held
from meshq.core.pace import MAX_CREDIT
from meshq.protocol.messages import Credit, Submit

SLOTS = 4


def client(attempts: int = 0, mean_s: float | None = None) -> ClientAccount:
    """Return a client that has so many attempts here."""
    account = ClientAccount(b"a" * 16, now=0.0)
    hold(account, attempts)
    account.mean_s = mean_s
    return account


def hold(account: ClientAccount, attempts: int) -> None:
    """Have a client hold so many attempts."""
    account.held = {
        task: Held(account, *Submit(task, 1, "f", "msgpack", b""))
        for task in (number.to_bytes(16, "big") for number in range(attempts))
    }


def test_a_newcomer_gets_two_attempts_a_slot() -> None:
    """Nothing is known of its tasks yet; the second time there is nothing to say."""
    credits, account = Credits(SLOTS), client()
    assert credits.update(account) == Credit(1, 2 * SLOTS, 0)
    assert credits.update(account) is None


def test_on_a_new_connection_it_is_said_in_any_case() -> None:
    """The last message may have been lost; the sequence goes on."""
    credits, account = Credits(SLOTS), client()
    credits.update(account)
    assert credits.update(account, force=True) == Credit(2, 2 * SLOTS, 0)


def test_clients_are_told_how_many_bytes_they_may_send() -> None:
    """Their share of what the node takes of arguments; it is told anew when there are others."""
    credits, account, other = Credits(SLOTS, Budget(8_000_000)), client(1), client(1)
    assert credits.update(account) == Credit(1, 2 * SLOTS, 0, 3_000_000)
    assert credits.update(account) is None
    credits.survey([account, other, client(1)])
    told = credits.update(account)
    assert told is not None
    assert told.cap_bytes == 8_000_000 // 2 // 3


def test_the_shorter_the_runs_the_more_credit() -> None:
    """Enough for some 10 ms, within a bound, and never less than one more than there are slots."""
    caps = []
    for mean_s in (10.0, 0.010, 0.001, 0.0001, 0.0):
        credit = Credits(SLOTS).update(client(mean_s=mean_s))
        assert credit is not None
        caps.append(credit.cap)
    assert caps == [SLOTS + 1, SLOTS + 5, SLOTS + 41, SLOTS + 401, MAX_CREDIT]


def test_a_client_with_long_runs_keeps_what_one_more_than_its_share_needs() -> None:
    """However many share a node, each can have all slots busy and one task on the way."""
    credits, clients = Credits(SLOTS), [client(1, mean_s=1.0) for _ in range(10)]
    credits.survey(clients)
    assert credits.update(clients[0]) == Credit(1, SLOTS + 1, 9)


def test_a_stalled_client_takes_no_share() -> None:
    """Nothing of it is started, so the others need not make room."""
    credits, account, other = Credits(SLOTS), client(mean_s=0.0001), client(100)
    other.stalled = True
    credits.survey([account, other])
    assert credits.update(account) == Credit(1, SLOTS + 401, 0)


def test_active_clients_share() -> None:
    """Those without work here are not counted, nor is what is done, entrusted or parked."""
    credits = Credits(SLOTS)
    busy, other, idle, entrusting = (client(n, mean_s=0.0001) for n in (10, 30, 0, 5))
    entrusting.entrusted, entrusting.parked = 3, 2
    credits.survey([busy, other, idle, entrusting])
    assert credits.update(busy) == Credit(1, (SLOTS + 401) // 2, 30)
    assert credits.update(other) == Credit(1, (SLOTS + 401) // 2, 10)
    assert credits.update(idle) == Credit(1, (SLOTS + 401) // 2, 40)


def test_small_changes_are_not_worth_a_message() -> None:
    """Neither a quarter more or less of credit, nor that of the others' attempts and the slots together."""
    credits, account, other = Credits(SLOTS), client(mean_s=0.0001), client(0)
    assert credits.update(account) is not None
    account.mean_s = 0.00012
    assert credits.update(account) is None
    account.mean_s = 0.00014
    assert credits.update(account) is not None
    for attempts, told in ((1, False), (2, True), (1, False), (100, True), (120, False), (140, True)):
        hold(other, attempts)
        credits.survey([account, other])
        assert (credits.update(account) is not None) == told, attempts


def test_a_client_s_own_work_is_none_of_the_others() -> None:
    """Between two surveys its attempts may come and go; what it hears of others stays as surveyed."""
    credits, account, other = Credits(SLOTS), client(100), client(7)
    credits.survey([account, other])
    assert credits.update(account) == Credit(1, SLOTS + 1, 7)
    for attempts in (50, 0, 200):
        hold(account, attempts)
        assert credits.update(account) is None


def test_more_slots_are_more_credit() -> None:
    """From the next message on."""
    credits, one = Credits(SLOTS), client()
    credits.update(one)
    credits.resize(2 * SLOTS)
    assert credits.update(one) == Credit(2, 4 * SLOTS)


@pytest.mark.parametrize("role", ["client", NODE])
def test_a_peer_hears_of_each_slot_that_comes_free(role: str) -> None:
    """And when none is free any more, however small the change: it sends its work by that."""
    credits, account, other = Credits(16), client(), client()
    account.role = role
    credits.update(account)
    told = []
    for attempts in (17, 16, 15, 12, 15, 16, 17):
        hold(other, attempts)
        credits.survey([account, other])
        told.append(credits.update(account) is not None)
    assert told == [True, False, role == NODE, False, False, role == NODE, False]


def test_slots_at_long_runs_are_little_credit() -> None:
    """As long as they are: then it is what it was."""
    credits, account = Credits(SLOTS), client(mean_s=0.0001)
    assert credits.update(account) == Credit(1, SLOTS + 401)
    assert credits.update(account, long=SLOTS) == Credit(2, SLOTS + SLOTS + 1)
    assert credits.update(account, long=SLOTS) is None
    assert credits.update(account) == Credit(3, SLOTS + 401)
