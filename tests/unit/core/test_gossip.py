"""Revoked ids between nodes: those that are new at once, and all of them where a digest shows a difference."""

from __future__ import annotations

from typing import Any

import pytest
from holder_conversation import A, Conversation, revoked, start, submit, task, to
from holder_conversation import run as started

from meshq.core import relaying
from meshq.core.events import Send
from meshq.core.holding import ClientGreeted, HolderEffect, RevocationsAdded, RevocationsHeard, RevokeAsked
from meshq.core.revocations import TTL_S
from meshq.protocol.messages import Message, Relay, RevokedDigest, RevokedIds

PEER, OTHER = b"a peer's id.....", b"another peer's i"
LEFT_S = 900.0


@pytest.fixture
def talk() -> Conversation:
    """A node with a client and two peers that are clients of it."""
    talk = Conversation(relays=True)
    for peer in (PEER, OTHER):
        talk.do(ClientGreeted(peer, "node", "node on HOST"))
    return talk


def ids(*numbers: int, seconds: float = LEFT_S) -> list[list[Any]]:
    """Return rows of REVOKED-IDS."""
    return [[task(number), seconds] for number in numbers]


def said(effects: list[HolderEffect], client: bytes) -> list[Message]:
    """Return what was said to a client."""
    return [
        message
        for effect in effects
        if isinstance(effect, Send) and effect.peer == client
        for message in effect.messages
    ]


def refused(talk: Conversation) -> list[bytes]:
    """Return the ids that are refused."""
    return [task_id for task_id, _ in talk.holder.revoked(talk.now)]


# ---------------------------------------------------------------------- ids


def test_what_a_peer_tells_is_refused_and_told_on(talk: Conversation) -> None:
    """To the disk, the owners and the other peers, but not back; told again by another it is news to nobody."""
    effects = talk.do_quietly(PEER, RevokedIds(ids(1, 2)))
    assert [(added, left) for added, left in added_by(effects)] == [(task(1), LEFT_S), (task(2), LEFT_S)]
    [relay] = said(effects, A)
    assert isinstance(relay, Relay)
    assert (relay.name, relay.tasks, len(relay.command)) == ("revoke", [task(1), task(2)], 16)
    assert said(effects, PEER) == []
    [told] = said(effects, OTHER)
    assert isinstance(told, RevokedIds)
    assert [row[0] for row in told.ids] == [task(1), task(2)]
    talk.say(OTHER, RevokedIds(ids(1, 2)))
    talk.say(A, submit(1), to(A, revoked(1)))


def added_by(effects: list[HolderEffect]) -> list[tuple[bytes, Any]]:
    """Return the ids that are to be kept, with their seconds up to rounding."""
    added = [effect for effect in effects if isinstance(effect, RevocationsAdded)]
    return [(task_id, pytest.approx(left_s)) for effect in added for task_id, left_s in effect.ids]


def test_what_is_heard_from_a_node_that_we_are_a_client_of(talk: Conversation) -> None:
    """It is told on to all peers; that it goes back to one that knows it does no harm."""
    effects = talk.do(RevocationsHeard(ids(1)))
    assert [task_id for task_id, _ in added_by(effects)] == [task(1)]
    assert said(effects, PEER) == said(effects, OTHER) != []
    talk.hear(RevocationsHeard(ids(1)))


def test_what_was_stored_is_told_to_nobody() -> None:
    """A node that starts has its ids from the disk, also those that expire soon; they are not kept again."""
    talk = Conversation(clients=(), relays=True)
    talk.hear(RevocationsHeard([(task(1), LEFT_S), (task(2), 1.0), (b"short", 5.0), (task(3), 0.0)], stored=True))
    assert refused(talk) == [task(2), task(1)]


def test_a_client_that_is_no_node_is_not_believed(talk: Conversation) -> None:
    """Clients revoke by command only."""
    talk.say(A, RevokedIds(ids(1)))
    talk.say(A, submit(1), start(started(1, 1)))


@pytest.mark.parametrize(
    "row",
    [
        [], [task(9)], [b"short", LEFT_S], ["x" * 16, LEFT_S], [None, None], [task(9), "900"], [task(9), True],
        [task(9), None], [task(9), float("nan")], [task(9), 0.0], [task(9), -5.0], [task(9), 60.0], [[], {}],
    ],
)  # fmt: skip
def test_rows_that_say_nothing_are_skipped(talk: Conversation, row: list[Any]) -> None:
    """Malformed ones, and those of ids that are about to expire; the others count."""
    talk.do_quietly(PEER, RevokedIds([row, *ids(1)]))
    assert refused(talk) == [task(1)]


