"""Payloads: bytes, or buffers that are as good as their concatenation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshq.protocol.payload import Buffer, Payload, cut_payload, join_payload, payload_size, slice_payload

BUFFERS = st.binary(max_size=40) | st.binary(max_size=40).map(bytearray) | st.binary(max_size=40).map(memoryview)
PAYLOADS = st.binary(max_size=40) | st.lists(BUFFERS, max_size=5)


def whole(payload: Payload) -> bytes:
    """Return a payload's bytes, the simple way."""
    return b"".join(map(bytes, payload)) if isinstance(payload, list) else payload


@given(PAYLOADS)
def test_size_and_join_agree_with_the_bytes(payload: Payload) -> None:
    """Both forms have the same size and the same bytes."""
    assert payload_size(payload) == len(whole(payload))
    assert join_payload(payload) == whole(payload)
    assert type(join_payload(payload)) is bytes


@given(PAYLOADS, st.integers(1, 50))
def test_the_pieces_are_the_payload(payload: Payload, limit: int) -> None:
    """Pieces are within the limit, and together what was cut."""
    pieces = list(cut_payload(payload, limit))
    assert all(len(piece) <= limit for piece in pieces)
    assert b"".join(pieces) == whole(payload)


@given(PAYLOADS, st.integers(0, 250), st.integers(0, 250))
def test_a_slice_is_that_of_the_bytes(payload: Payload, offset: int, size: int) -> None:
    """However the payload is split, and where there are fewer bytes than asked for."""
    assert slice_payload(payload, offset, size) == whole(payload)[offset : offset + size]


def test_cutting_copies_nothing() -> None:
    """A piece is a view into what was cut."""
    data = bytearray(100)
    pieces: list[Buffer] = list(cut_payload([data], 40))
    data[99] = 7
    assert [len(piece) for piece in pieces] == [40, 40, 20]
    assert pieces[2][19] == 7


def test_items_of_several_bytes_count_as_bytes() -> None:
    """A view of wider items is measured and cut by bytes."""
    view = memoryview(bytes(80)).cast("d")
    assert payload_size([view]) == 80
    assert [len(piece) for piece in cut_payload([view], 64)] == [64, 16]
    assert slice_payload([view], 70, 64) == bytes(10)
