"""Large bytes through the msgpack serializer: beside the payload's head, as arrays are."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgpack
import pytest

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol import msgpack_serializer
from meshq.protocol.attachments import ATTACH_BYTES, Attachments, is_one_bytes
from meshq.protocol.blocks import Gathered
from meshq.protocol.codec import serializer
from meshq.protocol.extensions import ATTACHED_BYTES
from meshq.protocol.messages import Part
from meshq.protocol.parts import Joiner
from meshq.protocol.payload import Payload, cut_payload, join_payload

MSGPACK = serializer("msgpack")
LARGE = bytes(range(256)) * (ATTACH_BYTES // 128)


def in_pieces(payload: Payload) -> Payload:
    """Return a payload as it comes off the wire, cut anywhere."""
    return [bytes(piece) for piece in cut_payload(join_payload(payload), 1_000)]


def gathered(payload: Payload) -> Payload:
    """Return a payload as it comes to whom it ends at, its area in one block."""
    joiner = Joiner(gathers=True)
    whole = join_payload(payload)
    ends = [0, len(payload[0]), len(whole) // 2, len(whole)] if isinstance(payload, list) else [0, len(whole)]
    for start, end in pairwise(ends):
        joiner.feed(Part(1, start, len(whole), whole[start:end]))
    pieces = joiner.take(1)
    assert pieces is not None
    assert (type(pieces) is Gathered) == isinstance(payload, list)
    return pieces


@pytest.mark.parametrize("travel", [lambda payload: payload, join_payload, in_pieces, gathered])
@pytest.mark.parametrize("value", [LARGE, LARGE[: ATTACH_BYTES - 1], b"", [LARGE, {"a": (LARGE, 1)}]])
def test_bytes_arrive_as_they_were(value: Any, travel: Callable[[Payload], Payload]) -> None:
    """However they were cut on their way, as a result, an argument, or deep inside of one."""
    assert MSGPACK.loads(travel(MSGPACK.dumps(value, "value"))) == value
    call = travel(MSGPACK.dumps_call((1, value, value), {"data": value, "number": 2}))
    assert MSGPACK.loads_call(call) == ((1, value, value), {"data": value, "number": 2})


def test_they_are_not_copied_where_they_come_from() -> None:
    """The payload refers to the very object."""
    payload = MSGPACK.dumps_call((LARGE,), {})
    assert isinstance(payload, list)
    assert any(isinstance(buffer, memoryview) and buffer.obj is LARGE for buffer in payload)


def test_what_was_received_as_bytes_alone_is_the_value() -> None:
    """Of several each is a copy, as they would keep each other in memory; so is a part of one."""
    head, *_ = MSGPACK.dumps(LARGE, "value")
    content = bytes(bytearray(LARGE))
    assert is_one_bytes(head, len(LARGE))
    assert MSGPACK.loads(Gathered((head, content))) is content
    head, *buffers = MSGPACK.dumps_call((LARGE, LARGE), {})
    content = b"".join(buffers)
    assert not is_one_bytes(head, len(content))
    assert MSGPACK.loads_call(Gathered((head, content))) == ((LARGE, LARGE), {})
    assert not is_one_bytes(bytes(10_000), len(content))


def test_an_array_can_be_written_to_though_its_area_was_taken_for_bytes() -> None:
    """A peer may name one area as both."""
    numpy = pytest.importorskip("numpy")
    attachments = Attachments()
    attachments.add(memoryview(LARGE))
    place = msgpack.ExtType(ATTACHED_BYTES, msgpack.packb((0, len(LARGE))))
    head, *_ = MSGPACK.dumps(numpy.frombuffer(LARGE, "u1"), "value")
    array = msgpack.unpackb(head[5 : 5 + int.from_bytes(head[1:5], "big")])
    payload = attachments.take(msgpack.packb([place, array]))
    assert isinstance(payload, list)
    assert is_one_bytes(payload[0], len(LARGE))
    whole, both = MSGPACK.loads(Gathered((payload[0], LARGE)))
    both[0] += 1
    assert whole is LARGE
    assert bytes(both[1:]) == LARGE[1:]


def test_an_error_names_the_argument_beside_them() -> None:
    """Whatever else travels with them."""
    with pytest.raises(EncodingError, match=r"argument 2 is (a|an) (builtins\.)?object"):
        MSGPACK.dumps_call((LARGE, object()), {})


def test_a_place_that_is_not_there_is_an_error() -> None:
    """A peer may say anything."""
    whole = join_payload(MSGPACK.dumps(LARGE, "value"))
    with pytest.raises(RemoteProtocolError, match="past its end"):
        MSGPACK.loads(whole[:-1])
    with pytest.raises(RemoteProtocolError, match="its head ends at"):
        MSGPACK.loads(whole[:6])


def test_what_was_packed_is_not_kept() -> None:
    """A packer that has grown large goes at once: a worker kept 2 GB until the garbage collector came round."""
    gc.collect()
    gc.disable()
    try:
        for value in ([bytearray(8_000_000)], [object()]):
            for _ in range(3):
                with contextlib.suppress(EncodingError):
                    MSGPACK.dumps(value, "a value")
        encoders = [each for each in gc.get_objects() if type(each) is msgpack_serializer._Encoder]
        packers = [each for each in encoders if hasattr(each, "pack")]
        assert len(packers) <= len(msgpack_serializer._idle)
        assert len(encoders) <= len(msgpack_serializer._idle)
    finally:
        gc.enable()
