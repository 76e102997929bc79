"""Membership: who is there, as a conversation of events and effects."""

from __future__ import annotations

import itertools
import random
from typing import Any

from meshq.core.membership import (
    MDNS,
    Absent,
    Beat,
    Candidate,
    CandidateDropped,
    CandidateGone,
    CandidateSeen,
    Dial,
    Greet,
    Hangup,
    Heard,
    LeaveHeard,
    LinkAuthFailed,
    LinkDown,
    LinkRefused,
    LinkUp,
    Membership,
    MembershipEffect,
    MembershipEvent,
    MembershipSettings,
    NodeBack,
    NodeChanged,
    NodeDead,
    NodeSuspect,
    NodeUp,
    NodeView,
    Problem,
    Rejected,
    Welcomed,
)
from meshq.protocol.messages import HelloAck


class Middle:
    """Randomness that always gives the middle."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return the middle of the two."""
        return (a + b) / 2


def candidate(name: str, *endpoints: str, source: str = MDNS) -> Candidate:
    """Make a candidate; its one endpoint is named after it unless some are given."""
    return Candidate(name, endpoints or (f"tcp://{name}",), (), "", source, f"node@{name}")


def ack(name: str, incarnation: int = 1, slots: int = 2) -> HelloAck:
    """Make the answer to HELLO of a node with this id."""
    return HelloAck(name.encode(), incarnation, 1, name, "host", slots, {}, ["msgpack"], [], [], False)


class Story(list[Any]):
    """Effects, equal only to effects of the same types: bare named tuples are equal if their fields are."""

    def __eq__(self, other: object) -> bool:
        return list.__eq__(self, other) and repr(list(self)) == repr(other)


class Talk(Membership):
    """A membership whose effects are told apart by type."""

    def handle(self, event: MembershipEvent, now: float) -> list[MembershipEffect]:
        """Handle one event."""
        return Story(super().handle(event, now))

    def tick(self, now: float) -> list[MembershipEffect]:
        """Do what is due."""
        return Story(super().tick(now))


def start(key: str = "") -> Talk:
    """Make a membership with predictable pauses."""
    return Talk(MembershipSettings(), Middle(), key)


def feed(membership: Membership, *events: MembershipEvent, now: float) -> list[MembershipEffect]:
    """Handle these events and return all effects."""
    return Story(effect for event in events for effect in membership.handle(event, now))


def join(membership: Membership, *names: str, now: float = 0.0) -> None:
    """Let nodes of these names come up; their links are numbered from 1."""
    for name in names:
        (dial,) = membership.handle(CandidateSeen(candidate(name)), now)
        assert isinstance(dial, Dial)
        feed(membership, LinkUp(dial.link), Welcomed(dial.link, ack(name)), now=now)


def run(membership: Membership, until: float, heard: tuple[int, ...] = ()) -> list[tuple[float, MembershipEffect]]:
    """Tick at every deadline, hearing from these links before each; return all effects but beats."""
    story = Story()
    while (now := membership.next_deadline()) is not None and now <= until:
        for link in heard:
            story += [(round(now, 6), effect) for effect in membership.handle(Heard(link), now)]
        story += [(round(now, 6), effect) for effect in membership.tick(now) if not isinstance(effect, Beat)]
    return story


def states(membership: Membership) -> list[tuple[bytes, str]]:
    """Give each node's id and state."""
    return [(view.node_id, view.state) for view in membership.nodes()]


def test_from_a_hint_to_a_node() -> None:
    """A hint is dialled, greeted once connected, and counts once it has answered HELLO."""
    mesh, a = start(), candidate("a")
    assert mesh.next_deadline() is None
    assert mesh.tick(0.0) == []
    assert mesh.handle(CandidateSeen(a), 0.0) == [Dial(1, "tcp://a", a)]
    assert mesh.handle(LinkUp(1), 0.1) == [Greet(1)]
    assert mesh.handle(Heard(1), 0.2) == []
    assert mesh.nodes() == []
    assert mesh.handle(Welcomed(1, ack("a")), 0.2) == [NodeUp(b"a", 1, 1, ack("a"))]
    assert mesh.nodes() == [NodeView(b"a", 1, ack("a"), 1, "tcp://a", "alive", 0.2)]


