"""Dialling: from hints to links, round by round."""

from __future__ import annotations

import random

import pytest

from meshq.core.dialling import MDNS, PEER, Absent, Candidate, Dial, Dialling, DialSettings, Hangup, Problem


class Middle:
    """Randomness that always gives the middle."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return the middle of the two."""
        return (a + b) / 2


def candidate(name: str, *endpoints: str, key: str = "", source: str = MDNS) -> Candidate:
    """Make a candidate; its one endpoint is named after it unless some are given."""
    return Candidate(name, endpoints or (f"tcp://{name}",), (), key, source, f"node@{name}")


def start(key: str = "", settings: DialSettings | None = None) -> Dialling:
    """Make a dialling with predictable pauses."""
    return Dialling(settings or DialSettings(), Middle(), key)


def lose(dialling: Dialling, instance: str, now: float, code: str = "silent", ended: bool = False) -> None:
    """Lose the node of a settled candidate."""
    lost = Absent(b"node id", "a@host", code)
    dialling.lose(instance, lost, f"tcp://{instance}", "nothing heard", ended, now)


def codes(dialling: Dialling) -> list[tuple[str, str]]:
    """Give the label and code of every problem."""
    return [(problem.label, problem.code) for problem in dialling.problems()]


def test_a_new_candidate_is_dialled_at_once() -> None:
    """A hint is dialled when it comes, and the same hint again changes nothing."""
    dialling, a = start(), candidate("a")
    assert dialling.next_deadline() is None
    assert dialling.see(a, 0.0) == [Dial(1, "tcp://a", a)]
    assert dialling.is_tried(1)
    assert dialling.see(a, 1.0) == []
    assert dialling.next_deadline() == 5.0
    assert dialling.problems() == []


def test_addresses_are_tried_a_few_at_a_time_until_one_wins() -> None:
    """Four links at a time; each that fails makes room for the next; the first welcomed ends the round."""
    dialling, a = start(), candidate("a", *"123456")
    assert dialling.see(a, 0.0) == [Dial(n, str(n), a) for n in (1, 2, 3, 4)]
    assert dialling.fail(2, "refused", "nobody", 0.1) == [Hangup(2), Dial(5, "5", a)]
    assert dialling.problems() == [Problem("node@a", "2", "refused", "nobody")]
    assert dialling.win(3, 0.2) == ("a", "3", [Hangup(1), Hangup(4), Hangup(5)])
    assert not dialling.is_tried(5)
    assert dialling.problems() == []
    assert dialling.next_deadline() is None


def test_one_candidate_makes_us_dial_sixteen_addresses_at_most() -> None:
    """The rest of a very long announcement is left alone."""
    dialling = start(settings=DialSettings(per_candidate=100))
    assert len(dialling.see(candidate("a", *(str(n) for n in range(50))), 0.0)) == 16


def test_pauses_between_rounds_double_up_to_a_bound() -> None:
    """After each round in which all fail the candidate rests, 1, 2, 4… and at most 30 s."""
    dialling, a = start(), candidate("a")
    dialling.see(a, 0.0)
    now = 0.0
    for link, pause in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0), start=1):
        assert dialling.fail(link, "refused", "nobody", now) == [Hangup(link)]
        now += pause
        assert dialling.next_deadline() == now
        assert dialling.tick(now) == [Dial(link + 1, "tcp://a", a)]


def test_pauses_are_jittered() -> None:
    """Clients that lost the same node do not come back in step."""
    dialling = Dialling(DialSettings(), random.Random(1), "")
    for name in "abc":
        dialling.see(candidate(name), 0.0)
    for link in (1, 2, 3):
        dialling.fail(link, "refused", "nobody", 0.0)
    pauses = {at for _, at in dialling._redial.items()}
    assert len(pauses) == 3
    assert all(0.75 <= pause <= 1.25 for pause in pauses)


def test_connecting_may_be_given_less_time_than_answering() -> None:
    """Where a peer is to be found again soon after a cut, an attempt that fell into it is not waited for."""
    dialling, a = start(settings=DialSettings(connect_s=1.0)), candidate("a", "lost", "slow")
    dialling.see(a, 0.0)
    dialling.connected(2, 0.5)
    assert dialling.tick(1.0) == [Hangup(1)]
    assert dialling.problems()[0].text.startswith("no connection within 1 s")
    assert dialling.next_deadline() == 5.5


