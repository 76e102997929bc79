"""The session: what links say reaches the owner as news of nodes, and what the owner sends finds its link."""

from __future__ import annotations

from typing import Any

import pytest
from conversation import Conversation
from owner_words import A, B, make_task, rack, result, settle, submit

from meshq.core.membership import (
    Candidate,
    CandidateSeen,
    Dial,
    Greet,
    Hangup,
    LinkDown,
    LinkRefused,
    LinkUp,
    Membership,
    MembershipEvent,
    MembershipSettings,
)
from meshq.core.owned import OwnedTask
from meshq.core.owner import Leaving, Owner, OwnerEvent, Submitted
from meshq.core.session import HEARD_S, HOME, Goodbye, NodesChanged, SendLink, Session, SessionEffect, joined
from meshq.protocol.messages import (
    Bye,
    ByeAck,
    Credit,
    Draining,
    HelloAck,
    Message,
    Ping,
    Pong,
    Refused,
    Started,
    Withdraw,
)


class Middle:
    """Randomness that always gives the middle."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return the middle of the two."""
        return (a + b) / 2


class Notice(tuple[MembershipEvent]):
    """What the shell gives to ``notice``."""


class Messages(tuple[int, list[Message]]):
    """What the shell gives to ``receive``: the link and its messages."""


class Face:
    """The session's three ways in, as the one of a machine."""

    def __init__(self, home: bytes = b"") -> None:
        self.session = Session(Membership(MembershipSettings(), Middle()), Owner(), home)

    def handle(self, event: Notice | Messages | OwnerEvent, now: float) -> list[SessionEffect]:
        """Pass the event to where it belongs."""
        if isinstance(event, Notice):
            return self.session.notice(event[0], now)
        if isinstance(event, Messages):
            return self.session.receive(*event, now)
        return self.session.handle(event, now)

    def tick(self, now: float) -> list[SessionEffect]:
        """Let the session tick."""
        return self.session.tick(now)

    def next_deadline(self) -> float | None:
        """Return when that is due."""
        return self.session.next_deadline()


class Talk(Conversation):
    """A conversation with a session."""

    machine: Face

    def notice(self, event: MembershipEvent, *, at: float | None = None) -> None:
        """Let the session notice an event of a link."""
        self.say(Notice((event,)), at=at)

    def receive(self, link: int, *messages: Message, at: float | None = None) -> None:
        """Let messages come over a link."""
        self.say(Messages((link, list(messages))), at=at)

    def come_up(self, node: bytes = A, link: int = 1) -> None:
        """Let a node come up over a link."""
        candidate = Candidate(node.hex(), (f"tcp://{node[:1].decode()}",), (), "", "peer", "")
        self.notice(CandidateSeen(candidate))
        self.expect(Dial(link, candidate.endpoints[0], candidate))
        self.notice(LinkUp(link))
        self.expect(Greet(link))
        self.receive(link, ack(node))
        self.expect(NodesChanged())

    def types(self) -> list[type[Any]]:
        """Return the types of the effects that came, which bare named tuples do not tell when compared."""
        return [type(effect) for effect in self.take()]


def ack(node: bytes = A, *, incarnation: int = 1, slots: int = 2, draining: bool = False) -> HelloAck:
    """Return a node's answer to HELLO."""
    functions = {"f": "", "g": ""}
    return HelloAck(node, incarnation, 1, "node", "h", slots, functions, ["msgpack"], [], [], False, draining)


@pytest.fixture
def talk() -> Talk:
    """Begin with no node."""
    return Talk(Face())


@pytest.fixture
def task() -> OwnedTask:
    """Make one task."""
    return make_task()


def test_a_new_session_waits_for_nothing(talk: Talk) -> None:
    """Without nodes and tasks nothing is due."""
    assert talk.machine.next_deadline() is None
    talk.say(Leaving())


def test_a_node_that_answers_hello_gets_the_tasks_that_wait(talk: Talk, task: OwnedTask) -> None:
    """The owner hears of a node as soon as membership does, and what it sends goes over the node's link."""
    talk.say(Submitted([task]))
    talk.notice(CandidateSeen(Candidate("a", ("tcp://a",), (), "", "peer", "")))
    talk.take()
    talk.notice(LinkUp(1))
    assert talk.types() == [Greet]
    talk.receive(1, ack(), Credit(0, 3))
    talk.expect(NodesChanged(), SendLink(1, [submit(task)]))
    account = talk.machine.session.owner._nodes[A]
    assert (account.name, account.slots, account.cap) == ("node@h", 2, 3)


