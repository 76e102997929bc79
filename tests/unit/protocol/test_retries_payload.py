"""What a worker says of an attempt that asks for another try."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from meshq.protocol.retries import RetryAsked, dump_retry, load_retry


@pytest.mark.parametrize(
    "asked", [RetryAsked(b"f"), RetryAsked(b"f", 2.5, 7, 0.1, True), RetryAsked(b"f", 1, 0, 3)]
)
def test_there_and_back(asked: RetryAsked) -> None:
    """What is said is what is heard."""
    assert load_retry(dump_retry(asked)) == asked


@pytest.mark.parametrize(
    "said",
    [
        b"\xc1", b"", msgpack.packb([1, 2]), msgpack.packb({"other": 1}), msgpack.packb({1: 2}),
        *(
            msgpack.packb({"failure": b"f", **wrong})
            for wrong in (
                {"failure": "f"}, {"delay": -1}, {"delay": float("nan")}, {"delay": 2e9}, {"delay": "1"},
                {"most": 1.5}, {"most": True}, {"backoff": None}, {"backoff": float("inf")}, {"jitter": 1},
            )
        ),
    ],
)  # fmt: skip
def test_what_is_malformed_asks_for_nothing(said: Any) -> None:
    """Whatever a peer sends, the owner goes on."""
    assert load_retry(said) == RetryAsked(b"", None, 0)