def test_a_silent_link_is_given_up() -> None:
    """It has 5 s to connect, then 5 s to answer, which a flapping connection does not prolong."""
    dialling, a = start(), candidate("a", "dead", "mute")
    dialling.see(a, 0.0)
    dialling.connected(2, 3.0)
    assert dialling.tick(5.0) == [Hangup(1)]
    assert dialling.problems()[0].text.startswith("no connection within 5 s")
    dialling.connected(2, 7.0)
    assert dialling.tick(8.0) == [Hangup(2)]
    assert dialling.problems()[0][1:3] == ("mute", "silent")
    assert dialling.problems()[0].text.startswith("connected, but HELLO was not answered")
    assert dialling.next_deadline() == 9.0


def test_time_in_which_we_did_not_listen_is_not_counted() -> None:
    """A lag of our own gives every link that much longer."""
    dialling = start()
    dialling.see(candidate("a"), 0.0)
    dialling.forgive(2.0)
    assert dialling.next_deadline() == 7.0


def test_a_lost_node_is_dialled_again_after_a_pause() -> None:
    """A settled candidate is left alone; when its node is lost, the pauses start from the shortest."""
    dialling, a = start(), candidate("a")
    dialling.see(a, 0.0)
    dialling.fail(1, "refused", "nobody", 0.0)
    dialling.tick(1.0)
    assert dialling.win(2, 1.1) == ("a", "tcp://a", [])
    moved = candidate("a", "tcp://elsewhere")
    assert dialling.see(moved, 2.0) == []
    lose(dialling, "a", 10.0)
    assert dialling.problems() == [Problem("node@a", "tcp://a", "silent", "nothing heard")]
    assert dialling.next_deadline() == 11.0
    assert dialling.tick(11.0) == [Dial(3, "tcp://elsewhere", moved)]


def test_a_node_lost_a_while_ago_is_dialled_each_second() -> None:
    """After a cut it is to be back soon, however long that lasted; after ten minutes the pauses double again."""
    dialling, a = start(), candidate("a")
    dialling.see(a, 0.0)
    dialling.win(1, 0.0)
    lose(dialling, "a", 10.0)
    for link in range(2, 12):
        now = dialling.next_deadline()
        assert now is not None
        assert dialling.tick(now) == [Dial(link, "tcp://a", a)]
        dialling.fail(link, "silent", "nobody", now)
        assert dialling.next_deadline() == now + 1.0
    dialling.tick(now + 1.0)
    dialling.fail(12, "silent", "nobody", 610.0)
    assert dialling.next_deadline() == 640.0


def test_a_changed_hint_is_dialled_at_once() -> None:
    """New addresses end the round, or the pause, of the old ones."""
    dialling, first, second = start(), candidate("a", "1"), candidate("a", "2")
    dialling.see(first, 0.0)
    assert dialling.see(second, 0.1) == [Hangup(1), Dial(2, "2", second)]
    dialling.fail(2, "refused", "nobody", 0.2)
    assert dialling.see(first, 0.3) == [Dial(3, "1", first)]
    dialling.fail(3, "refused", "nobody", 0.4)
    assert dialling.next_deadline() == 1.4


def test_what_is_no_longer_announced_is_forgotten_in_time() -> None:
    """It is tried for ten more minutes, then dropped; if announced anew before, it is dialled at once."""
    dialling, a = start(), candidate("a")
    dialling.leave("unknown", 0.0)
    dialling.see(a, 0.0)
    dialling.leave("a", 1.0)
    dialling.leave("a", 2.0)
    assert dialling.see(a, 3.0) == [Hangup(1), Dial(2, "tcp://a", a)]
    dialling.leave("a", 4.0)
    dialling.tick(8.0)
    assert dialling.tick(9.0) == [Dial(3, "tcp://a", a)]
    dialling.connected(3, 603.0)
    assert dialling.tick(604.0) == [Hangup(3)]
    assert dialling.problems() == []
    assert dialling.next_deadline() is None


def test_a_node_that_answers_is_not_forgotten() -> None:
    """Only from its loss on does the time run for a candidate that is no longer announced."""
    dialling = start()
    dialling.see(candidate("a"), 0.0)
    dialling.leave("a", 0.0)
    dialling.win(1, 1.0)
    assert dialling.next_deadline() is None
    lose(dialling, "a", 1_000.0)
    assert dialling._forget.next_deadline() == 1_600.0
    dialling.see(candidate("b"), 1_000.0)
    dialling.win(2, 1_000.0)
    dialling.leave("b", 1_000.0)
    assert dialling._forget.next_deadline() == 1_600.0


