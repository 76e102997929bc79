"""The msgpack serializer: every value it takes arrives exactly as it was, and nothing else is taken."""

from __future__ import annotations

import enum
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol.codec import dumps_call, loads_call, serializer

MSGPACK = serializer("msgpack")


def round_trip(value: object) -> Any:
    """Send a value through the serializer."""
    return MSGPACK.loads(MSGPACK.dumps(value, "value"))


def exactly(value: object) -> object:
    """Return what two values share only if their types and contents agree at every level."""
    if isinstance(value, list | tuple):
        return type(value), [exactly(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), {exactly_key(item) for item in value}
    if isinstance(value, dict):
        return dict, [(exactly_key(key), exactly(item)) for key, item in value.items()]
    return exactly_key(value)


def exactly_key(value: object) -> object:
    """As ``exactly``, for hashable values; floats by their bits, so that NaN equals itself."""
    if isinstance(value, float):
        return float, struct.pack(">d", value)
    if isinstance(value, complex):
        return complex, struct.pack(">dd", value.real, value.imag)
    if isinstance(value, tuple | frozenset):
        return type(value), type(value)(map(exactly_key, value))  # type: ignore[arg-type]
    return type(value), str(value) if isinstance(value, Decimal) else value


KEYS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=st.just(timezone(timedelta(hours=-3, minutes=-30))))
    | st.dates()
    | st.times()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
VALUES = st.recursive(
    KEYS | st.floats() | st.complex_numbers() | st.decimals() | st.sets(KEYS, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_plain_value_arrives_exactly_as_it_was(value: object) -> None:
    """Tuples stay tuples, keys keep their types, and numbers keep every bit, however they are nested."""
    assert exactly(round_trip(value)) == exactly(value)


@given(st.lists(VALUES, max_size=3).map(tuple), st.dictionaries(st.text(), VALUES, max_size=3))
def test_any_call_arrives_exactly_as_it_was(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """The arguments of a call come back as the tuple and the dict that they were."""
    got_args, got_kwargs = loads_call(MSGPACK, dumps_call(MSGPACK, args, kwargs))
    assert (exactly(got_args), exactly(got_kwargs)) == (exactly(args), exactly(kwargs))


def test_a_tuple_and_a_list_among_the_arguments_are_told_apart() -> None:
    """A task sees (1, (2, 3), [4]) as it was called."""
    assert loads_call(MSGPACK, dumps_call(MSGPACK, (1, (2, 3), [4]), {})) == ((1, (2, 3), [4]), {})


@pytest.mark.parametrize(
    "path",
    [Path("/a/ü"), Path("a"), PurePosixPath("x/y"), PureWindowsPath("C:\\x"), Path("odd-\udcff"), Path()],
)
def test_paths_keep_their_kind(path: object) -> None:
    """A Path comes back as a Path, a pure one as pure, also with a name that is not text."""
    got = round_trip(path)
    assert got == path
    assert type(got) is type(path)


def test_a_path_of_another_system_arrives_as_a_pure_one() -> None:
    """Where a concrete Windows path cannot be made, its pure form keeps the meaning."""
    payload = MSGPACK.dumps(Path("C:/x"), "value")
    assert isinstance(payload, bytes)
    assert type(Path()) is PosixPath
    assert MSGPACK.loads(payload.replace(b"PC:/x", b"WC:/x")) == PureWindowsPath("C:/x")


def test_a_zone_travels_as_its_offset() -> None:
    """An aware datetime names the same instant, with the same wall clock, after the journey."""
    sent = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    got = round_trip(sent)
    assert got.isoformat() == sent.isoformat()
    assert got.fold == 1
    assert round_trip(datetime(2024, 1, 1, tzinfo=UTC)).tzinfo is UTC
    assert round_trip(time(1, 2, 3, 4, tzinfo=UTC)) == time(1, 2, 3, 4, tzinfo=UTC)


def test_a_zone_without_an_offset_is_refused() -> None:
    """A time of a zone whose offset depends on the day would silently lose its zone."""
    with pytest.raises(EncodingError, match="a time whose time zone gives it no offset"):
        MSGPACK.dumps(time(1, tzinfo=ZoneInfo("Europe/Berlin")), "result")


def test_buffers_arrive_as_bytes() -> None:
    """bytearray and memoryview are carried by their contents."""
    assert round_trip([bytearray(b"ab"), memoryview(b"cd")]) == [b"ab", b"cd"]
    assert type(round_trip(bytearray(b"ab"))) is bytes


class Point(NamedTuple):
    x: int


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class Custom:
    pass


@dataclass
class Record:
    field: int


class BrokenZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise RuntimeError("no such zone")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Custom(), "argument 1 is a {here}.Custom, which msgpack can't carry"),
        (print, "argument 1 is a builtin_function_or_method"),
        (Point(1), "argument 1 is a {here}.Point (tuple() of it may do)"),
        (Colour.RED, "argument 1 is a {here}.Colour (its .value may do)"),
        (Record(1), "argument 1 is a {here}.Record (dataclasses.asdict() of it may do)"),
        (Text("x"), "argument 1 is a {here}.Text"),
        (OrderedDict(), "argument 1 is a collections.OrderedDict"),
        ({"sizes": [1, 2, 3, {Custom()}]}, "argument 1 ['sizes'][3] (an element) is a {here}.Custom"),
        ({(1, print): 2}, "argument 1 (a key)[1] is a builtin_function_or_method"),
        ([("\ud800",)], "argument 1 [0][0] is a str ('utf-8' codec"),
        (datetime(2024, 1, 1, tzinfo=BrokenZone()), "argument 1 is a datetime.datetime (no such zone)"),
        (memoryview(b"abcd")[::2], "argument 1 is a memoryview"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value: object, said: str) -> None:
    """A call with a value that cannot travel fails at once, saying which value it is."""
    with pytest.raises(EncodingError) as caught:
        dumps_call(MSGPACK, (value,), {})
    assert said.format(here=__name__) in str(caught.value)
    assert "allow pickle" in str(caught.value)


def test_the_right_argument_is_blamed() -> None:
    """The number or the name of the argument is that of the unfit one."""
    with pytest.raises(EncodingError, match=r"^argument 3 \[1\] is an object"):
        dumps_call(MSGPACK, (1, "x", [1, object()]), {})
    with pytest.raises(EncodingError, match=r"^argument 'rate' is an object"):
        dumps_call(MSGPACK, (1,), {"size": 2, "rate": object()})
    with pytest.raises(EncodingError, match=r"^the name of a keyword argument is a .*Text"):
        dumps_call(MSGPACK, (), {Text("x"): 1})
    with pytest.raises(EncodingError, match=r"^result \[0\] is an object"):
        MSGPACK.dumps([object()], "result")


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {1: x}])
def test_depth_is_limited_with_a_clear_error(wrap: Any) -> None:
    """A thousand levels travel; what is deeper, or holds itself, is refused without a crash."""
    deep: Any = 0
    for _ in range(1000):
        deep = wrap(deep)
    payload = MSGPACK.dumps(deep, "result")
    assert MSGPACK.dumps(MSGPACK.loads(payload), "result") == payload
    for _ in range(5000):
        deep = wrap(deep)
    with pytest.raises(EncodingError, match="result is nested more than 1024 levels deep"):
        MSGPACK.dumps(deep, "result")


