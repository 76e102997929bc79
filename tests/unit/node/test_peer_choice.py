"""Which peers a node has: three at random, others in place of those that do not answer."""

from __future__ import annotations

import random

import pytest

from meshq.core.membership import MDNS, Candidate
from meshq.node.peer_choice import AGAIN_S, TRIED, WANTED, PeerChoice

OWN = b"own node"


def candidate(name: str) -> Candidate:
    """Make a candidate."""
    return Candidate(name, (f"tcp://{name}",), (), "", MDNS, f"node@{name}")


class Town:
    """A choice, and how the nodes are that it is made from."""

    def __init__(self, names: str, seed: int = 0) -> None:
        self.busy: set[bytes] = set()
        """Nodes that have work of ours."""
        self.choice = PeerChoice(OWN, random.Random(seed), self.busy.__contains__)
        self.standing: dict[str, tuple[bytes | None, str]] = {}
        for name in names:
            self.choice.see(candidate(name))

    def look(self, instance: str) -> tuple[bytes | None, str]:
        """Return how a candidate is; nothing is known of it at first."""
        return self.standing.get(instance, (None, ""))

    def review(self, now: float = 0.0) -> tuple[list[str], list[str]]:
        """Review the choice; return who is dialled and who is hung up."""
        change = self.choice.review(self.look, now)
        return [each.instance for each in change.dial], change.drop

    def answer(self, *instances: str) -> None:
        """Let the nodes of these answer."""
        self.standing.update({instance: (instance.encode(), "") for instance in instances})

    def fail(self, code: str, *instances: str) -> None:
        """Let these fail."""
        self.standing.update(dict.fromkeys(instances, (None, code)))


@pytest.mark.parametrize("names", ["", "a", "ab", "abc"])
def test_few_nodes_are_all_peers(names: str) -> None:
    """And once they answer there is nothing to change."""
    town = Town(names)
    assert sorted(town.review()[0]) == list(names)
    assert town.review() == ([], [])
    town.answer(*names)
    assert town.review() == ([], [])


def test_of_many_nodes_three_are_chosen_at_random() -> None:
    """Not the same by all, or the others would hear of nothing."""
    chosen = [frozenset(Town("abcdefgh", seed).review()[0]) for seed in range(20)]
    assert {len(each) for each in chosen} == {WANTED}
    assert len(set(chosen)) > 5


@pytest.mark.parametrize("code", ["refused", "silent", "auth"])
def test_who_does_not_answer_is_replaced(code: str) -> None:
    """By one that was not tried just now; where there is none, it is tried on."""
    town = Town("abcd")
    first, _ = town.review()
    [spare] = set("abcd") - set(first)
    town.fail(code, first[0])
    assert town.review(1.0) == ([spare], [first[0]])
    town.fail(code, spare)
    assert town.review(2.0) == ([], [])
    assert town.review(2.0 + AGAIN_S) == ([first[0]], [spare])


def test_a_peer_that_falls_silent_is_kept_beside_its_substitute() -> None:
    """The cut may be our own; once it is back, there is one too many."""
    town = Town("abcd")
    first, _ = town.review()
    town.answer(*first)
    town.review()
    [spare] = set("abcd") - set(first)
    town.fail("silent", first[0])
    assert town.review() == ([spare], [])
    town.answer(*"abcd")
    assert town.review() == ([], [spare])


def test_a_peer_with_work_of_ours_is_not_given_up() -> None:
    """Though it is one too many: what it runs would run again, or be lost where that must not be."""
    town = Town("abcd")
    first, _ = town.review()
    town.answer(*first)
    town.review()
    town.fail("silent", first[0])
    [spare] = town.review()[0]
    town.answer(*"abcd")
    town.busy.add(spare.encode())
    assert town.review() == ([], [])
    town.busy.clear()
    assert town.review() == ([], [spare])


def test_a_peer_that_has_ended_is_not_kept() -> None:
    """Nothing listens there, so that another one is taken; clients are not told of it any more."""
    town = Town("abcd")
    first, _ = town.review()
    town.answer(*first)
    town.review()
    town.fail("refused", first[0])
    dialled, dropped = town.review()
    assert (len(dialled), dropped) == (1, [first[0]])
    assert town.choice.ended == {first[0]}
    town.choice.see(candidate(first[0]))
    assert town.choice.ended == set()


def test_lost_peers_do_not_take_up_all_the_places() -> None:
    """Of so many that are silent, the one lost first gives way."""
    town = Town("abcdefghij")
    lost: list[str] = []
    for _ in range(2):
        dialled, _ = town.review()
        town.answer(*dialled)
        town.review()
        town.fail("silent", *dialled)
        lost += dialled
    dialled, dropped = town.review()
    assert (len(dialled), dropped) == (WANTED, lost[:WANTED])
    assert len(town.choice.chosen) == TRIED


def test_who_took_leave_is_let_go_once_it_is_silent() -> None:
    """Its announcement was taken back; while it answers it is a peer as before."""
    town = Town("a")
    town.review()
    town.answer("a")
    town.choice.lose("a")
    assert town.review() == ([], [])
    town.fail("silent", "a")
    assert town.review() == ([], ["a"])
    assert town.choice.known == {}


def test_a_node_is_no_peer_of_itself() -> None:
    """It may be in the list of peers that all nodes are given."""
    town = Town("ab")
    town.review()
    town.standing["a"] = (OWN, "")
    town.answer("b")
    assert town.review() == ([], ["a"])
    assert list(town.choice.known) == ["b"]


def test_candidates_that_lead_to_one_node_count_once() -> None:
    """A node that was announced may have been named by the user as well; more than some are not tried."""
    town = Town("abcdefgh")
    for _ in range(8):
        for instance in town.review()[0]:
            town.standing[instance] = (b"the same", "")
    assert len(town.choice.chosen) == TRIED
