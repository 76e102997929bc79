"""Purge at a node: clients are asked, and what waits for those who are absent or silent is discarded."""

from __future__ import annotations

import pytest
from holder_conversation import (
    OWN,
    SHORT_S,
    A,
    B,
    Conversation,
    done,
    rack,
    recalled,
    result,
    revoked,
    run,
    start,
    submit,
    task,
    to,
)

from meshq.core import purging as module
from meshq.core.events import Received
from meshq.core.holding import ClientGreeted, ClientUnreachable, PurgeAnswered, PurgeAsked, RecallRuns
from meshq.protocol.messages import Bye, ByeAck, Credit, Relay, Relayed, Withdraw, Withdrawn

C, PEER = b"c" * 16, b"a peer's id....."
COMMAND = b"a command's id.."
RELAY = Relay(COMMAND, "purge", [])
SECONDS = 1.0


def purge(token: str = "token", seconds: float = SECONDS, command: bytes = COMMAND) -> PurgeAsked:
    """Return the asking for a purge."""
    return PurgeAsked(token, command, seconds)


def answer(own: int = 0, clients: dict[bytes, int] | None = None, silent: tuple[str, ...] = ()) -> PurgeAnswered:
    """Return the answer to ``purge``."""
    return PurgeAnswered("token", own, clients or {}, list(silent))


def greeted(*clients: bytes) -> Conversation:
    """Return a conversation with clients that have labels, within reach."""
    talk = Conversation(clients=(), relays=True)
    for client in clients:
        talk.do(ClientGreeted(client, "client", f"client {client[:1].decode()}"))
    return talk


def test_without_clients_it_is_answered_at_once() -> None:
    """Neither peers nor this node's own owner are asked; the latter counts for itself."""
    talk = greeted()
    talk.do(ClientGreeted(OWN))
    talk.do(ClientGreeted(PEER, "node"))
    talk.do_quietly(OWN, submit(1), submit(2))
    talk.hear(purge(), answer())
    assert talk.holder.counts()["queued"] == 1


def test_what_waits_for_other_nodes_is_discarded_here() -> None:
    """And counted here; what they have taken back before that is not here any more, and theirs to count."""
    talk = greeted(A)
    talk.do(ClientGreeted(PEER, "node"))
    talk.do_quietly(PEER, submit(1), submit(2), submit(3), submit(4))
    talk.say(PEER, Withdraw(task(2), 1), to(PEER, Withdrawn(task(2), 1, "dropped")))
    talk.hear(purge(), to(A, RELAY))
    talk.say(A, Relayed(COMMAND, 5), answer(2, {A: 5}), to(PEER, revoked(3), revoked(4)))
    talk.say(PEER, Withdraw(task(3), 1), to(PEER, revoked(3)))


def test_each_client_says_how_many_it_has_discarded() -> None:
    """The answer comes with the last of them; what waits here is theirs to withdraw."""
    talk = greeted(A, B)
    talk.do_quietly(A, submit(1), submit(2), submit(3))
    talk.hear(purge(), to(A, RELAY), to(B, RELAY))
    talk.say(A, Relayed(COMMAND, 7))
    talk.say(A, Relayed(COMMAND, 8))
    talk.say(B, Relayed(COMMAND, 0), answer(0, {A: 7, B: 0}))
    assert talk.holder.counts()["queued"] == 2
    talk.say(B, Relayed(COMMAND, 1))
    assert talk.holder._purging.timers.next_deadline() is None


def test_what_waits_for_an_absent_client_is_discarded() -> None:
    """Queued and parked attempts end as revoked and are counted; the client hears it when it is back."""
    talk = greeted(A)
    talk.do_quietly(A, submit(1), submit(2), submit(3, countdown=50.0))
    talk.do(ClientUnreachable(A))
    talk.hear(purge(), answer(2))
    assert talk.holder.counts()["parked"] == 0
    talk.do(done(1))
    talk.hear(ClientGreeted(A), to(A, Credit(2, 2), result(1), revoked(2), revoked(3)))