def test_the_first_address_to_be_welcomed_wins() -> None:
    """The links to the other addresses are hung up, and their late events have no effect."""
    mesh = start()
    mesh.handle(CandidateSeen(candidate("a", "1", "2")), 0.0)
    assert feed(mesh, LinkUp(1), LinkUp(2), now=0.1) == [Greet(1), Greet(2)]
    assert mesh.handle(Welcomed(2, ack("a")), 0.2) == [Hangup(1), NodeUp(b"a", 1, 2, ack("a"))]
    assert feed(mesh, LinkUp(1), LinkDown(1), LinkRefused(1), Heard(1), now=0.3) == []
    assert feed(mesh, Welcomed(1, ack("a")), Rejected(1, "mesh", ""), now=0.3) == []


def test_two_candidates_that_are_one_node() -> None:
    """The second link is hung up; both candidates are dialled again when the node is lost."""
    mesh, named = start(), candidate("named", source="static")
    join(mesh, "a")
    assert mesh.handle(CandidateSeen(named), 0.1) == [Dial(2, "tcp://named", named)]
    assert feed(mesh, LinkUp(2), Welcomed(2, ack("a")), now=0.2) == [Greet(2), Hangup(2)]
    assert len(mesh.nodes()) == 1
    feed(mesh, LinkDown(1), LinkRefused(1), now=0.3)
    assert run(mesh, 1.5) == [(1.3, Dial(3, "tcp://a", candidate("a"))), (1.3, Dial(4, "tcp://named", named))]


def test_each_node_is_pinged() -> None:
    """A PING every half a second, numbered, while the link is connected."""
    mesh = start()
    join(mesh, "a")
    assert mesh.next_deadline() == 0.5
    assert mesh.tick(0.5) == [Beat(1, 1)]
    mesh.handle(LinkDown(1), 0.6)
    assert mesh.tick(1.0) == []
    assert mesh.handle(LinkUp(1), 1.1) == [Greet(1)]
    mesh.handle(Heard(1), 1.1)
    assert mesh.tick(1.5) == [Beat(1, 2)]


def test_beats_are_jittered() -> None:
    """Beats to many nodes do not come in step."""
    mesh = Membership(MembershipSettings(), random.Random(1))
    join(mesh, *"abc")
    due = {at for _, at in mesh._beats.items()}
    assert len(due) == 3
    assert all(0.45 <= at <= 0.55 for at in due)


def test_a_silent_node_is_suspect_then_dead() -> None:
    """1.5 s of silence make it suspect, 3 s dead; its link is hung up and its candidate dialled again."""
    mesh = start()
    join(mesh, "a")
    assert run(mesh, 2.9) == [(1.5, NodeSuspect(b"a"))]
    assert states(mesh) == [(b"a", "suspect")]
    assert run(mesh, 3.0) == [(3.0, NodeDead(b"a", "nothing heard for 3.0 s", False)), (3.0, Hangup(1))]
    assert mesh.nodes() == []
    assert mesh.problems() == [Problem("node@a", "tcp://a", "silent", "nothing heard for 3.0 s")]
    assert run(mesh, 4.0) == [(4.0, Dial(2, "tcp://a", candidate("a")))]
    assert feed(mesh, LinkUp(2), Welcomed(2, ack("a")), now=4.1) == [Greet(2), NodeUp(b"a", 1, 2, ack("a"))]
    assert mesh.problems() == []


def test_any_sign_of_life_counts() -> None:
    """Time runs from what was heard last, and a suspect that is heard is back at once."""
    mesh = start()
    join(mesh, "a")
    assert mesh.handle(Heard(1), 1.0) == []
    assert run(mesh, 2.5) == [(2.5, NodeSuspect(b"a"))]
    assert mesh.handle(Heard(1), 2.8) == [NodeBack(b"a")]
    assert states(mesh) == [(b"a", "alive")]
    assert run(mesh, 6.0) == [
        (4.3, NodeSuspect(b"a")),
        (5.8, NodeDead(b"a", "nothing heard for 3.0 s", False)),
        (5.8, Hangup(1)),
    ]


def test_a_busy_node_is_never_suspect() -> None:
    """Whoever is heard between deadlines stays."""
    mesh = start()
    join(mesh, "a", "b")
    assert run(mesh, 30.0, heard=(1, 2)) == []


def test_a_lost_connection_is_no_death() -> None:
    """The transport connects anew, HELLO is sent again, and the same answer changes nothing."""
    mesh = start()
    join(mesh, "a")
    assert mesh.handle(LinkDown(1), 0.1) == []
    assert mesh.handle(LinkUp(1), 0.2) == [Greet(1)]
    assert mesh.handle(Welcomed(1, ack("a")), 0.3) == []
    assert mesh.nodes()[0].heard_at == 0.3