def test_results_are_settled_and_acknowledged_over_their_link(talk: Talk, task: OwnedTask) -> None:
    """Each node's messages go to the owner under the node's id, and the answers back over the same link."""
    talk.come_up(A, 1)
    talk.come_up(B, 2)
    talk.say(Submitted([task]))
    talk.expect(SendLink(1, [submit(task)]))
    talk.receive(1, result(task))
    talk.expect(SendLink(1, [rack(task)]), settle(task))
    talk.receive(2, result(task))
    talk.expect(SendLink(2, [rack(task)]))


def test_messages_of_a_link_that_no_node_has_are_ignored(talk: Talk, task: OwnedTask) -> None:
    """What comes before HELLO is answered, or after the link was hung up, is nobody's."""
    talk.receive(7, result(task), Pong(1))
    talk.receive(7, ByeAck(0))
    talk.end()


def test_each_node_is_sent_heartbeats(talk: Talk) -> None:
    """PING goes out twice a second over the node's link; its answer is a sign of life and nothing else."""
    talk.come_up()
    talk.wait(0.5)
    talk.expect(SendLink(1, [Ping(1)]))
    talk.receive(1, Pong(1))
    talk.wait(1.0)
    talk.expect(SendLink(1, [Ping(2)]))


def test_a_node_that_falls_silent_gets_nothing_new_until_it_is_heard(talk: Talk, task: OwnedTask) -> None:
    """The owner is told of the suspicion, and of its end, which any message is."""
    talk.come_up()
    talk.wait(1.6)
    assert talk.types() == [SendLink, SendLink, SendLink, NodesChanged]
    talk.say(Submitted([task]))
    talk.receive(1, Pong(1))
    talk.expect(NodesChanged(A), SendLink(1, [submit(task)]))


def test_traffic_keeps_a_node_alive(talk: Talk, task: OwnedTask) -> None:
    """Not each message is told to membership, but often enough for its verdict."""
    talk.come_up()
    for step in range(1, 100):
        talk.wait(step * HEARD_S / 2)
        assert NodesChanged not in talk.types()
        talk.receive(1, Started(task.id, 1))


def test_a_node_that_is_dead_has_its_tasks_sent_elsewhere(talk: Talk, task: OwnedTask) -> None:
    """After 3 s of silence the link is hung up, nothing goes over it any more, and another node gets the task."""
    talk.come_up(A, 1)
    talk.say(Submitted([task]))
    talk.expect(SendLink(1, [submit(task)]))
    talk.receive(1, Started(task.id, 1), at=0.2)
    talk.come_up(B, 2)
    while 1 in {view.link for view in talk.machine.session.membership.nodes()}:
        talk.wait(talk.now + 0.25)
        effects = talk.take()
        talk.receive(2, Pong(1))
    assert Hangup(1) in effects
    assert SendLink(2, [submit(task, 2)]) in effects
    assert 3.0 <= talk.now < 4.0
    talk.receive(1, result(task))


def test_a_node_that_comes_back_is_reached_over_its_new_link(talk: Talk, task: OwnedTask) -> None:
    """A process that ended and one that answers at its place later are told apart; the attempt goes out anew."""
    talk.come_up(A, 1)
    talk.say(Submitted([task]))
    talk.expect(SendLink(1, [submit(task)]))
    talk.notice(LinkRefused(1))
    talk.expect(NodesChanged(), Hangup(1))
    talk.wait(1.2)
    [dial] = talk.take()
    assert (type(dial), dial.link) == (Dial, 2)
    talk.notice(LinkUp(2))
    talk.expect(Greet(2))
    talk.receive(2, ack(incarnation=2))
    talk.expect(NodesChanged(), SendLink(2, [submit(task, 2)]))


def test_a_lost_connection_is_greeted_again(talk: Talk) -> None:
    """The same process at the other end is no news, unless it says something else of itself."""
    talk.come_up()
    talk.notice(LinkDown(1))
    talk.notice(LinkUp(1))
    talk.expect(Greet(1))
    talk.receive(1, ack())
    talk.receive(1, ack(draining=True))
    talk.expect(NodesChanged())
    talk.say(Submitted([make_task()]))


def test_what_was_moved_is_called_back_from_a_node_that_was_only_out_of_reach(talk: Talk, task: OwnedTask) -> None:
    """The old attempt is withdrawn over the new link."""
    talk.come_up(A, 1)
    talk.say(Submitted([task]))
    talk.expect(SendLink(1, [submit(task)]))
    talk.come_up(B, 2)
    while talk.machine.session.owner._nodes[A].lost_at is None:
        talk.wait(talk.now + 0.25)
        talk.take()
        talk.receive(2, Pong(1))
    talk.wait(talk.now + 1.1)
    [dial] = [effect for effect in talk.take() if type(effect) is Dial]
    talk.notice(LinkUp(dial.link))
    talk.expect(Greet(dial.link))
    talk.receive(dial.link, ack())
    talk.expect(NodesChanged(), SendLink(dial.link, [Withdraw(task.id, 1)]))


