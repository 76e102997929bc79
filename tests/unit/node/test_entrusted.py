"""The node as the owner of detached tasks: what it tells the holder of their ends, and what peers do for it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from meshq.core.events import Received
from meshq.core.holding import (
    Entrust,
    EntrustedDone,
    EntrustedHandedOver,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    HolderEvent,
)
from meshq.core.membership import MDNS, Candidate, CandidateSeen, LinkRefused, LinkUp
from meshq.core.session import HOME, SendLink
from meshq.errors import WorkerLost
from meshq.node.entrusted import Entrusted
from meshq.node.peers import make_session
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import (
    Accepted,
    HelloAck,
    Message,
    Rack,
    Result,
    Started,
    Status,
    Submit,
    Withdraw,
    Withdrawn,
)
from meshq.protocol.retries import RetryAsked, dump_retry

OWN, NODE, PEER, A, TASK = b"o" * 16, b"n" * 16, b"p" * 16, b"a" * 16, b"t" * 16
LINK = 1
"""The link to the peer."""


class Told:
    """An ``Entrusted`` whose node offers ``f``, and what it tells the holder."""

    def __init__(self) -> None:
        self._events: list[HolderEvent] = []
        self._sent: list[Message] = []
        self.entrusted = Entrusted(OWN, make_session(NODE, "", 0.0, random.Random(0)), self._events.append)
        self.entrusted.join(ack(NODE, "node"), 0.0)

    def find_peer(self, **changes: Any) -> None:
        """Let a peer come up that offers the function too."""
        self.entrusted.connect(self._carry_out)
        candidate = Candidate("peer", ("tcp://peer:1",), (), "", MDNS, "peer")
        for event in (CandidateSeen(candidate), LinkUp(LINK)):
            self.entrusted.notice(event, 0.0)
        self.entrusted.receive(LINK, [ack(PEER, "peer")._replace(**changes)], 0.0)

    def _carry_out(self, effect: Any, now: float) -> None:
        if isinstance(effect, SendLink):
            self._sent += effect.messages

    def take_over(self, task: bytes = TASK, options: dict[str, Any] | None = None) -> None:
        """Entrust a task."""
        self.entrusted.take_over(Entrust(A, task, "f", "msgpack", b"args", options), 0.0)

    def say(self, *messages: Message, link: int = HOME) -> None:
        """Let the holder, or a peer, say something to the node's own client."""
        self.entrusted.receive(link, list(messages), 0.0)

    def sent(self) -> list[Message]:
        """Return what was sent to the peer since last asked."""
        sent, self._sent = self._sent, []
        return sent

    def events(self) -> list[HolderEvent]:
        """Return what the holder was told since last asked."""
        events = self._events.copy()
        self._events.clear()
        return events


def ack(node: bytes, name: str) -> HelloAck:
    """Return what a node says of itself."""
    return HelloAck(node, 1, 1, name, "h", 1, {"f": ""}, ["msgpack"], [], [], False)


@pytest.fixture
def told() -> Told:
    """Begin with a task that has been taken over and submitted."""
    told = Told()
    told.take_over()
    assert told.events() == [Received(OWN, [_submit(1)])]
    return told


def _submit(attempt: int) -> Submit:
    return Submit(TASK, attempt, "f", "msgpack", b"args")


def test_a_result_goes_to_who_entrusted_the_task(told: Told) -> None:
    """The attempt is acknowledged, and the client's own attempt ends with its value."""
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    events = told.events()
    assert EntrustedDone(A, TASK, Status.OK, "msgpack", b"42") in events
    assert Received(OWN, [Rack(TASK, 1)]) in events
    assert len(events) == 2


def test_a_task_that_kills_its_workers_fails(told: Told) -> None:
    """After three deaths its client gets a failure, which it does not try again."""
    for attempt in (1, 2, 3):
        told.say(Result(TASK, attempt, Status.WORKER_LOST, "", b"killed by signal 9"))
    [done] = [event for event in told.events() if isinstance(event, EntrustedDone)]
    assert done[:4] == (A, TASK, Status.FAILURE, "msgpack")
    assert isinstance(load_failure(done.payload), WorkerLost)


def test_a_withdrawn_task_has_no_result(told: Told) -> None:
    """The holder is told that it was withdrawn, and nothing else: its client may have sent it elsewhere."""
    told.entrusted.withdraw(TASK, 0.0)
    assert told.events() == [Received(OWN, [Withdraw(TASK, 1)])]
    told.say(Withdrawn(TASK, 1, "dropped"))
    assert told.events() == [EntrustedWithdrawn(A, TASK, True)]


def test_a_withdrawn_task_keeps_its_deaths(told: Told) -> None:
    """The holder is told of them, as whoever has the task next is to go on counting."""
    told.say(Result(TASK, 1, Status.WORKER_LOST, "", b"killed by signal 9"))
    told.events()
    told.entrusted.withdraw(TASK, 0.0)
    told.say(Withdrawn(TASK, 2, "dropped"))
    assert told.events() == [Received(OWN, [Withdraw(TASK, 2)]), EntrustedWithdrawn(A, TASK, True, 1)]