def test_a_fresh_answer_with_other_contents() -> None:
    """The same process may say something new of itself, and it is a sign of life too."""
    mesh = start()
    join(mesh, "a")
    run(mesh, 1.5)
    more = ack("a", slots=8)
    assert mesh.handle(Welcomed(1, more), 1.6) == [NodeBack(b"a"), NodeChanged(b"a", more)]
    assert mesh.nodes()[0].ack == more


def test_a_refused_connection_is_a_death() -> None:
    """Where nobody listens any more, waiting for silence is pointless."""
    mesh = start()
    join(mesh, "a")
    mesh.handle(LinkDown(1), 0.1)
    text = "the connection was refused: nothing listens there"
    assert mesh.handle(LinkRefused(1), 0.2) == [NodeDead(b"a", text, True), Hangup(1)]
    assert mesh.problems() == [Problem("node@a", "tcp://a", "refused", text)]


def test_a_successor_on_the_same_link() -> None:
    """A new incarnation, or another node, at the endpoint is the death of the old; the link is kept."""
    mesh = start()
    join(mesh, "a")
    feed(mesh, LinkDown(1), LinkUp(1), now=0.1)
    dead = "another process answers at tcp://a"
    again = ack("a", incarnation=2)
    assert mesh.handle(Welcomed(1, again), 0.2) == [NodeDead(b"a", dead, True), NodeUp(b"a", 2, 1, again)]
    other = ack("b")
    assert mesh.handle(Welcomed(1, other), 0.3) == [NodeDead(b"a", dead, True), NodeUp(b"b", 1, 1, other)]
    assert [view.node_id for view in mesh.nodes()] == [b"b"]
    assert run(mesh, 4.0)[1:] == [
        (3.3, NodeDead(b"b", "nothing heard for 3.0 s", False)),
        (3.3, Hangup(1)),
    ]


def test_a_successor_that_is_known_already() -> None:
    """When the answer comes from a node reached over another link, the link is hung up and no node added."""
    mesh = start()
    join(mesh, "a", "b")
    effects = mesh.handle(Welcomed(1, ack("b")), 0.1)
    assert effects == [NodeDead(b"a", "another process answers at tcp://a", True), Hangup(1)]
    assert [view.link for view in mesh.nodes()] == [2]


def test_a_new_incarnation_over_another_link() -> None:
    """The old incarnation is dead and its link hung up before the new one comes up."""
    mesh, moved = start(), candidate("moved")
    join(mesh, "a")
    mesh.handle(CandidateSeen(moved), 0.1)
    assert mesh.handle(Welcomed(2, ack("a", incarnation=2)), 0.2) == [
        NodeDead(b"a", "another process answers at tcp://moved", True),
        Hangup(1),
        NodeUp(b"a", 2, 2, ack("a", incarnation=2)),
    ]
    assert [view.link for view in mesh.nodes()] == [2]


def test_a_new_node_at_the_endpoint_of_another() -> None:
    """Two processes cannot listen at one endpoint: the one that was there is dead."""
    mesh = start()
    join(mesh, "a")
    mesh.handle(CandidateSeen(candidate("b", "tcp://a")), 0.1)
    assert mesh.handle(Welcomed(2, ack("b")), 0.2) == [
        NodeDead(b"a", "another process answers at tcp://a", True),
        Hangup(1),
        NodeUp(b"b", 1, 2, ack("b")),
    ]


def test_why_a_candidate_does_not_count() -> None:
    """Refused, with another key, of another mesh or version: the last problem of each is kept."""
    mesh = start()
    for name in "abcd":
        mesh.handle(CandidateSeen(candidate(name)), 0.0)
    assert mesh.handle(LinkRefused(1), 0.1) == [Hangup(1)]
    assert mesh.handle(LinkAuthFailed(2, "the node refused our key"), 0.1) == [Hangup(2)]
    assert mesh.handle(Rejected(3, "mesh", "it belongs to the mesh 'x'"), 0.1) == [Hangup(3)]
    assert mesh.handle(Rejected(4, "version", "it speaks version 9"), 0.1) == [Hangup(4)]
    assert mesh.problems() == [
        Problem("node@a", "tcp://a", "refused", "the connection was refused: nothing listens there"),
        Problem("node@b", "tcp://b", "auth", "the node refused our key"),
        Problem("node@c", "tcp://c", "mesh", "it belongs to the mesh 'x'"),
        Problem("node@d", "tcp://d", "version", "it speaks version 9"),
    ]


