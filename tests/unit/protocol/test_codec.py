"""The serializers by name, and json and raw among them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import ConfigError, EncodingError, RemoteProtocolError
from meshq.protocol.codec import dumps_call, loads_call, serializer

JSON, RAW = serializer("json"), serializer("raw")


@pytest.mark.parametrize("name", ["msgpack", "json", "raw", "pickle"])
def test_a_serializer_is_found_by_its_name(name: str) -> None:
    """The names of the design are all there."""
    assert serializer(name).name == name


def test_an_unknown_serializer_is_refused_with_the_known_names() -> None:
    """A typo in a serializer's name is answered with the names to choose from."""
    with pytest.raises(ConfigError, match="'yaml': choose one of msgpack, json, raw, pickle"):
        serializer("yaml")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON_VALUES, max_size=3), st.dictionaries(st.text(), JSON_VALUES, max_size=3))
def test_json_carries_what_json_has(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Any JSON data comes back as it was."""
    assert loads_call(JSON, dumps_call(JSON, tuple(args), kwargs)) == (tuple(args), kwargs)


def test_json_turns_tuples_into_lists() -> None:
    """What JSON has no word for, but reads alike, is converted as documented."""
    assert JSON.loads(JSON.dumps({"a": (1, (2,))}, "result")) == {"a": [1, [2]]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, {2}]}, r"argument 1 \['a'\]\[1\] is a set"),
        (b"x", "argument 1 is a bytes"),
        ({"a": {1: 2}}, r"argument 1 \['a'\] \(a key\) is an int"),
        ([float("nan")], r"argument 1 \[0\] is a float"),
        (["\ud800"], r"argument 1 \[0\] is a str"),
    ],
)
def test_json_refuses_what_it_would_change(value: object, said: str) -> None:
    """A value that JSON has not, or a key that it would make text of, is named with its place."""
    with pytest.raises(EncodingError, match=rf"^{said}.*, which json can't carry"):
        dumps_call(JSON, (value,), {})


def test_json_of_endless_depth_is_refused() -> None:
    """A list that holds itself gives an error on the way out, and a deep text one on the way in."""
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(EncodingError, match="or contains itself"):
        JSON.dumps(endless, "result")
    with pytest.raises(RemoteProtocolError):
        JSON.loads(b"[" * 100_000)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"1 2", b"9" * 5000])
def test_malformed_json_is_a_remote_protocol_error(payload: bytes) -> None:
    """Text that is no JSON, or only Python's idea of it, is refused."""
    with pytest.raises(RemoteProtocolError, match="a payload is not json"):
        JSON.loads(payload)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_raw_carries_one_bytes_like_argument(kind: Any) -> None:
    """Whatever the buffer's type, its bytes arrive as bytes."""
    payload = dumps_call(RAW, (kind(b"abc"),), {})
    assert payload == b"abc"
    assert loads_call(RAW, [b"ab", memoryview(b"c")]) == ((b"abc",), {})
    assert type(RAW.loads(bytearray(b"abc"))) is bytes


def test_raw_keeps_no_hold_of_a_mutable_buffer() -> None:
    """A script may fill its buffer anew while the task still waits."""
    buffer = bytearray(b"abc")
    payload = dumps_call(RAW, (buffer,), {})
    buffer[:] = b"xyz"
    assert payload == b"abc"


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "a call with 0 arguments"),
        ((b"", b""), {}, "a call with 2 arguments"),
        ((b"",), {"x": 1}, "1 keyword arguments"),
        (("text",), {}, "argument 1 is a str, which raw can't carry; pass bytes"),
    ],
)
def test_raw_refuses_other_calls(args: tuple[Any, ...], kwargs: dict[str, Any], said: str) -> None:
    """A call that raw has no room for is refused with the rule."""
    with pytest.raises(EncodingError, match=said):
        dumps_call(RAW, args, kwargs)


def test_raw_refuses_a_result_that_is_not_bytes() -> None:
    """A task behind raw must return bytes."""
    with pytest.raises(EncodingError, match="result is an int, which raw can't carry"):
        RAW.dumps(5, "result")