def test_a_task_that_runs_is_not_withdrawn(told: Told) -> None:
    """Its result still goes to its client."""
    told.entrusted.withdraw(TASK, 0.0)
    told.say(Withdrawn(TASK, 1, "running"))
    assert EntrustedWithdrawn(A, TASK, False) in told.events()
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    assert EntrustedDone(A, TASK, Status.OK, "msgpack", b"42") in told.events()


@pytest.mark.parametrize("last", [Withdrawn(TASK, 1, "dropped"), Result(TASK, 1, Status.OK, "msgpack", b"42")])
def test_a_task_that_comes_back_is_a_new_attempt(told: Told, last: Message) -> None:
    """The holder must not take it for a copy of the attempt that is over, and ignore it for ever."""
    told.entrusted.withdraw(TASK, 0.0)
    told.say(last)
    told.events()
    told.take_over()
    assert told.events() == [Received(OWN, [_submit(2)])]


def test_a_task_that_is_unknown_is_not_withdrawn(told: Told) -> None:
    """Where it has ended meanwhile, its result is on the way to the holder already."""
    told.entrusted.withdraw(b"u" * 16, 0.0)
    assert told.events() == []


def test_a_task_that_two_clients_entrust_runs_once_for_both(told: Told) -> None:
    """An id that both have given it stands for one task, and each hears of its start and its end."""
    told.entrusted.take_over(Entrust(b"b" * 16, TASK, "f", "msgpack", b"x", None), 0.0)
    assert told.events() == []
    told.say(Started(TASK, 1, 0.5))
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    events = told.events()
    for client in (A, b"b" * 16):
        assert EntrustedStarted(client, TASK, 0.5) in events
        assert EntrustedDone(client, TASK, Status.OK, "msgpack", b"42") in events


def test_an_unanswered_attempt_is_sent_again(told: Told) -> None:
    """The owner's clock is turned by the node."""
    due = told.entrusted.next_deadline()
    assert due is not None
    told.entrusted.tick(1.5)
    assert told.events() == [Received(OWN, [_submit(1)])]


def test_a_revoked_task_that_waits_ends(told: Told) -> None:
    """What the node has sent itself is the holder's to end; what waits, for a death to be followed, ends here."""
    told.entrusted.revoke([TASK], 0.0)
    assert told.events() == []
    told.say(Result(TASK, 1, Status.WORKER_LOST, "", b"killed by signal 9"))
    assert EntrustedDone(A, TASK, Status.REVOKED, "", b"") in told.events()


def test_a_purge_counts_what_has_not_started(told: Told) -> None:
    """The client that entrusted the task hears that it was revoked."""
    counts: list[int] = []
    told.entrusted.purge(b"k" * 16, counts.append, 0.0)
    assert told.events() == [Received(OWN, [Withdraw(TASK, 1)])]
    assert counts == []
    told.say(Withdrawn(TASK, 1, "dropped"))
    assert counts == [1]
    assert EntrustedDone(A, TASK, Status.REVOKED, "", b"") in told.events()


def test_a_task_keeps_its_options() -> None:
    """Its time is measured from when the node took it over, and the holder is told what is left."""
    told = Told()
    options = {"countdown": 5.0, "expires": 60.0, "rate_limit": "1/s"}
    told.entrusted.take_over(Entrust(A, TASK, "f", "msgpack", b"args", options), 0.0)
    told.take_over()
    assert told.events() == [Received(OWN, [_submit(1)._replace(options=options)])]
    told.entrusted.tick(2.0)
    left = {"countdown": 3.0, "expires": 58.0, "rate_limit": "1/s"}
    assert told.events() == [Received(OWN, [_submit(1)._replace(options=left)])]


@pytest.mark.parametrize("status", [Status.TIME_LIMIT, Status.EXPIRED, Status.FAILURE])
def test_an_end_is_passed_on_as_it_is(told: Told, status: Status) -> None:
    """Its client tells what it was by the status."""
    told.say(Result(TASK, 1, status, "msgpack", b"why"))
    assert EntrustedDone(A, TASK, status, "msgpack", b"why") in told.events()


def test_a_task_that_expires_before_it_is_sent_ends(told: Told) -> None:
    """The holder hears of it at once."""
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    told.events()
    told.entrusted.take_over(Entrust(A, TASK, "f", "msgpack", b"args", {"expires": 0}), 0.0)
    assert told.events() == [EntrustedDone(A, TASK, Status.EXPIRED, "", b"")]


