"""Large payloads in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import RemoteProtocolError
from meshq.protocol import codec
from meshq.protocol.attachments import Attachments
from meshq.protocol.blocks import Gathered
from meshq.protocol.messages import Part
from meshq.protocol.parts import MAX_PAYLOAD_BYTES, PIECE_BYTES, UNFINISHED_TRANSFERS, Joiner, cut
from meshq.protocol.payload import Payload, join_payload, payload_size

LARGE = bytes(range(256)) * (12 * 1024)


def test_a_payload_comes_together_from_its_parts() -> None:
    """What was cut is whole again, and nothing of it is kept."""
    joiner = Joiner()
    for part in cut(5, [LARGE, memoryview(LARGE)[:10]]):
        assert len(part.data) <= PIECE_BYTES
        joiner.feed(part)
    pieces = joiner.take(5)
    assert pieces is not None
    assert join_payload(pieces) == LARGE + LARGE[:10]
    assert joiner.take(5) is None


def test_transfers_may_be_interleaved() -> None:
    """Parts of several payloads of one connection do not mix."""
    joiner = Joiner()
    other = LARGE[::-1]
    for first, second in zip(cut(1, LARGE), cut(2, other), strict=True):
        joiner.feed(first)
        joiner.feed(second)
    assert join_payload(joiner.take(2) or []) == other
    assert join_payload(joiner.take(1) or []) == LARGE


@given(st.lists(st.integers(0, 2), max_size=8))
def test_an_incomplete_transfer_is_never_delivered(order: list[int]) -> None:
    """Parts lost, doubled or out of order give the whole payload or nothing."""
    parts = list(cut(1, LARGE))
    joiner = Joiner()
    for index in order:
        joiner.feed(parts[index])
    pieces = joiner.take(1)
    assert pieces is None or join_payload(pieces) == LARGE
    assert (pieces is not None) == (order[-3:] == [0, 1, 2])


@pytest.mark.parametrize(
    "part", [Part(1, 0, MAX_PAYLOAD_BYTES + 1), Part(1, 0, -1), Part(1, 0, 10, bytes(PIECE_BYTES + 1))]
)
def test_a_part_over_the_limits_is_refused(part: Part) -> None:
    """A peer cannot announce or send more than the protocol allows."""
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        Joiner().feed(part)


def test_a_part_past_its_total_drops_the_transfer() -> None:
    """More bytes than were announced are not a payload."""
    joiner = Joiner()
    joiner.feed(Part(1, 0, 4, b"abc"))
    joiner.feed(Part(1, 3, 4, b"de"))
    assert joiner.take(1) is None


def test_the_oldest_unfinished_transfer_makes_room() -> None:
    """What a peer leaves unfinished is bounded, in bytes and in number; the newest are kept."""
    joiner = Joiner(budget=100)
    for number in range(3):
        joiner.feed(Part(number, 0, 40, b"x"))
    for number in range(3):
        joiner.feed(Part(number, 1, 40, bytes(39)))
    assert [joiner.take(number) is not None for number in range(3)] == [False, True, True]
    joiner = Joiner()
    for number in range(UNFINISHED_TRANSFERS + 1):
        joiner.feed(Part(number, 0, 1, b"x"))
    assert joiner.take(0) is None
    assert joiner.take(1) is not None


def test_one_payload_of_the_largest_size_has_room_and_two_have_not() -> None:
    """A connection holds what one honest payload needs, and some more, but not the memory of the host."""
    for second, first_is_kept in ((PIECE_BYTES, True), (MAX_PAYLOAD_BYTES, False)):
        joiner = Joiner()
        joiner.feed(Part(1, 0, MAX_PAYLOAD_BYTES, b"x"))
        joiner.feed(Part(2, 0, second, b"x"))
        assert (1 in joiner._transfers) == first_is_kept
        assert 2 in joiner._transfers


def attached(*buffers: bytes) -> Payload:
    """Return a payload with an area."""
    attachments = Attachments()
    for buffer in buffers:
        attachments.add(memoryview(buffer))
    return attachments.take(b"head")


@pytest.mark.parametrize("payload", [attached(LARGE), attached(LARGE, LARGE[:100]), attached(LARGE[:100]), LARGE])
def test_whom_payloads_end_at_gathers_their_areas(payload: Payload) -> None:
    """An area that comes in several pieces is one block at once; whatever else comes stays as it is."""
    joiner = Joiner(gathers=True)
    for part in cut(3, payload):
        joiner.feed(part)
    pieces = joiner.take(3)
    assert pieces is not None
    assert join_payload(pieces) == join_payload(payload)
    assert (type(pieces) is Gathered) == (payload is not LARGE and payload_size(payload) > PIECE_BYTES)


@given(st.lists(st.integers(0, 3), max_size=8))
def test_an_incomplete_transfer_is_not_gathered(order: list[int]) -> None:
    """Parts lost, doubled or out of order give the whole payload or nothing, for whom it ends at too."""
    parts = list(cut(1, attached(LARGE)))
    joiner = Joiner(gathers=True)
    for index in order:
        joiner.feed(parts[index])
    pieces = joiner.take(1)
    assert (pieces is not None) == (order[-4:] == [0, 1, 2, 3])
    assert pieces is None or join_payload(pieces) == join_payload(attached(LARGE))


@pytest.mark.parametrize("payload", [attached(LARGE), codec.serializer("msgpack").dumps(LARGE, "value")])
def test_more_than_there_is_memory_for_is_kept_as_it_comes(
    payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer may announce 4 GiB; what came with it must not be lost by that."""

    def refuse(size: int) -> bytearray:
        raise MemoryError

    monkeypatch.setattr("meshq.protocol.parts.block", refuse)
    monkeypatch.setattr("meshq.protocol.parts.blank_bytes", refuse)
    joiner = Joiner(gathers=True)
    for part in cut(1, payload):
        joiner.feed(part)
    pieces = joiner.take(1)
    assert pieces is not None
    assert type(pieces) is not Gathered
    assert join_payload(pieces) == join_payload(payload)


@pytest.mark.parametrize("is_offered", [True, False])
def test_an_area_of_bytes_alone_is_put_together_as_the_value(
    is_offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large bytes are copied once by whom they end at; twice only where Python offers no other way."""
    if not is_offered:
        monkeypatch.setattr("meshq.protocol.parts.blank_bytes", lambda size: None)
    serializer, joiner = codec.serializer("msgpack"), Joiner(gathers=True)
    for part in cut(1, serializer.dumps(LARGE, "value")):
        joiner.feed(part)
    pieces = joiner.take(1)
    assert type(pieces) is Gathered
    value = serializer.loads(pieces)
    assert type(value) is bytes
    assert value == LARGE
    assert (value is pieces[1]) == is_offered
