"""What the holder holds in bytes: booked once, given back once, on every way in and out."""

from __future__ import annotations

import pytest
from holder_conversation import (
    A,
    B,
    Conversation,
    done,
    gone,
    rack,
    recalled,
    submit,
    task,
    to,
    withdraw,
)

from meshq.core.events import Send
from meshq.core.held import HeldState
from meshq.core.holding import (
    ClientGreeted,
    ClientUnreachable,
    DrainAsked,
    EntrustedDone,
    HolderEffect,
    PurgeAsked,
    RateLimitSet,
    RevokeAsked,
    StartRuns,
)
from meshq.protocol.messages import Bye, Credit, Nack, Result, Status, Withdraw
from meshq.testing.audit import holder_faults

TOTAL = 800_000
LARGE = bytes(100_000)


def begin(slots: int = 1) -> Conversation:
    """Begin a conversation with a small budget."""
    return Conversation(slots, (A, B), hold_bytes=TOTAL)


def sums(talk: Conversation) -> tuple[int, int, int]:
    """Return what is booked, after a look at whether that is right."""
    assert list(holder_faults(talk.holder)) == []
    budget = talk.holder.budget
    return budget.arguments, budget.results, budget.absent_results


def runs_of(effects: list[HolderEffect]) -> list[int]:
    """Return the numbers of the tasks that start."""
    batches = [effect for effect in effects if isinstance(effect, StartRuns)]
    return [int.from_bytes(each.task, "big") for batch in batches for each in batch.runs]


def told(effects: list[HolderEffect]) -> list[object]:
    """Return what clients are told."""
    return [message for effect in effects if isinstance(effect, Send) for message in effect.messages]


def test_a_client_is_told_how_many_bytes_it_may_send() -> None:
    """With its credit."""
    talk = begin()
    [greeting] = told(talk.do(ClientGreeted(A)))
    assert isinstance(greeting, Credit)
    assert greeting.cap_bytes == 3 * TOTAL // 8


def test_a_node_whose_budget_is_used_up_refuses() -> None:
    """The attempt that is one too many, with words that say why; small ones and detached ones are taken still."""
    talk = begin()
    three = [submit(number, payload=LARGE) for number in (1, 2, 3)]
    assert runs_of(talk.do_quietly(A, *three)) == [1]
    text = "the client has 300000 bytes of arguments here, and comes with 100000 more"
    talk.say(A, submit(4, payload=LARGE), to(A, Nack(task(4), 1, "full", text)))
    talk.say(A, [submit(5)])
    assert talk.do_quietly(A, submit(6, payload=LARGE, detached=True))
    talk.say(B, submit(7, payload=LARGE))
    text = "the node has 400000 bytes of arguments, of the 400000 that it takes"
    talk.say(B, submit(8, payload=LARGE), to(B, Nack(task(8), 1, "full", text)))
    assert sums(talk) == (400_000, 0, 0)
    talk.do(done(1))
    assert sums(talk) == (300_000, 0, 0)
    talk.say(B, submit(8, 2, payload=LARGE))


def test_results_count_until_they_are_acknowledged() -> None:
    """Those in several buffers too; a small one in several is small."""
    talk = begin()
    talk.do_quietly(A, submit(1, payload=LARGE))
    talk.do(done(1, payload=[bytes(30_000), bytes(20_000)]))
    assert sums(talk) == (0, 50_000, 0)
    talk.do_quietly(A, rack(1), submit(2, payload=[b"a", b"b"]))
    assert sums(talk) == (0, 0, 0)
    talk.do(done(2, payload=[b"a", b"b"]))
    assert sums(talk) == (0, 0, 0)


def test_every_way_out_gives_back_what_was_booked() -> None:
    """Withdrawn while queued or running, revoked, ended with its worker, purged, given up at a BYE."""
    talk = begin(slots=2)
    talk.do_quietly(A, *[submit(number, payload=bytes(40_000)) for number in range(1, 7)])
    assert sums(talk)[0] == 240_000
    talk.do_quietly(A, withdraw(6), withdraw(1))
    talk.do(recalled([1], [1]))
    assert sums(talk)[0] == 160_000
    talk.do(RevokeAsked(None, [task(5)], 0))
    assert sums(talk)[0] == 120_000
    talk.do(gone(2, slot=1))
    assert sums(talk)[0] == 80_000
    talk.do(ClientUnreachable(A))
    talk.do(PurgeAsked(b"p" * 16, None, 1.0))
    talk.pass_time(1.0)
    assert sums(talk)[0] == 40_000
    talk.do(ClientGreeted(A))
    talk.do_quietly(A, Bye())
    assert sums(talk)[0] == 40_000
    talk.do(recalled([3], [3]))
    assert sums(talk) == (0, 0, 0)


def test_a_drain_and_the_end_of_a_lease_give_back_what_was_queued() -> None:
    """What is handed back takes up nothing here."""
    for drains in (True, False):
        talk = begin()
        talk.do_quietly(A, *[submit(number, payload=LARGE) for number in (1, 2, 3)])
        if drains:
            talk.do(DrainAsked())
        else:
            talk.do(ClientUnreachable(A))
            talk.pass_time(1_000.0)
        assert sums(talk) == (100_000, 0, 0)


