"""What is recorded of the payloads of version 1: name → a serializer, and the value that its bytes must give.

Besides arguments and results these are failures, and what a worker says of an attempt that asks for another try.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from meshq.protocol.codec import dumps_call, loads_call, serializer
from meshq.protocol.failures import dump_failure, load_failure, remote_traceback
from meshq.protocol.payload import Payload, join_payload
from meshq.protocol.retries import RetryAsked, dump_retry, load_retry


class Form(NamedTuple):
    """One form of payload: a value into bytes, and the bytes into what is to be compared."""

    dump: Callable[[Any], Payload]
    load: Callable[[bytes], Any]


class RecordedPayload(NamedTuple):
    """``means`` is what the bytes of ``value`` give, where that is not the value itself.

    ``ours`` is False where others than meshq make the bytes, and may come to make them otherwise.
    """

    form: str
    value: Any
    means: Any = None
    ours: bool = True

    @property
    def meaning(self) -> Any:
        """What the bytes must give."""
        return self.value if self.means is None else self.means


def _values(name: str) -> Form:
    return Form(lambda value: serializer(name).dumps(value, "value"), serializer(name).loads)


def _calls(name: str) -> Form:
    codec = serializer(name)
    return Form(lambda call: dumps_call(codec, *call), lambda data: loads_call(codec, data))


def _told(error: BaseException) -> tuple[Any, ...]:
    """Return what can be compared of an exception."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    state = {name: value for name, value in vars(error).items() if name not in ("__notes__", "remote_traceback")}
    return kind, str(error), error.args, state, getattr(error, "__notes__", []), remote_traceback(error)


FORMS = {
    **{name: _values(name) for name in ("msgpack", "json", "raw", "pickle")},
    **{f"call-{name}": _calls(name) for name in ("msgpack", "json", "raw", "pickle")},
    "failure": Form(dump_failure, lambda data: _told(load_failure(data))),
    "retry": Form(lambda value: dump_retry(RetryAsked(**value)), lambda data: load_retry(data)._asdict()),
}


def payload_bytes(recorded: RecordedPayload) -> bytes:
    """Return the bytes that are made of a value today."""
    return join_payload(FORMS[recorded.form].dump(recorded.value))


class Odd(Exception):
    """An exception of a module that its receiver has never heard of."""

    __module__ = "far.away"


class _Nameless:
    def __repr__(self) -> str:
        return "<nameless>"


def _noted(error: BaseException, *notes: str, **attributes: Any) -> BaseException:
    for note in notes:
        error.add_note(note)
    vars(error).update(attributes)
    return error


_TABLE = np.arange(6, dtype="<i4").reshape(2, 3)
_POINTS = np.array([(1, 2.5), (3, -0.5)], dtype=[("id", "<i4"), ("x", "<f8")])
_TREE: dict[str, Any] = {"list": [1, [2, {"deep": (3, {4})}]], "none": None}
_PARIS = timezone(timedelta(hours=2))
_FAILURE = dump_failure(ValueError("later"))


def _plain(value: Any, **more: Any) -> RecordedPayload:
    return RecordedPayload("msgpack", value, **more)


def _failure(error: BaseException, *told: Any) -> RecordedPayload:
    return RecordedPayload("failure", error, told)


