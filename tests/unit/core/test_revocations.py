"""Revocations: the ids of tasks that a node refuses to run."""

from __future__ import annotations

from meshq.core.revocations import Added, Revocations

A, B, C = (bytes([n]) * 16 for n in (1, 2, 3))


def test_a_revoked_id_is_refused_until_it_expires() -> None:
    """An id is refused from the moment of adding until its time is over, not at it."""
    revoked = Revocations(ttl_s=10.0)
    assert not revoked.live
    assert revoked.add([A, B], now=100.0) == Added(new=[A, B], refused=[])
    assert revoked.live
    assert revoked.contains(A, now=109.9)
    assert not revoked.contains(A, now=110.0)
    assert not revoked.contains(C, now=100.0)


def test_revoking_again_is_not_new_and_prolongs() -> None:
    """A repeated revoke keeps the id for its whole time again, and is not reported as new."""
    revoked = Revocations(ttl_s=10.0)
    revoked.add([A], now=0.0)
    assert revoked.add([A, B, B], now=5.0) == Added(new=[B], refused=[])
    assert revoked.contains(A, now=14.9)


def test_a_full_table_refuses_new_ids_rather_than_forget_one() -> None:
    """No acknowledged revoke is lost to a later one; the caller learns which did not fit."""
    revoked = Revocations(limit=2, ttl_s=10.0)
    assert revoked.add([A, B, C], now=0.0) == Added(new=[A, B], refused=[C])
    assert revoked.add([A], now=5.0) == Added(new=[], refused=[])
    assert revoked.contains(B, now=5.0)
    assert not revoked.contains(C, now=5.0)


def test_expired_ids_make_room() -> None:
    """The room of what has expired is free again, and an expired id counts as new."""
    revoked = Revocations(limit=2, ttl_s=10.0)
    revoked.add([A, B], now=0.0)
    assert revoked.add([C, A], now=10.0) == Added(new=[C, A], refused=[])
    assert revoked.dump(now=10.0) == [(C, 10.0), (A, 10.0)]


def test_a_dump_carries_remaining_seconds_between_clocks() -> None:
    """What one node dumps, another merges by its own clock, which may read anything."""
    here, there = Revocations(ttl_s=10.0), Revocations(ttl_s=10.0)
    here.add([A], now=1_000.0)
    here.add([B], now=1_004.0)
    pairs = here.dump(now=1_006.0)
    assert pairs == [(A, 4.0), (B, 8.0)]
    assert there.merge(pairs, now=5.0) == Added(new=[A, B], refused=[])
    assert there.dump(now=6.0) == [(A, 3.0), (B, 7.0)]


def test_a_merge_never_shortens_nor_exceeds_the_ttl() -> None:
    """A peer's list can neither end a revoke early nor hold one for ever, whatever numbers it has."""
    revoked = Revocations(ttl_s=10.0)
    revoked.add([A], now=0.0)
    pairs = [(A, 1.0), (B, float("inf")), (C, float("nan"))]
    assert revoked.merge(pairs, now=0.0) == Added(new=[B, C], refused=[])
    assert revoked.dump(now=0.0) == [(A, 10.0), (B, 10.0), (C, 10.0)]


def test_what_has_expired_elsewhere_is_not_merged() -> None:
    """An id without time left is neither new nor refused, though the table be full."""
    revoked = Revocations(limit=1, ttl_s=10.0)
    revoked.add([C], now=7.0)
    assert revoked.merge([(A, 0.0), (B, -5.0)], now=7.0) == Added(new=[], refused=[])
    assert revoked.dump(now=7.0) == [(C, 10.0)]


def test_digests_agree_where_the_ids_agree() -> None:
    """Equal sets have equal digests in any order of arrival; expired ids do not count."""
    one, two = Revocations(ttl_s=10.0), Revocations(ttl_s=10.0)
    empty = one.digest(now=0.0)
    one.add([A], now=0.0)
    one.add([B, C], now=1.0)
    two.add([C, B], now=2.0)
    assert one.digest(now=3.0) != two.digest(now=3.0)
    assert len(one.digest(now=3.0)) == 16
    assert one.digest(now=10.0) == two.digest(now=10.0) != empty
    assert one.digest(now=12.0) == two.digest(now=12.0) == empty


def test_how_long_some_ids_are_still_refused() -> None:
    """In the order asked for; those that are not refused, or no longer, are left out."""
    revoked = Revocations(ttl_s=10.0)
    revoked.add([A], now=0.0)
    revoked.add([B], now=4.0)
    assert revoked.remaining([B, C, A], now=6.0) == [(B, 8.0), (A, 4.0)]
    assert revoked.remaining([A, B], now=10.0) == [(B, 4.0)]
