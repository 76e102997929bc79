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
    """What was told a moment ago may have been lost with the earlier one; yet not more than once a second."""
    telling = Telling()
    assert [telling.begin(b"same", BEGIN + at) for at in (0.0, 1.1, 3.2, 3.3)] == [True, True, True, False]
    telling.renew(BEGIN + 3.4)
    assert [telling.begin(b"same", BEGIN + at) for at in (3.4, 3.5)] == [True, False]
    telling.renew(BEGIN + 3.6)
    assert not telling.begin(b"same", BEGIN + 3.6)
    telling.renew(BEGIN + 4.5)
    assert telling.begin(b"same", BEGIN + 4.5)