def test_a_known_id_keeps_its_time(talk: Conversation) -> None:
    """Or peers that tell each other of it again and again would keep it for ever."""
    talk.do_quietly(PEER, RevokedIds(ids(1)))
    talk.do_quietly(OTHER, RevokedIds(ids(1, seconds=5_000.0)))
    assert [left for _, left in talk.holder.revoked(talk.now)] == [pytest.approx(LEFT_S)]
    talk.do_quietly(OTHER, RevokedIds(ids(2, seconds=float("inf"))))
    assert talk.holder.revoked(talk.now)[1] == (task(2), pytest.approx(TTL_S))


# ---------------------------------------------------------------------- digests


def test_nodes_that_refuse_the_same_only_say_so(talk: Conversation) -> None:
    """With ids and without: a node that starts waits for the answer."""
    for _ in range(2):
        digest = RevokedDigest(talk.holder.revoked_digest(talk.now))
        assert said(talk.do_quietly(PEER, digest), PEER) == [digest]
        talk.do(RevokeAsked("token", [task(1)], 0))


def test_a_difference_is_answered_with_all_ids_and_a_digest(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pages; the peer then sees whether it knows more."""
    monkeypatch.setattr(relaying, "PAGE", 2)
    talk.do(RevokeAsked("token", [task(1), task(2), task(3)], 0))
    digest = RevokedDigest(talk.holder.revoked_digest(talk.now))
    *pages, last = said(talk.do_quietly(PEER, RevokedDigest(b"another")), PEER)
    rows = [page.ids for page in pages if isinstance(page, RevokedIds)]
    assert [[row[0] for row in page] for page in rows] == [[task(1), task(2)], [task(3)]]
    assert last == digest


def test_two_nodes_come_to_refuse_the_same(talk: Conversation) -> None:
    """One is the other's client: it sends its digest, learns what it lacks, and tells what the other lacks."""
    other = Conversation(relays=True)
    talk.do(RevokeAsked("token", [task(1), task(2)], 0))
    other.do(RevokeAsked("token", [task(2), task(3)], 0))
    *pages, theirs = said(talk.do_quietly(PEER, RevokedDigest(other.holder.revoked_digest(other.now))), PEER)
    for page in pages:
        assert isinstance(page, RevokedIds)
        other.do(RevocationsHeard(page.ids))
    assert theirs != RevokedDigest(other.holder.revoked_digest(other.now))
    talk.do_quietly(PEER, *relaying.revoked_pages(other.holder.revoked(other.now)))
    assert talk.holder.revoked_digest(talk.now) == other.holder.revoked_digest(other.now)
    assert sorted(refused(talk)) == [task(1), task(2), task(3)]


def test_a_peer_that_floods_us_with_digests_is_answered_now_and_then(talk: Conversation) -> None:
    """With all ids once a second, each peer for itself; a client that is no node is not answered at all."""
    talk.do(RevokeAsked("token", [task(1)], 0))
    digest = RevokedDigest(b"another")
    told = said(talk.do_quietly(PEER, *[digest] * 9), PEER)
    assert [type(message) for message in told] == [RevokedIds, *[RevokedDigest] * 9]
    assert len(said(talk.do_quietly(OTHER, digest), OTHER)) == 2
    talk.say(A, digest)
    talk.pass_time(1.1)
    assert len(said(talk.do_quietly(PEER, digest), PEER)) == 2


def test_a_peer_that_is_back_is_told_again(talk: Conversation) -> None:
    """A question from before a cut may come after it, and its answer be lost with the old connection."""
    talk.do(RevokeAsked("token", [task(1)], 0))
    assert len(said(talk.do_quietly(PEER, RevokedDigest(b"another")), PEER)) == 2
    talk.do(ClientGreeted(PEER, "node", "node on HOST"))
    assert len(said(talk.do_quietly(PEER, RevokedDigest(b"another")), PEER)) == 2


def test_a_peer_that_lies_for_an_hour_is_told_the_same_once_a_minute(talk: Conversation) -> None:
    """Until there is something new; it is then told all, as it may have missed any."""
    talk.do(RevokeAsked("token", [task(1)], 0))
    tellings = 0
    for _ in range(3_600):
        said_then = said(talk.do_quietly(PEER, RevokedDigest(b"another")), PEER)
        tellings += any(isinstance(message, RevokedIds) for message in said_then)
        talk.pass_time(1.0)
    assert 60 <= tellings <= 70
    talk.do(RevokeAsked("token", [task(2)], 0))
    [page, _] = said(talk.do_quietly(PEER, RevokedDigest(b"another")), PEER)
    assert isinstance(page, RevokedIds)
    assert [row[0] for row in page.ids] == [task(1), task(2)]
