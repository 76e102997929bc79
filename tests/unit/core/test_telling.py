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