PAYLOADS: dict[str, RecordedPayload] = {
    # ------------------------------------------------------------------ msgpack, its own types
    "msgpack-scalars": _plain([None, True, False, 0, -1, 127, 2**31, 2**64 - 1, -(2**63), 1.5, float("inf")]),
    "msgpack-text": _plain(["", "text", "Käse ☕", b"", b"\x00\xff"]),
    "msgpack-buffers": _plain([bytearray(b"ab"), memoryview(b"cd")], means=[b"ab", b"cd"]),
    "msgpack-containers": _plain(_TREE),
    "msgpack-keys": _plain({1: "int", None: "none", b"b": "bytes", (1, 2): "tuple", 1.5: "float", False: "bool"}),
    # ------------------------------------------------------------------ msgpack, extension types
    "msgpack-tuples": _plain([(), (1,), (1, (2, 3)), [(4, [5])]]),
    "msgpack-sets": _plain([set(), {1}, frozenset(), frozenset({"x"}), {(1, 2)}]),
    "msgpack-big-int": _plain([2**64, -(2**63) - 1, 10**40]),
    "msgpack-complex": _plain([1 + 2j, -0.5j]),
    "msgpack-decimal": _plain([Decimal("12.50"), Decimal("-1E+9"), Decimal("Infinity")]),
    "msgpack-uuid": _plain(UUID("01234567-89ab-cdef-0123-456789abcdef")),
    "msgpack-datetime": _plain(
        [
            datetime(2026, 11, 20, 12, 30, 59, 123456),
            datetime(2026, 7, 1, tzinfo=UTC),
            datetime(2026, 10, 25, 2, 30, tzinfo=_PARIS, fold=1),
        ]
    ),
    "msgpack-date-and-time": _plain([date(1, 1, 1), time(23, 59, 59, 1), time(1, tzinfo=UTC, fold=1)]),
    "msgpack-timedelta": _plain([timedelta(0), timedelta(days=-1, microseconds=1), timedelta.max]),
    "msgpack-path": _plain([PurePosixPath("/a/b"), PureWindowsPath("C:/a"), Path("x/y")]),
    # ------------------------------------------------------------------ msgpack, numpy
    "msgpack-numpy-scalars": _plain(
        [np.float64(1.5), np.int8(-3), np.bool_(True), np.datetime64("2026-11-20", "s")]
    ),
    "msgpack-numpy-arrays": _plain([_TABLE, np.zeros(0, "<f8"), np.array("text")]),
    "msgpack-numpy-fortran": _plain(np.asfortranarray(_TABLE)),
    "msgpack-numpy-fields": _plain(_POINTS),
    "msgpack-numpy-large": _plain({"image": np.full((128, 128), 7, "u1"), "mask": np.zeros(20_001, "u1")}),
    # ------------------------------------------------------------------ the other serializers
    "json": RecordedPayload("json", {"a": [1, 2.5, None, True, "Käse"], "b": {}}),
    "json-tuple": RecordedPayload("json", (1, 2), means=[1, 2]),
    "raw": RecordedPayload("raw", b"\x00 as it is \xff"),
    "raw-empty": RecordedPayload("raw", b""),
    "pickle": RecordedPayload("pickle", _TREE, ours=False),
    "pickle-large": RecordedPayload(
        "pickle", pickle.PickleBuffer(bytearray(b"p" * 20_000)), means=b"p" * 20_000, ours=False
    ),
    # ------------------------------------------------------------------ calls, and chunks of them
    "call-empty": RecordedPayload("call-msgpack", ((), {})),
    "call": RecordedPayload("call-msgpack", ((1, "two", [3]), {"size": 4, "deep": {"x": (5,)}})),
    "call-numpy-large": RecordedPayload("call-msgpack", ((np.zeros(16_384, "u1"),), {"k": np.float32(2)})),
    "call-json": RecordedPayload("call-json", ((1, "two"), {"size": 4})),
    "call-raw": RecordedPayload("call-raw", ((b"bytes",), {})),
    "call-pickle": RecordedPayload("call-pickle", ((1, "two"), {"size": 4}), ours=False),
    "chunk-of-calls": RecordedPayload("call-msgpack", (((1, 2), (3, 4)), {})),
    "chunk-of-results": _plain([[False, 3], [True, _FAILURE], [False, None]]),
    # ------------------------------------------------------------------ failures and retries
    "failure": _failure(
        ValueError("bad", 1), "builtins.ValueError", "('bad', 1)", ("bad", 1), {}, [], "ValueError: ('bad', 1)\n"
    ),
    "failure-without-message": _failure(
        KeyError(), "builtins.KeyError", "", (), {}, [], "KeyError\n"
    ),
    "failure-with-attributes": _failure(
        _noted(RuntimeError("x"), "a note", status=404, deep={"a": (1,)}),
        "builtins.RuntimeError", "x", ("x",), {"status": 404, "deep": {"a": (1,)}}, ["a note"],
        "RuntimeError: x\na note\n",
    ),
    "failure-with-odd-arguments": _failure(
        ValueError(_Nameless()), "builtins.ValueError", "<nameless>", ("<nameless>",), {}, [],
        "ValueError: <nameless>\n",
    ),
    "failure-of-an-unknown-type": _failure(
        Odd("gone"), "meshq.errors.RemoteError", "far.away.Odd: gone", ("far.away.Odd: gone",),
        {"type_name": "far.away.Odd"}, [], "far.away.Odd: gone\n",
    ),
    "retry-minimal": RecordedPayload(
        "retry", {"failure": b""},
        {"failure": b"", "delay": None, "most": 0, "backoff": 0.0, "jitter": False},
    ),
    "retry": RecordedPayload(
        "retry", {"failure": _FAILURE, "delay": 30.0, "most": 5, "backoff": 2.0, "jitter": True}
    ),
}  # fmt: skip


def alike(one: Any, other: Any) -> bool:
    """Say whether two values are equal, and of the same types, all the way down."""
    if isinstance(one, np.ndarray | np.generic):
        same = type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape
        return same and bool(np.all(one == other))
    if isinstance(one, bytes) and isinstance(other, memoryview | bytearray):  # a buffer that came beside a pickle
        return one == bytes(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)