def test_a_client_that_is_silent_is_answered_for() -> None:
    """Well before the caller gives up; it is named, and its runs, also those ahead of their slot, are left."""
    talk = greeted(A, B)
    talk.teach("f", SHORT_S)
    talk.do_quietly(A, submit(1), submit(2))
    talk.do_quietly(A, *[submit(number, function="g") for number in range(3, 8)])
    talk.do_quietly(A, submit(9, countdown=50.0))
    talk.hear(purge(), to(A, RELAY), to(B, RELAY))
    talk.say(B, Relayed(COMMAND, 4))
    talk.now += 0.59
    assert (talk.holder.next_deadline() or 0.0) > 0.0
    talk.now += 0.02
    effects = talk.holder.tick(talk.now)
    answers = [effect for effect in effects if isinstance(effect, PurgeAnswered)]
    assert answers == [answer(6, {B: 4}, silent=("client a",))]
    assert talk.holder.counts()["running"] == 2
    talk.say(A, Relayed(COMMAND, 6))


def test_a_client_that_goes_meanwhile_is_not_named() -> None:
    """Nobody need look for it: it left, or its connection is gone."""
    talk = greeted(A, B, C)
    talk.do_quietly(A, submit(1), submit(2), submit(3))
    talk.do(purge())
    talk.say(B, Bye(), to(B, ByeAck(0)))
    talk.do(ClientUnreachable(A))
    talk.do_quietly(C, Relayed(COMMAND, 0))
    answers = [effect for effect in talk.pass_time(0.7) if isinstance(effect, PurgeAnswered)]
    assert answers == [answer(2, {C: 0})]


def test_who_greets_meanwhile_needs_nothing() -> None:
    """It submits what it likes, and is neither asked nor answered for."""
    talk = greeted(A)
    talk.do(purge())
    talk.do(ClientGreeted(B))
    talk.do_quietly(B, submit(1), submit(2))
    talk.say(B, Relayed(COMMAND, 9))
    talk.say(A, Relayed(COMMAND, 1), answer(0, {A: 1}))
    assert talk.holder.counts()["queued"] == 1


def test_what_a_client_says_is_read_with_care() -> None:
    """A number below none, an answer to no question."""
    talk = greeted(A)
    talk.say(A, Relayed(COMMAND, 5))
    talk.do(purge())
    talk.say(A, Relayed(b"another command.", 5))
    talk.say(A, Relayed(COMMAND, -5), answer(0, {A: 0}))


def test_a_client_that_left_is_not_told() -> None:
    """What ends for it ends unheard, as all that a client leaves behind."""
    talk = greeted(A)
    talk.do_quietly(A, submit(1), submit(2))
    talk.say(A, Bye(), RecallRuns(0, [1]), to(A, ByeAck(1)))
    talk.do(recalled([1], []))
    talk.hear(purge(), answer())


def test_the_same_command_twice_is_one_purge() -> None:
    """It may come by two ways; clients are asked once, and both are answered."""
    talk = greeted(A)
    talk.hear(purge(), to(A, RELAY))
    talk.hear(purge("second"))
    talk.say(A, Relayed(COMMAND, 3), answer(0, {A: 3}), PurgeAnswered("second", 0, {A: 3}, []))


@pytest.mark.parametrize(
    ("seconds", "after"), [(10.0, 6.0), (0.0, 0.0), (-5.0, 0.0), (1e9, 60.0), (float("nan"), 60.0)]
)
def test_the_time_that_clients_have(seconds: float, after: float) -> None:
    """A share of the caller's patience, within bounds, whatever it claims that to be."""
    talk = greeted(A)
    talk.do(purge(seconds=seconds))
    assert talk.pass_time(max(0.0, after - 0.01)) == ([] if after else [answer(silent=("client a",))])
    assert talk.pass_time(0.02) == ([answer(silent=("client a",))] if after else [])


def test_too_many_purges_are_answered_as_things_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first; each of the others still has its time."""
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 2)
    talk = greeted(A)
    talk.do(purge())
    other = b"another command."
    talk.do(purge("second", command=other))
    effects = talk.do(purge("third", command=b"a third command."))
    assert effects[0] == answer(silent=("client a",))
    talk.say(A, Relayed(other, 1), PurgeAnswered("second", 0, {A: 1}, []))


def test_what_comes_after_a_purge_runs() -> None:
    """A purge discards what waits, and refuses nothing."""
    talk = greeted(A)
    talk.do_quietly(A, submit(1), submit(2))
    talk.do(ClientUnreachable(A))
    talk.do(purge())
    talk.do(ClientGreeted(A))
    talk.do(Received(A, [rack(2)]))
    talk.say(A, submit(2, 2))
    talk.hear(done(1), start(run(2, 2, 2)), to(A, result(1)))