def test_a_candidate_with_another_key_is_explained_and_not_dialled() -> None:
    """Each way in which keys can differ has a text that says what to do."""
    dialling = start(key="ours")
    assert dialling.see(candidate("same", key="ours"), 0.0) != []
    assert dialling.see(candidate("other", key="theirs"), 0.0) == []
    assert dialling.see(candidate("none"), 0.0) == []
    assert dialling.see(candidate("named", source="static"), 0.0) != []
    assert codes(dialling) == [("node@other", "key"), ("node@none", "key")]
    assert "another one" in dialling.problems()[0].text
    assert "has no mesh key" in dialling.problems()[1].text
    keyless = start()
    assert keyless.see(candidate("locked", key="theirs"), 0.0) == []
    assert "we have none" in keyless.problems()[0].text


def test_a_candidate_that_gets_our_key_is_dialled() -> None:
    """A key problem goes with the hint that caused it."""
    dialling, right = start(key="ours"), candidate("a", key="ours")
    dialling.see(candidate("a", key="theirs"), 0.0)
    assert dialling.see(right, 1.0) == [Dial(1, "tcp://a", right)]


def test_a_flood_pushes_out_neither_nodes_nor_what_the_user_named() -> None:
    """A full table gives up the oldest hint that nobody answered; with none such, new hints are ignored."""
    dialling = start(settings=DialSettings(candidates=3))
    named, node = candidate("named", source="static"), candidate("node")
    dialling.see(named, 0.0)
    dialling.see(node, 0.0)
    dialling.win(2, 0.0)
    dialling.see(candidate("fake1"), 0.0)
    fake2 = candidate("fake2")
    assert dialling.see(fake2, 0.0) == [Hangup(3), Dial(4, "tcp://fake2", fake2)]
    dialling.win(4, 0.0)
    assert dialling.see(candidate("fake3"), 0.0) == []


def test_few_links_are_tried_at_a_time() -> None:
    """Beyond the bound candidates wait in line, and go on as links fail, win or are hung up."""
    dialling = start(settings=DialSettings(dials=2))
    a, b, c, d = (candidate(name) for name in "abcd")
    assert dialling.see(a, 0.0) == [Dial(1, "tcp://a", a)]
    assert dialling.see(b, 0.0) == [Dial(2, "tcp://b", b)]
    assert dialling.see(c, 0.0) == []
    assert dialling.see(d, 0.0) == []
    assert dialling.fail(1, "refused", "nobody", 0.1) == [Hangup(1), Dial(3, "tcp://c", c)]
    assert dialling.win(2, 0.2) == ("b", "tcp://b", [Dial(4, "tcp://d", d)])
    assert dialling.tick(1.1) == []
    locked = candidate("c", key="theirs")
    assert dialling.see(locked, 1.2) == [Hangup(3), Dial(5, "tcp://a", a)]


def test_a_candidate_can_be_dropped() -> None:
    """What is tried for it is hung up, and nothing of it is left; one that is not known does not matter."""
    dialling, a, b = start(settings=DialSettings(dials=1)), candidate("a"), candidate("b")
    dialling.see(a, 0.0)
    dialling.see(b, 0.0)
    assert dialling.problem("a") == ""
    assert dialling.drop("a", 0.1) == [Hangup(1), Dial(2, "tcp://b", b)]
    assert dialling.drop("a", 0.1) == []
    assert dialling.problem("a") is None
    dialling.fail(2, "auth", "no", 0.2)
    assert dialling.problem("b") == "auth"


# ---------------------------------------------------------------------- what nodes say of each other


def test_what_a_node_names_is_dialled_for_a_while() -> None:
    """Unless it is known; nobody will take it back, so that it is forgotten when it does not answer in time."""
    dialling, hint = start(), candidate("a", source=PEER)
    dialling.see(candidate("b"), 0.0)
    assert dialling.hint(candidate("b", "elsewhere", source=PEER), 0.0) == []
    assert dialling.hint(hint, 0.0) == [Dial(2, "tcp://a", hint)]
    assert dialling.hint(hint, 1.0) == []
    dialling.win(1, 1.0)
    dialling.connected(2, 599.0)
    assert dialling.tick(600.0) == [Hangup(2)]
    assert dialling.hint(hint, 601.0) == [Dial(3, "tcp://a", hint)]


def test_an_announcement_counts_for_more_than_a_hint() -> None:
    """What is tried goes on, with the addresses that are new; from then on the announcement is followed."""
    dialling, announced = start(), candidate("a", "tcp://a", "tcp://a2")
    dialling.hint(candidate("a", source=PEER), 0.0)
    assert dialling.see(announced, 0.1) == [Dial(2, "tcp://a2", announced)]
    assert dialling.see(announced, 0.2) == []
    dialling.win(1, 0.3)
    assert dialling.next_deadline() is None