def test_a_list_that_holds_itself_is_refused() -> None:
    """An endless value gives an error, not an endless loop."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(EncodingError, match="or contains itself"):
        dumps_call(MSGPACK, (endless,), {})


def ext(code: int, data: bytes) -> bytes:
    """Pack an extension by hand."""
    packed: bytes = msgpack.packb(msgpack.ExtType(code, data))
    return packed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01\x01",
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xa1\xff",
        b"\x81\x90\x01",
        b"\xc1",
        b"\xc1\xff\xff\xff\xff",
        b"\xc1\x00\x00\x00\x00",
        ext(42, b"x"),
        ext(1, b""),
        b"\x92" + ext(2, b"") + b"\x90",
        b"\x92\x01" + ext(1, b""),
        b"\x92" + ext(1, b"") + ext(1, b""),
        b"\x81" + ext(3, b"") + b"\x01",
        *(ext(code, b"?") for code in range(5, 16)),
        *(ext(code, b"") for code in range(5, 16)),
        ext(13, msgpack.packb(["|O8", b"12345678"])),
        ext(14, msgpack.packb([["<f8", "C", 10**12], b""])),
        ext(14, msgpack.packb([["<f8", "C", -1, -1], b"12345678"])),
        ext(14, msgpack.packb([["<f8", "C", *[1] * 100], b"12345678"])),
        ext(14, msgpack.packb([["<f8", "X", 1], b"12345678"])),
        ext(15, msgpack.packb([["<f8", "C", 1], 0, 8])),
        [b"\xc1\x00\x00", b"\x00\x01"],
        [],
    ],
)
def test_a_malformed_payload_is_a_remote_protocol_error(payload: Any) -> None:
    """Whatever is wrong with a payload, one error says so."""
    with pytest.raises(RemoteProtocolError):
        MSGPACK.loads(payload)


@pytest.mark.parametrize("call", [1, [], [[], {}, 1], [{}, []], [[], {1: 2}], [(1,), {}], None])
def test_a_call_of_the_wrong_shape_is_a_remote_protocol_error(call: object) -> None:
    """A payload that is no call is not taken for one."""
    with pytest.raises(RemoteProtocolError, match="a call's arguments"):
        loads_call(MSGPACK, MSGPACK.dumps(call, "call"))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: [data[:3], data[3:]]])
def test_a_payload_may_arrive_in_any_form(kind: Any) -> None:
    """One buffer of any type, or pieces cut anywhere, hold the same value."""
    value = {"a": [1, (2, "three")]}
    assert MSGPACK.loads(kind(MSGPACK.dumps(value, "value"))) == value


def test_threads_encode_at_the_same_time_without_mixing() -> None:
    """User threads that submit together each get their own payload."""
    failures: list[object] = []

    def work(number: int) -> None:
        for size in range(300):
            value = {"n": number, "data": [(number, Decimal(size))] * (size % 20)}
            if round_trip(value) != value:
                failures.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_failed_payload_leaves_nothing_behind() -> None:
    """After a value that does not fit, the next one is encoded as ever."""
    with pytest.raises(EncodingError):
        MSGPACK.dumps([1, 2, object()], "result")
    assert MSGPACK.dumps([3], "result") == b"\x91\x03"


def test_plain_data_is_plain_msgpack() -> None:
    """A node written in another language can read what has no Python types in it."""
    value = {"a": [1, 2.5, None, True, b"x"], "day": "2024"}
    assert msgpack.unpackb(MSGPACK.dumps(value, "value")) == value
    assert round_trip(UUID(int=5)) == UUID(int=5)
    assert round_trip(date(2024, 2, 29)) == date(2024, 2, 29)