def test_a_refusal_ends_the_link(talk: Talk) -> None:
    """A node that says that it is not the one that was known is lost."""
    talk.come_up()
    talk.receive(1, Refused("stale", "greet first"))
    assert talk.types() == [NodesChanged, Hangup]
    [problem] = talk.machine.session.membership.problems()
    assert (problem.code, problem.text) == ("stale", "greet first")


def test_a_verb_that_is_refused_ends_nothing(talk: Talk) -> None:
    """An older node that does not know something that was said to it stays in use."""
    talk.come_up()
    talk.receive(1, Refused("verb", "verbs [99] are not known"))
    talk.expect()


def test_leaving_says_bye_to_each_node_and_hears_the_answers(talk: Talk, task: OwnedTask) -> None:
    """Each node's BYE goes over its own link; its answer names the node."""
    talk.come_up(A, 1)
    talk.come_up(B, 2)
    talk.say(Leaving())
    talk.expect(SendLink(1, [Bye()]), SendLink(2, [Bye()]))
    talk.receive(2, ByeAck(0))
    talk.expect(Goodbye(B))
    talk.receive(1, ByeAck(3))
    assert talk.types() == [Goodbye]


def test_what_is_for_a_node_without_a_link_is_dropped(talk: Talk, task: OwnedTask) -> None:
    """The owner counts it as lost with the connection, and sends it again."""
    talk.say(joined(ack()))
    talk.say(Submitted([task]))
    assert task.node == A


def test_the_owner_ticks_when_it_is_due(talk: Talk, task: OwnedTask) -> None:
    """An attempt that is not answered is sent again after a second."""
    talk.come_up()
    talk.say(Submitted([task]))
    talk.expect(SendLink(1, [submit(task)]))
    talk.wait(1.1)
    assert SendLink(1, [submit(task)]) in talk.take()


def test_a_hello_ack_means_to_the_owner_what_it_says() -> None:
    """Name and host become one name; the rest is taken over."""
    event = joined(ack(slots=5, draining=True))
    assert (event.node, event.incarnation, event.name, event.slots) == (A, 1, "node@h", 5)
    assert (set(event.functions), event.serializers, event.draining) == ({"f", "g"}, ["msgpack"], True)


def test_a_node_that_drains_gets_nothing_new_and_is_missed_by_nobody() -> None:
    """The owner keeps to what it has there, and its end is no loss to be named."""
    talk = Talk(Face())
    talk.come_up()
    talk.receive(1, Credit(1, 5), Draining())
    talk.say(Submitted([make_task(1)]))
    assert talk.take() == []
    talk.notice(LinkDown(1))
    talk.wait(until=3.2)
    talk.take()
    assert talk.machine.session.membership.nodes() == []
    assert talk.machine.session.membership.absent(5.0) == []


def test_a_node_is_a_client_of_its_own_and_of_others(task: OwnedTask) -> None:
    """Its own is at hand without a link being dialled, and is preferred; both are answered where they speak."""
    talk = Talk(Face(home=B))
    session = talk.machine.session
    assert session.join_home(ack(B, slots=1), 0.0) == []
    talk.come_up(A, 1)
    assert session.linked() == [A]
    assert (session.node_of(HOME), session.node_of(1), session.node_of(2)) == (B, A, None)
    talk.say(Submitted([task]))
    talk.expect(SendLink(HOME, [submit(task)]))
    talk.receive(HOME, result(task))
    talk.expect(SendLink(HOME, [rack(task)]), settle(task))
    tasks = [make_task(number) for number in (2, 3)]
    talk.say(Submitted(tasks))
    talk.expect(SendLink(HOME, [submit(tasks[0])]), SendLink(1, [submit(tasks[1])]))


def test_a_node_that_finds_itself_stays_at_hand() -> None:
    """At an address that it did not know for its own: that link counts for nothing, whatever becomes of it."""
    talk = Talk(Face(home=A))
    session = talk.machine.session
    session.join_home(ack(A), 0.0)
    talk.come_up(A, 1)
    assert session.linked() == []
    talk.notice(LinkRefused(1))
    assert talk.types() == [NodesChanged, Hangup]
    talk.say(Submitted([make_task(1)]))
    assert [effect.link for effect in talk.take()] == [HOME]


def test_a_node_can_be_told_what_is_no_owners_business(talk: Talk) -> None:
    """As long as it answers."""
    talk.come_up()
    session = talk.machine.session
    assert session.say(A, [Ping(7)]) == [SendLink(1, [Ping(7)])]
    assert session.say(B, [Ping(7)]) == []