def test_a_node_that_refuses_us_is_lost() -> None:
    """A process that answers HELLO with a refusal holds nothing of ours."""
    mesh = start()
    join(mesh, "a")
    assert mesh.handle(Rejected(1, "mesh", "another mesh"), 0.1) == [
        NodeDead(b"a", "another mesh", False),
        Hangup(1),
    ]


def test_a_key_mismatch_is_told() -> None:
    """A candidate with another key is not dialled, and listed with what to do."""
    mesh = start(key="ours")
    assert mesh.handle(CandidateSeen(candidate("a")), 0.0) == []
    assert [problem.code for problem in mesh.problems()] == ["key"]


def test_a_withdrawn_hint_removes_no_node() -> None:
    """mDNS may forget a node that answers; the node stays."""
    mesh = start()
    join(mesh, "a")
    assert mesh.handle(CandidateGone("a"), 0.1) == []
    assert states(mesh) == [(b"a", "alive")]


def test_our_own_lag_is_not_held_against_the_nodes() -> None:
    """When the loop was held up for 10 s, nobody is suspect at once; the thresholds double for a while."""
    mesh = start()
    join(mesh, "a")
    mesh.tick(0.5)
    assert mesh.tick(11.0) == [Beat(1, 2)]
    assert mesh.nodes()[0].heard_at == 10.0
    assert run(mesh, 14.0) == [
        (13.0, NodeSuspect(b"a")),
        (14.0, NodeDead(b"a", "nothing heard for 4.0 s", False)),
        (14.0, Hangup(1)),
    ]


def test_a_late_tick_gives_dialled_links_more_time_too() -> None:
    """An answer to HELLO that waits in our own socket is not a silent node."""
    mesh = start()
    join(mesh, "a")
    mesh.handle(CandidateSeen(candidate("b")), 0.0)
    assert mesh.tick(7.0) == [Beat(1, 1)]
    assert mesh.handle(Welcomed(2, ack("b")), 7.0) == [NodeUp(b"b", 1, 2, ack("b"))]


def test_repeated_lags_stretch_the_thresholds_up_to_eightfold() -> None:
    """While lags go on, patience doubles with each; once it is calm, the usual thresholds hold again."""
    mesh = start()
    join(mesh, "a")
    now = 0.0
    for stretch in (2.0, 4.0, 8.0, 8.0):
        due = mesh.next_deadline()
        assert due is not None
        now = due + 0.6
        mesh.tick(now)
        assert mesh._stretch == stretch
    assert run(mesh, now + 2.9) == []
    mesh.handle(Heard(1), now + 2.9)
    (at, effect), *_ = run(mesh, now + 6.0)
    assert isinstance(effect, NodeSuspect)
    assert at <= now + 2.9 + 1.5 + 0.5


def test_when_most_nodes_fall_silent_together_death_waits() -> None:
    """Over half of three or more nodes silent at once points at our own network: dead after 6 s, not 3."""
    mesh = start()
    join(mesh, *"abc")
    assert run(mesh, 5.9, heard=(3,)) == [(1.5, NodeSuspect(b"a")), (1.5, NodeSuspect(b"b"))]
    assert run(mesh, 6.0, heard=(3,)) == [
        (6.0, NodeDead(b"a", "nothing heard for 6.0 s", False)),
        (6.0, Hangup(1)),
        (6.0, NodeDead(b"b", "nothing heard for 6.0 s", False)),
        (6.0, Hangup(2)),
    ]


def test_one_of_three_silent_nodes_dies_in_the_usual_time() -> None:
    """A minority, or one of two nodes, gets no extra time."""
    mesh = start()
    join(mesh, *"abc")
    assert run(mesh, 3.0, heard=(2, 3)) == [
        (1.5, NodeSuspect(b"a")),
        (3.0, NodeDead(b"a", "nothing heard for 3.0 s", False)),
        (3.0, Hangup(1)),
    ]


def test_nodes_heard_again_after_a_cut_are_back() -> None:
    """A cut of all that heals within the longer time costs nobody's tasks."""
    mesh = start()
    join(mesh, *"abc")
    assert len(run(mesh, 5.0)) == 3
    assert feed(mesh, Heard(1), Heard(2), Heard(3), now=5.0) == [NodeBack(b"a"), NodeBack(b"b"), NodeBack(b"c")]
    assert run(mesh, 6.0) == []


