"""Held attempts and client accounts: what is counted of them."""

from __future__ import annotations

from typing import Any

from meshq.core.held import ClientAccount, Held, HeldState, Intent, is_silent, is_there, last_wanted_at
from meshq.protocol.messages import Result, Status, Submit
from meshq.protocol.payload import Payload

CLIENT = b"a" * 16
PARTS: Payload = [b"x" * 10, memoryview(b"y" * 5)]


def test_a_new_attempt_is_queued_and_wanted() -> None:
    """It carries what SUBMIT says, and nobody wants it back."""
    client = ClientAccount(CLIENT, now=1.0)
    held = Held(client, *Submit(b"t" * 16, 3, "f", "msgpack", b"args", False, {"priority": 7}))
    assert (held.client, held.task, held.attempt, held.function) == (client, b"t" * 16, 3, "f")
    assert (held.serializer, held.payload, held.options) == ("msgpack", b"args", {"priority": 7})
    assert (held.state, held.intent, held.result, held.reported) == (HeldState.QUEUED, Intent.NONE, None, False)


def test_only_detached_attempts_are_weighed() -> None:
    """The byte budget is theirs; the others are bounded by credit, and their arguments need no look."""
    client = ClientAccount(CLIENT, now=1.0)
    assert Held(client, *Submit(b"t" * 16, 1, "f", "msgpack", PARTS, True)).size == 15
    assert Held(client, *Submit(b"t" * 16, 1, "f", "msgpack", PARTS, False)).size == 0


def test_a_revoke_outdoes_a_withdrawal_which_outdoes_a_rebalance() -> None:
    """The order of the intents is that of their severity."""
    assert Intent.NONE < Intent.REBALANCE < Intent.WITHDRAW < Intent.REVOKE


def test_what_a_client_has_here() -> None:
    """Unfinished is what is not done; to run here is what is not entrusted besides."""
    client = ClientAccount(CLIENT, now=1.0)
    assert (client.unfinished, client.to_run) == (0, 0)
    for number in range(5):
        task = bytes([number]) * 16
        client.held[task] = Held(client, *Submit(task, 1, "f", "msgpack", b""))
    client.unacknowledged[b"\0" * 16] = client.held[b"\0" * 16]
    client.entrusted = 3
    assert (client.unfinished, client.to_run) == (4, 1)


def test_who_is_there() -> None:
    """Who is connected, stays, and was heard less than 5 s ago; who was not is silent."""
    client = ClientAccount(CLIENT, now=1.0)
    assert (is_silent(client, 5.9), is_there(client, 5.9)) == (False, True)
    assert (is_silent(client, 6.0), is_there(client, 6.0)) == (True, False)
    client.leaving = True
    assert (is_silent(client, 1.0), is_there(client, 1.0)) == (False, False)
    client.leaving = client.connected = False
    assert (is_silent(client, 1.0), is_there(client, 1.0)) == (False, False)


def test_an_attempt_goes_on_under_a_later_number() -> None:
    """Its result too; a withdrawal of the earlier one is called off, and an earlier number changes nothing."""
    held = Held(ClientAccount(CLIENT, now=1.0), *Submit(b"t" * 16, 2, "f", "msgpack", b""))
    held.renumber(1)
    held.renumber(3)
    assert (held.attempt, held.intent) == (3, Intent.NONE)
    held.intent = Intent.WITHDRAW
    held.result = Result(b"t" * 16, 3, Status.OK, "msgpack", b"value", 0.0)
    held.renumber(3)
    assert held.intent is Intent.WITHDRAW
    held.renumber(4)
    assert (held.attempt, held.intent, held.result.attempt) == (4, Intent.REBALANCE, 4)


# ---------------------------------------------------------------------- priorities


def attempt(client: ClientAccount, name: str, **options: object) -> Held:
    """Return an attempt with these options."""
    return Held(client, *Submit(name.encode() * 8, 1, "f", "msgpack", b"x", False, options or None))


def put(client: ClientAccount, *names: str) -> list[Held]:
    """Queue attempts, each of the priority that its name begins with."""
    helds = [attempt(client, name, priority=int(name[0])) for name in names]
    for held in helds:
        client.line(held.priority).append(held)
    return helds


def order(client: ClientAccount) -> list[str]:
    """Return the names of what is queued, in the order of their start."""
    return [held.task[:2].decode() for held in client.queued()]