def test_an_account_that_is_closed_gives_back_its_results() -> None:
    """An hour after it was last heard."""
    talk = begin()
    talk.do_quietly(A, submit(1))
    talk.do(done(1, payload=LARGE))
    talk.do(ClientUnreachable(A))
    assert sums(talk) == (0, 0, 100_000)
    talk.pass_time(3_700.0)
    assert sums(talk) == (0, 0, 0)


def test_a_later_attempt_takes_the_place_of_the_one_that_died() -> None:
    """Its worker's story gives way to it."""
    talk = begin()
    talk.do_quietly(A, submit(1, payload=LARGE))
    talk.do(gone(1))
    assert sums(talk) == (0, 0, 0)
    talk.do_quietly(A, submit(1, 2, payload=LARGE))
    assert sums(talk) == (100_000, 0, 0)


def test_what_is_parked_has_a_budget_of_its_own() -> None:
    """It counts from when it may start; a limit that comes later takes it off the books again."""
    talk = begin()
    talk.do_quietly(A, submit(1, payload=LARGE, countdown=5.0), submit(2, payload=LARGE), submit(3, payload=LARGE))
    assert sums(talk) == (200_000, 0, 0)
    talk.pass_time(6.0)
    assert sums(talk) == (300_000, 0, 0)
    talk.do(RateLimitSet("f", 0.001))  # for one there is a token
    assert sums(talk) == (200_000, 0, 0)
    talk.do(RateLimitSet("f", 0.0))
    assert sums(talk) == (300_000, 0, 0)


def test_the_other_budgets_are_parts_of_a_small_one() -> None:
    """Of the detached a quarter, of the parked a sixteenth."""
    talk = begin()
    talk.do_quietly(A, *[submit(number, payload=LARGE, detached=True) for number in (1, 2)])
    [refusal] = told(talk.do_quietly(A, submit(3, payload=LARGE, detached=True)))
    assert isinstance(refusal, Nack)
    assert refusal.reason == "full"
    talk.do_quietly(A, submit(4, payload=LARGE, countdown=5.0))
    [refusal] = told(talk.do_quietly(A, submit(5, payload=LARGE, countdown=5.0)))
    assert isinstance(refusal, Nack)
    assert refusal.reason == "parked"


def test_a_client_that_leaves_its_results_is_passed_over() -> None:
    """Others go on; it is served again as soon as it has acknowledged some."""
    talk = begin()
    talk.teach("f", 0.03)
    talk.do_quietly(A, *[submit(number) for number in range(1, 5)])
    talk.do_quietly(B, submit(11), submit(12))
    assert runs_of(talk.do(done(2, payload=bytes(110_000)))) == [11]
    assert talk.holder._accounts[A].stalled
    assert runs_of(talk.do(done(3))) == [12]
    assert runs_of(talk.do(done(4))) == []
    assert sums(talk) == (0, 110_000, 0)
    assert runs_of(talk.do_quietly(A, rack(1))) == [2]
    assert sums(talk) == (0, 0, 0)


def test_a_client_that_was_away_is_told_which_results_gave_way() -> None:
    """Their tasks have ended as they have ended; the values of the others are there."""
    talk = begin(slots=3)
    talk.do_quietly(A, *[submit(number) for number in (1, 2, 3)])
    talk.do(ClientUnreachable(A))
    for number in (1, 2, 3):
        talk.do(done(number, slot=number - 1, payload=bytes(90_000)))
    assert sums(talk) == (0, 0, 180_000)
    results = [message for message in told(talk.do(ClientGreeted(A))) if isinstance(message, Result)]
    assert [(each.status, each.serializer, len(each.payload)) for each in results] == [
        (Status.OK, "", 0), (Status.OK, "msgpack", 90_000), (Status.OK, "msgpack", 90_000),
    ]  # fmt: skip
    talk.do_quietly(A, rack(1), rack(2), rack(3))
    assert sums(talk) == (0, 0, 0)


def test_the_results_of_detached_tasks_count_for_their_clients() -> None:
    """Their arguments have a budget of their own."""
    talk = begin()
    talk.do_quietly(A, submit(1, payload=LARGE, detached=True))
    assert sums(talk) == (0, 0, 0)
    talk.do(EntrustedDone(A, task(1), Status.OK, "msgpack", LARGE))
    assert sums(talk) == (0, 100_000, 0)
    talk.do_quietly(A, rack(1))
    assert sums(talk) == (0, 0, 0)


@pytest.mark.parametrize("present", [True, False])
def test_sums_hold_through_withdrawals_of_what_is_done(present: bool) -> None:
    """A WITHDRAW that comes too late changes nothing."""
    talk = begin()
    talk.do_quietly(A, submit(1, payload=LARGE))
    if not present:
        talk.do(ClientUnreachable(A))
    talk.do(done(1, payload=LARGE))
    talk.do_quietly(A, Withdraw(task(1), 1))
    assert sum(sums(talk)) == 100_000
    assert talk.holder._accounts[A].held[task(1)].state is HeldState.DONE