def test_an_announcement_of_another_key_ends_what_a_hint_began() -> None:
    """The key that is announced tells more than a node that knows only where to dial."""
    dialling = start(key="ours")
    dialling.hint(candidate("a", source=PEER), 0.0)
    assert dialling.see(candidate("a", key="theirs"), 0.1) == [Hangup(1)]


def test_hints_are_bounded_and_push_out_nobody() -> None:
    """Neither by their own number, nor where the table is full; a flood of announcements pushes them out."""
    dialling = start(settings=DialSettings(hints=1, candidates=2))
    assert dialling.hint(candidate("a", source=PEER), 0.0) != []
    assert dialling.hint(candidate("b", source=PEER), 0.0) == []
    dialling.see(candidate("c"), 0.0)
    dialling.win(2, 0.0)
    assert Hangup(1) in dialling.see(candidate("d"), 0.0)
    assert dialling.hint(candidate("b", source=PEER), 0.0) == []


# ---------------------------------------------------------------------- who is absent


def absent(dialling: Dialling, now: float = 1.0) -> list[tuple[str, str]]:
    """Return the name and the problem of who is absent."""
    return [(each.name, each.code) for each in dialling.absent(now)]


def test_who_does_not_answer_is_absent_for_a_while() -> None:
    """From the first hint on, by the id that it is known by; ten minutes later nobody waits for it any more."""
    dialling = start()
    dialling.see(candidate("6e" * 16), 0.0)
    dialling.see(candidate("tcp://h:1", source="static"), 0.0)
    assert dialling.absent(1.0) == [
        Absent(b"n" * 16, "node@" + "6e" * 16, ""),
        Absent(b"tcp://h:1", "node@tcp://h:1", ""),
    ]
    dialling.fail(1, "auth", "the node refused our key", 1.0)
    assert dialling.absent(1.0)[0].code == "auth"
    assert dialling.absent(600.1) == []


def test_a_node_that_answers_is_not_absent_and_one_that_fell_silent_is() -> None:
    """By its own name and id; dialling it in vain changes nothing."""
    dialling = start()
    dialling.see(candidate("a"), 0.0)
    before = dialling.changes
    dialling.win(1, 0.0)
    assert absent(dialling) == []
    assert dialling.changes > before
    lose(dialling, "a", 700.0)
    assert dialling.absent(700.0) == [Absent(b"node id", "a@host", "silent")]
    dialling.tick(701.0)
    dialling.fail(2, "silent", "nobody", 706.0)
    assert absent(dialling, 706.0) == [("a@host", "silent")]
    assert absent(dialling, 1300.1) == []


@pytest.mark.parametrize("code", ["refused", "key", "mesh"])
def test_who_has_ended_or_is_of_another_mesh_is_not_absent(code: str) -> None:
    """Nothing listens there any more, or somebody else does."""
    dialling = start()
    dialling.see(candidate("a"), 0.0)
    dialling.fail(1, code, "no", 0.0)
    assert absent(dialling) == []


def test_who_has_ended_stays_so_until_it_is_announced_anew() -> None:
    """A host that is switched off after its node has ended is not missed either."""
    dialling = start()
    dialling.see(candidate("a"), 0.0)
    dialling.fail(1, "refused", "nothing listens there", 0.0)
    dialling.tick(1.0)
    dialling.fail(2, "silent", "nobody", 1.0)
    assert absent(dialling) == []
    dialling.see(candidate("a", "elsewhere"), 2.0)
    assert absent(dialling, 2.0) == [("node@a", "silent")]


def test_only_the_address_that_answered_can_say_that_a_node_has_ended() -> None:
    """At another one it may be another host that refuses."""
    dialling = start()
    dialling.see(candidate("a", "tcp://a", "tcp://b"), 0.0)
    dialling.win(1, 0.0)
    lose(dialling, "a", 1.0)
    dialling.tick(2.0)
    dialling.fail(4, "refused", "nothing listens there", 2.0)
    assert absent(dialling, 2.0) == [("a@host", "refused")]
    dialling.fail(3, "refused", "nothing listens there", 2.0)
    assert absent(dialling, 2.0) == []


def test_who_took_leave_is_not_absent() -> None:
    """Neither a node that said so, nor one whose announcement was taken back, as long as it is not."""
    dialling = start()
    for link, name in enumerate("ab", start=1):
        dialling.see(candidate(name), 0.0)
        dialling.win(link, 0.0)
    lose(dialling, "a", 1.0, ended=True)
    lose(dialling, "b", 1.0)
    assert absent(dialling) == [("a@host", "silent")]
    dialling.leave("b", 1.0)
    assert absent(dialling) == []