def test_options_are_read_as_an_attempt_arrives() -> None:
    """What asks nothing of the node leaves it a plain attempt, of the priority between the others."""
    client = ClientAccount(CLIENT, now=1.0)
    plain, chunk, urgent, timed = (
        attempt(client, "t", **options) for options in ({}, {"chunk": True}, {"priority": 9}, {"expires": 3})
    )
    assert (plain.terms, plain.priority) == (None, 5)
    assert (chunk.terms, chunk.priority) == (None, 5)
    assert urgent.priority == 9
    assert timed.terms is not None
    assert (timed.terms.expires_s, timed.priority) == (3.0, 5)


def test_a_chunk_that_nobody_asked_for_is_known() -> None:
    """One that its caller has cut is another matter."""
    client = ClientAccount(CLIENT, now=1.0)
    options: list[dict[str, Any]] = [{}, {"priority": 9}, {"chunk": True}, {"chunk": "split"}]
    assert [attempt(client, "t", **each).is_split for each in options] == [False, False, False, True]


def test_what_is_parked_is_not_yet_to_be_run() -> None:
    """It is unfinished all the same."""
    client = ClientAccount(CLIENT, now=1.0)
    for name in ("t1", "t2"):
        held = attempt(client, name)
        client.held[held.task] = held
    client.parked = 1
    assert (client.unfinished, client.to_run) == (2, 1)


def test_a_queue_has_a_line_for_each_priority() -> None:
    """The highest is served first; in a line they stay in order."""
    client = ClientAccount(CLIENT, now=1.0)
    put(client, "5a", "5b", "9a", "0a", "7a", "9b", "0b", "5c")
    assert order(client) == ["9a", "9b", "7a", "5a", "5b", "5c", "0a", "0b"]
    assert client.queued_count() == 8
    assert [held.priority for held in client.queue] == [9, 9]
    client.queue.clear()
    client.close_ranks()
    assert [held.priority for held in client.queue] == [7]
    put(client, "8a")
    assert order(client)[:2] == ["8a", "7a"]


def test_an_empty_queue_takes_any_priority() -> None:
    """Whatever was there last."""
    client = ClientAccount(CLIENT, now=1.0)
    for name in ("3a", "9a", "3b"):
        put(client, name)
        assert (order(client), client.lower) == ([name], {})
        client.queue.clear()
        client.close_ranks()


def test_taking_attempts_out_of_any_line() -> None:
    """No empty line is left behind."""
    client = ClientAccount(CLIENT, now=1.0)
    _, low, _, high, _ = put(client, "5a", "1a", "5b", "9a", "1b")
    client.unqueue(low)
    assert order(client) == ["9a", "5a", "5b", "1b"]
    client.unqueue(high)
    assert (order(client), sorted(client.lower)) == (["5a", "5b", "1b"], [1])
    wanted = client.sift(lambda held: held.priority == 5)
    assert [held.task[:2] for held in wanted] == [b"5a", b"5b"]
    assert (order(client), client.lower) == (["1b"], {})
    client.unqueue(*client.queued())
    assert client.queued_count() == 0


def test_sifting_keeps_the_order_of_the_others() -> None:
    """In all lines, and for what comes after it."""
    client = ClientAccount(CLIENT, now=1.0)
    put(client, "5a", "5b", "2a", "5c", "2b")
    assert [held.task[:2] for held in client.sift(lambda held: held.task[:2] in (b"5b", b"2a"))] == [b"5b", b"2a"]
    put(client, "5d", "2c")
    assert order(client) == ["5a", "5c", "5d", "2b", "2c"]
    assert client.sift(lambda _: True) != []
    assert order(client) == []


def test_what_follows_a_failed_attempt_is_another_run() -> None:
    """Where its worker died, or it has asked for another try; else a later number is but another name for it."""
    held = Held(ClientAccount(b"a" * 16, 0.0), b"t" * 16, 2, "f", "msgpack", b"x", False, None)
    assert not held.is_followed_by(3)
    for status, follows in ((Status.OK, False), (Status.WORKER_LOST, True), (Status.RETRY, True)):
        held.result = Result(b"t" * 16, 2, status, "", b"")
        assert held.is_followed_by(3) is follows
        assert not held.is_followed_by(2)


def test_a_lease_counts_from_the_last_word_or_asking() -> None:
    """Whichever came later; an asking is no sign of life of the client."""
    client = ClientAccount(CLIENT, now=1.0)
    client.asked_at = 20.0
    assert last_wanted_at(client) == 20.0
    client.heard_at = 30.0
    assert last_wanted_at(client) == 30.0
