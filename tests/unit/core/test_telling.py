"""How often a peer is told all revoked ids."""

from __future__ import annotations

from itertools import pairwise

import pytest

from meshq.core.telling import LEAST_S, MOST_S, Telling

BEGIN = 100.1


def told_at(seconds: int, digests: tuple[bytes, ...] = (b"same",)) -> list[float]:
    """Ask ten times a second, with these digests in turn; return when there was a telling."""
    telling = Telling()
    asked = ((number / 10, digests[number % len(digests)]) for number in range(10 * seconds))
    return [at for at, digest in asked if telling.begin(digest, BEGIN + at)]


def test_the_same_ids_are_told_ever_more_seldom() -> None:
    """At once, again soon, as the first telling may have been lost, and at last once a minute."""
    at = told_at(400)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert at[0] == 0.0
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, *[MOST_S] * 5], abs=0.11)


def test_other_ids_are_told_soon() -> None:
    """But not as often as they change."""
    assert len(told_at(20, (b"one", b"another"))) == pytest.approx(20 / LEAST_S, abs=2)


def test_once_the_ids_have_changed_a_telling_may_be_lost_again() -> None:
    """What was told before says nothing of these."""
    telling = Telling()
    assert [telling.begin(b"one", BEGIN + at) for at in (0.0, 1.1, 2.2)] == [True, True, False]
    assert [telling.begin(b"two", BEGIN + at) for at in (2.2, 3.3, 4.4)] == [True, True, False]


def test_over_a_new_connection_it_is_told_at_once() -> None:
    """What was told a moment ago may have been lost with the earlier one; so may what is told now."""
    telling = Telling()
    assert [telling.begin(b"same", BEGIN + at) for at in (0.0, 1.1, 3.2, 3.3)] == [True, True, True, False]
    telling.renew()
    assert [telling.begin(b"same", BEGIN + at) for at in (3.4, 3.5, 4.5, 5.6)] == [True, False, True, False]


def test_ever_new_connections_make_it_little_more() -> None:
    """A second after what was told for that reason it is told for that reason again, and no sooner."""
    telling = Telling()
    telling.begin(b"same", BEGIN - 0.1)
    told = []
    for number in range(100):
        telling.renew()
        if telling.begin(b"same", BEGIN + number / 10):
            told.append(number / 10)
    assert told == pytest.approx(range(10), abs=0.11)


def test_a_connection_that_breaks_at_once_is_made_up_for() -> None:
    """Two connections within a second: what is due over the second one is put off, and not forgotten."""
    telling = Telling()
    assert telling.begin(b"same", BEGIN)
    for at, is_time in ((0.1, True), (0.8, False), (1.1, True), (1.2, False)):
        telling.renew()
        assert telling.begin(b"same", BEGIN + at) == is_time
