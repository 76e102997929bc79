"""numpy arrays and scalars through the msgpack serializer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol.codec import serializer
from meshq.protocol.payload import Payload, join_payload

MSGPACK = serializer("msgpack")


def round_trip(value: object) -> Any:
    """Send a value through the serializer, over a wire that joins its buffers."""
    return MSGPACK.loads(join_payload(MSGPACK.dumps(value, "value")))


def assert_same(got: Any, sent: np.ndarray[Any, Any]) -> None:
    """Compare arrays by dtype, shape and bytes."""
    assert type(got) is np.ndarray
    assert (got.dtype, got.shape, got.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
    assert got.flags.writeable


@given(
    nps.arrays(
        nps.scalar_dtypes() | nps.byte_string_dtypes() | nps.unicode_string_dtypes(),
        nps.array_shapes(min_dims=0, min_side=0, max_side=5),
    )
)
def test_any_array_arrives_as_it_was(sent: np.ndarray[Any, Any]) -> None:
    """Every dtype, byte order and shape, also with no dimension or no element, is kept."""
    assert_same(round_trip({"a": (sent, 1)})["a"][0], sent)


@given(st.integers(0, 3), st.permutations([0, 1, 2]), st.integers(1, 3))
def test_any_layout_arrives_as_it_was(start: int, axes: list[int], step: int) -> None:
    """Slices, transposes and reversed axes keep their values."""
    base = np.arange(20 * 30 * 40).reshape(20, 30, 40)
    sent = base[start::step, :, ::-1].transpose(axes)
    assert_same(round_trip(sent), sent)


RECORD = np.dtype([("x", "<f4"), ("label", "<U5"), ("grid", ">i2", (2, 2)), ("in", [("y", "<M8[s]")])])


@pytest.mark.parametrize(
    "sent",
    [
        np.zeros(3, RECORD),
        np.zeros(3000, RECORD),
        np.array("2024-01-01", "datetime64[ns]"),
        np.array([], "timedelta64[ms]"),
        np.asfortranarray(np.arange(10_000.0).reshape(100, 100)),
        np.empty((0, 5), ">c16"),
        np.array([b"ab", b"c"]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_special_arrays_arrive_as_they_were(sent: np.ndarray[Any, Any]) -> None:
    """Records, dates, Fortran order and empty arrays travel."""
    got = round_trip([sent])[0]
    assert_same(got, sent)
    assert got.flags.f_contiguous == sent.flags.f_contiguous


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(1.5),
        np.int32(-3),
        np.bool_(True),
        np.datetime64("2024-01-01"),
        np.str_("ü"),
        np.str_(""),
        np.bytes_(b"ab"),
        np.complex64(1 + 2j),
        np.longdouble(3),
    ],
    ids=repr,
)
def test_scalars_arrive_as_scalars(scalar: np.generic) -> None:
    """A numpy number, text or date keeps its type."""
    got = round_trip((scalar, {scalar: 1}))
    assert got == (scalar, {scalar: 1})
    assert type(got[0]) is type(scalar)


class Special(np.ndarray):  # type: ignore[type-arg]
    pass


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([object()]), r"is a numpy.ndarray of dtype object"),
        (np.zeros(2, [("x", "O")]), r"is a numpy.ndarray of dtype \[\('x', 'O'\)\]"),
        (np.zeros(2, {"names": ["a"], "formats": ["i2"], "itemsize": 8}), "is a numpy.ndarray of dtype"),
        (np.bytes_(b"a\0"), "is a numpy.bytes_ that ends in a zero"),
        (np.zeros(2).view(Special), "is a .*Special"),
        (np.ma.masked_array([1], [True]), "is a numpy.ma.*MaskedArray"),
    ],
)
def test_an_array_that_is_more_than_its_bytes_is_refused(value: object, said: str) -> None:
    """Objects, gaps in records and classes derived from the array are named, and not sent."""
    with pytest.raises(EncodingError, match=rf"argument 2 \[0\] {said}.*, which msgpack can't carry"):
        MSGPACK.dumps_call((1, [value]), {})


def test_a_large_array_is_not_copied() -> None:
    """The payload holds the array's own memory, and an array rebuilt from one buffer is a view into it."""
    sent = np.arange(100_000.0)
    payload = MSGPACK.dumps({"a": sent}, "value")
    assert isinstance(payload, list)
    assert any(np.shares_memory(np.frombuffer(part, "u1"), sent) for part in payload)
    arrived = bytearray(join_payload(payload))
    got = MSGPACK.loads(arrived)["a"]
    assert np.shares_memory(got, np.frombuffer(arrived, "u1"))
    assert_same(got, sent)


def test_several_arrays_lie_aligned_in_the_payload() -> None:
    """Each large array begins at a multiple of 64 bytes, whatever is before it."""
    arrays = [np.arange(20_001, dtype="u1"), np.arange(5_000.0), np.arange(20_003, dtype="u1")]
    payload = bytearray(join_payload(MSGPACK.dumps(arrays, "value")))
    base = np.frombuffer(payload, "u1").ctypes.data
    for got, sent in zip(MSGPACK.loads(payload), arrays, strict=True):
        assert (got.ctypes.data - base) % 64 == 0
        assert_same(got, sent)


def test_pieces_are_joined_once_into_writable_arrays() -> None:
    """A payload that arrives cut into pieces gives arrays that a task may change."""
    sent = np.arange(100_000.0)
    data = join_payload(MSGPACK.dumps([sent], "value"))
    pieces: Payload = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    assert_same(MSGPACK.loads(pieces)[0], sent)


def test_a_read_only_view_gives_read_only_arrays() -> None:
    """Memory that its owner has marked read-only stays so, and is not copied."""
    data = memoryview(join_payload(MSGPACK.dumps(np.arange(100_000.0), "value")))
    assert not MSGPACK.loads(data).flags.writeable


def test_an_array_past_the_payloads_end_is_a_remote_protocol_error() -> None:
    """A payload that was cut short is refused."""
    data = join_payload(MSGPACK.dumps(np.arange(100_000.0), "value"))
    with pytest.raises(RemoteProtocolError, match="past its end"):
        MSGPACK.loads(data[:-1])


def test_a_missing_numpy_is_named() -> None:
    """Where numpy is not installed, an array's arrival says what is missing, and plain data needs it not."""
    payload = MSGPACK.dumps([np.arange(3)], "value")
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from meshq.protocol.codec import serializer\n"
        "from meshq.errors import EncodingError\n"
        f"m = serializer('msgpack'); assert m.loads(m.dumps([1, (2,)], '')) == [1, (2,)]\n"
        f"try: m.loads({payload!r})\n"
        "except EncodingError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "a payload holds numpy data, and numpy is not installed here\n"


def test_plain_data_does_not_import_numpy() -> None:
    """Encoding and failing to encode leave numpy alone in a process that has not imported it."""
    script = (
        "import sys\n"
        "from meshq.protocol.codec import serializer\n"
        "m = serializer('msgpack')\n"
        "m.loads(m.dumps((1, {2}), ''))\n"
        "try: m.dumps(object(), '')\n"
        "except TypeError: pass\n"
        "print('numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("large", [1, 5_000])
def test_slices_of_one_dimension_arrive_as_they_were(large: int) -> None:
    """Every second element, backwards, a column, or one element again and again."""
    base = np.arange(20 * large)
    pairs, again = base.reshape(-1, 2), np.broadcast_to(base[:1], (4 * large,))
    for sent in (base[::2], base[::-1], pairs[:, 1], pairs[:, :1], again):
        assert_same(round_trip(sent), np.array(sent))