def _any_event(rng: random.Random, links: list[int]) -> MembershipEvent:
    name, link = rng.choice("abcd"), rng.choice([*links, 999])
    endpoints = rng.sample(["1", "2", "3", "4", "5", "6"], rng.randint(1, 6))
    answer = ack(rng.choice("xyz"), incarnation=rng.randint(1, 2), slots=rng.randint(1, 2))
    events: list[MembershipEvent] = [
        CandidateSeen(candidate(name, *endpoints)),
        CandidateGone(name),
        LinkUp(link),
        LinkDown(link),
        LinkRefused(link),
        LinkAuthFailed(link, "no"),
        Heard(link),
        Welcomed(link, answer),
        Rejected(link, "mesh", "no"),
    ]
    return rng.choice(events)


def test_whatever_happens_the_story_makes_sense() -> None:
    """In any order of events links are hung up once, nodes come up before they die, and views agree."""
    for seed in range(100):
        rng, links, up = random.Random(seed), set[int](), dict[bytes, int]()
        mesh, now = Membership(MembershipSettings(), rng), 0.0
        for _ in range(200):
            now += rng.choice([0.0, 0.05, 0.3, 2.0])
            for effect in [*mesh.handle(_any_event(rng, sorted(links)), now), *mesh.tick(now)]:
                if isinstance(effect, Dial):
                    links.add(effect.link)
                elif isinstance(effect, Hangup):
                    links.remove(effect.link)
                elif isinstance(effect, NodeUp):
                    assert up.setdefault(effect.node_id, effect.link) == effect.link
                elif isinstance(effect, NodeDead):
                    del up[effect.node_id]
                elif isinstance(effect, Greet | Beat):
                    assert effect.link in links
                else:
                    assert effect.node_id in up
            assert {view.node_id: view.link for view in mesh.nodes()} == up
            assert len(set(up.values())) == len(up)
            assert set(up.values()) <= links
            assert mesh._suspects == sum(view.state == "suspect" for view in mesh.nodes())


# ---------------------------------------------------------------------- who is named, and who is absent


def knowing(name: str, *others: str) -> HelloAck:
    """Make the answer to HELLO of a node that knows others."""
    peers = [[identity(other), f"node@{other}", f"tcp://{other}"] for other in others]
    return ack(name)._replace(node=identity(name), peers=peers)


def identity(name: str) -> bytes:
    """Give the id of a node, of the length that ids have."""
    return name.encode() * 16


def hint(name: str) -> Candidate:
    """Make the candidate that a node becomes by being named."""
    return candidate(identity(name).hex(), f"tcp://{name}", source="peer")._replace(label=f"node@{name}")


def test_nodes_that_a_node_names_are_dialled() -> None:
    """By all that it says when it greets, now or again, but for those that are known."""
    mesh, a = start(), candidate("a")
    mesh.handle(CandidateSeen(a), 0.0)
    up = mesh.handle(Welcomed(1, knowing("a", "b")), 0.1)
    assert up == [NodeUp(identity("a"), 1, 1, knowing("a", "b")), Dial(2, "tcp://b", hint("b"))]
    mesh.handle(Welcomed(2, knowing("b", "a")), 0.2)
    again = mesh.handle(Welcomed(1, knowing("a", "b", "c")), 0.3)
    assert again == [NodeChanged(identity("a"), knowing("a", "b", "c")), Dial(3, "tcp://c", hint("c"))]
    successor = mesh.handle(Welcomed(1, knowing("d", "e")), 0.4)
    assert successor[-1] == Dial(4, "tcp://e", hint("e"))


def test_hints_are_followed_as_far_as_that_is_wanted() -> None:
    """The shell knows which addresses may be dialled; who needs only a few nodes follows none."""
    mesh = Talk(MembershipSettings(), Middle(), "", lambda where, via: (where, via) != ("tcp://b", "tcp://a"))
    mesh.handle(CandidateSeen(candidate("a")), 0.0)
    assert mesh.handle(Welcomed(1, knowing("a", "b", "c")), 0.1)[1:] == [Dial(2, "tcp://c", hint("c"))]
    alone = Talk(MembershipSettings(follow=False), Middle())
    alone.handle(CandidateSeen(candidate("a")), 0.0)
    assert len(alone.handle(Welcomed(1, knowing("a", "b")), 0.1)) == 1


