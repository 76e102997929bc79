"""Held attempts and client accounts: what is counted of them."""

from __future__ import annotations

from meshq.core.held import ClientAccount, Held, HeldState, Intent
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