def test_a_task_that_asks_for_another_try_gets_it(told: Told) -> None:
    """The holder is told how long that is; the node's own owner sends it out again."""
    asked = RetryAsked(b"failure", delay=2.0, most=1)
    told.say(Result(TASK, 1, Status.RETRY, "msgpack", dump_retry(asked)))
    assert told.events() == [EntrustedRetrying(A, TASK, 2.0, 1), Received(OWN, [Rack(TASK, 1)])]
    told.entrusted.tick(2.0)
    assert told.events() == [Received(OWN, [_submit(2)._replace(options={"retries": 1})])]
    told.say(Result(TASK, 2, Status.RETRY, "msgpack", dump_retry(asked)))
    assert EntrustedDone(A, TASK, Status.FAILURE, "msgpack", b"failure") in told.events()


def test_a_task_that_may_have_run_is_lost_to_its_client(told: Told) -> None:
    """With the story, and not as a failure of its own."""
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    told.events()
    told.entrusted.take_over(Entrust(A, TASK, "f", "msgpack", b"args", {"once": True}), 0.0)
    told.say(Result(TASK, 2, Status.WORKER_LOST, "", b"killed by signal 9"))
    story = b"attempt 2 on node@h: killed by signal 9"
    assert EntrustedDone(A, TASK, Status.WORKER_LOST, "", story) in told.events()


OTHER = b"u" * 16


@pytest.fixture
def shared(told: Told) -> Told:
    """Go on with a peer that has got a second task, as the node's one slot is taken."""
    told.find_peer()
    assert told.sent() == []
    told.take_over(OTHER)
    assert (told.events(), told.sent()) == ([], [_submit(1)._replace(task=OTHER)])
    return told


def test_a_task_that_a_peer_runs_is_this_nodes_all_the_same(shared: Told) -> None:
    """Whoever entrusted it hears of its start and its end, and it is known where it is."""
    assert shared.entrusted.is_elsewhere(OTHER)
    assert not shared.entrusted.is_elsewhere(TASK)
    shared.say(Started(OTHER, 1, 0.5), link=LINK)
    assert shared.events() == [EntrustedStarted(A, OTHER, 0.5)]
    shared.say(Result(OTHER, 1, Status.OK, "msgpack", b"42"), link=LINK)
    assert shared.events() == [EntrustedDone(A, OTHER, Status.OK, "msgpack", b"42")]
    assert shared.sent() == [Rack(OTHER, 1)]
    assert not shared.entrusted.is_elsewhere(OTHER)


def test_a_task_of_a_peer_that_dies_runs_here(shared: Told) -> None:
    """What the dead peer said of it meanwhile counts for nothing."""
    shared.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    shared.events()
    shared.entrusted.notice(LinkRefused(LINK), 0.0)
    assert shared.events() == [Received(OWN, [_submit(2)._replace(task=OTHER)])]
    shared.say(Started(OTHER, 1, 0.5))
    assert shared.events() == []


def test_a_revoked_task_is_ended_by_the_peer_that_has_it(shared: Told) -> None:
    """It is told by other ways; a purge calls the task back, and counts it."""
    shared.entrusted.revoke([OTHER], 0.0)
    assert (shared.events(), shared.sent()) == ([], [])
    shared.say(Result(OTHER, 1, Status.REVOKED, "", b""), link=LINK)
    assert shared.events() == [EntrustedDone(A, OTHER, Status.REVOKED, "", b"")]
    counts: list[int] = []
    shared.say(Started(TASK, 1, 0.0))
    third = b"v" * 16
    shared.take_over(third)
    shared.sent()
    shared.entrusted.purge(b"k" * 16, counts.append, 0.0)
    assert shared.sent() == [Withdraw(third, 1)]
    shared.say(Withdrawn(third, 1, "dropped"), link=LINK)
    assert counts == [1]


def test_a_task_goes_only_where_its_tags_are(told: Told) -> None:
    """They come with its options; this node has them, as the client has chosen it for that."""
    told.say(Result(TASK, 1, Status.OK, "msgpack", b"42"))
    told.entrusted.join(ack(NODE, "node")._replace(tags=["gpu"]), 0.0)
    told.find_peer()
    told.events()
    for task in (TASK, OTHER):
        told.take_over(task, {"tags": ["gpu"]})
    assert told.sent() == []
    assert [event.messages[0].task for event in told.events() if isinstance(event, Received)] == [TASK, OTHER]


def test_tasks_can_be_handed_over(shared: Told) -> None:
    """Once the peer has accepted one for its own, the holder is to forget it; nothing more is told of it here."""
    assert shared.entrusted.stranded() == frozenset()
    shared.entrusted.hand_over([TASK, OTHER], 0.0)
    assert shared.events() == [Received(OWN, [Withdraw(TASK, 1)])]
    assert shared.sent() == [Withdraw(OTHER, 1)]
    shared.say(Withdrawn(OTHER, 1, "dropped"), link=LINK)
    assert shared.sent() == [_submit(2)._replace(task=OTHER, detached=True)]
    shared.say(Accepted(OTHER, 2), link=LINK)
    assert shared.events() == [EntrustedHandedOver(A, OTHER)]