def test_who_is_named_and_does_not_answer_is_absent() -> None:
    """As is who fell silent; nobody is who answers, whichever way it was found."""
    mesh = start()
    mesh.handle(CandidateSeen(candidate("a")), 0.0)
    before = mesh.changes
    mesh.handle(Welcomed(1, knowing("a", "b")), 0.1)
    assert mesh.changes > before
    assert mesh.absent(0.1) == [Absent(identity("b"), "node@b", "")]
    mesh.handle(Welcomed(2, knowing("b")), 0.2)
    assert mesh.absent(0.2) == []
    run(mesh, 4.0, heard=(1,))
    assert mesh.absent(4.0) == [Absent(identity("b"), "b@host", "silent")]


def test_a_node_that_has_ended_or_left_is_not_absent() -> None:
    """Its port refuses, or it had said that it would end; one that falls silent without a word is missed."""
    mesh = start()
    join(mesh, *"abcd")
    mesh.handle(LinkRefused(1), 0.1)
    feed(mesh, LeaveHeard(2), LeaveHeard(99), now=0.1)
    mesh.handle(Welcomed(3, ack("c")._replace(draining=True)), 0.1)
    run(mesh, 7.0)
    assert mesh.nodes() == []
    assert mesh.absent(7.0) == [Absent(b"d", "d@host", "silent")]


def test_a_node_that_takes_leave_has_left_once_its_connection_is_lost() -> None:
    """Not before; and one that only lost its connection, or has made it anew, has not."""
    mesh = start()
    join(mesh, *"abc")
    feed(mesh, LeaveHeard(1), LinkDown(2), now=0.1)
    mesh.handle(Welcomed(3, ack("c")._replace(draining=True)), 0.1)
    assert [node.left for node in mesh.nodes()] == [False, False, False]
    before = mesh.changes
    feed(mesh, LinkDown(1), LinkDown(3), LinkDown(99), now=0.2)
    assert [node.left for node in mesh.nodes()] == [True, False, True]
    assert mesh.changes > before
    mesh.handle(LinkUp(1), 0.3)
    assert [node.left for node in mesh.nodes()] == [False, False, True]


def test_a_name_that_is_back_is_not_absent() -> None:
    """A node that was started anew has another id, and the old one is nobody's."""
    mesh = start()
    join(mesh, "a")
    run(mesh, 3.5)
    mesh.handle(CandidateSeen(candidate("new")), 3.5)
    mesh.handle(Welcomed(2, ack("a")._replace(node=b"another")), 3.6)
    assert mesh.absent(3.6) == []


def test_a_candidate_that_is_dropped_takes_its_node_along() -> None:
    """Unless another candidate leads there too."""
    mesh = start()
    join(mesh, "a", "b")
    mesh.handle(CandidateSeen(candidate("named", source="static")), 0.1)
    mesh.handle(Welcomed(3, ack("a")), 0.1)
    assert mesh.standing("a") == mesh.standing("named") == (b"a", "")
    assert mesh.handle(CandidateDropped("a"), 0.2) == []
    assert mesh.standing("a") == (None, "")
    gone = NodeDead(b"a", "no longer wanted", False)
    assert mesh.handle(CandidateDropped("named"), 0.3) == [gone, Hangup(1)]
    assert [view.node_id for view in mesh.nodes()] == [b"b"]
    mesh.handle(CandidateSeen(candidate("c")), 0.4)
    assert mesh.handle(CandidateDropped("c"), 0.5) == [Hangup(4)]


def test_the_standing_of_a_candidate() -> None:
    """Who answers there, or what the last problem was."""
    mesh = start()
    mesh.handle(CandidateSeen(candidate("a")), 0.0)
    assert mesh.standing("a") == (None, "")
    mesh.handle(LinkRefused(1), 0.1)
    assert mesh.standing("a") == (None, "refused")


def test_a_node_that_speaks_no_version_of_ours_is_asked_ever_more_rarely() -> None:
    """It may be upgraded one day; until then the last word of it stands."""
    mesh = start()
    mesh.handle(CandidateSeen(candidate("a")), 0.0)
    asked, now = [0.0], 0.0
    while len(asked) < 9:
        mesh.handle(Rejected(len(asked), "version", "it speaks version 9"), now)
        now = mesh.next_deadline() or 0.0
        assert [type(effect) for effect in mesh.tick(now)] == [Dial]
        asked.append(now)
    assert [after - before for before, after in itertools.pairwise(asked)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [problem.code for problem in mesh.problems()] == ["version"]
