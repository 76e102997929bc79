"""Payloads and failures that were changed at random: each is read, or refused with one error."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from meshq.errors import RemoteProtocolError
from meshq.protocol.codec import dumps_call, loads_call, serializer
from meshq.protocol.failures import dump_failure, load_failure
from meshq.protocol.payload import join_payload

MSGPACK, JSON = serializer("msgpack"), serializer("json")
VALUE = {
    "plain": [1, -5, 2**70, 1.5, "text", b"bytes", None, True],
    "sets": ({1, 2}, frozenset({(3, 4)})),
    (1, 2): [Decimal("1.5"), UUID(int=7), complex(1, 2), Path("/a/b"), timedelta(1, 2, 3)],
    "times": [datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1).date()],
    "arrays": [np.arange(6).reshape(2, 3), np.float32(1.5), np.zeros(2, [("x", "<i4"), ("y", "<U2")])],
}
LARGE = [np.arange(3_000.0), "between", np.arange(20_000, dtype="u1")]


def _failure() -> bytes:
    try:
        raise ValueError("bad", (1, {"a": Decimal(1)}))
    except ValueError as error:
        error.add_note("a note")
        return dump_failure(error)


SEEDS: list[tuple[str, Callable[[Any], object], bytes]] = [
    ("values", MSGPACK.loads, join_payload(MSGPACK.dumps(VALUE, "value"))),
    ("arrays", MSGPACK.loads, join_payload(MSGPACK.dumps(LARGE, "value"))),
    (
        "calls",
        lambda data: loads_call(MSGPACK, data),
        join_payload(dumps_call(MSGPACK, (1, (2, [3])), {"k": {4}})),
    ),
    ("json", lambda data: loads_call(JSON, data), join_payload(dumps_call(JSON, (1, [2.5, "x"]), {"k": {}}))),
    ("failures", load_failure, _failure()),
]
ROUNDS = 2_500


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Change a few bytes, cut, double or insert a stretch; mostly near the start, where the structure is."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(len(changed), 400) or 1)
        kind = chance.randrange(5)
        if kind == 0:
            changed[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            changed[place : place + 1] = bytes([(changed[place] ^ 1 << chance.randrange(8)) if changed else 0])
        elif kind == 2:
            del changed[place : place + chance.randint(1, 8)]
        elif kind == 3:
            changed[place:place] = changed[place : place + chance.randint(1, 8)]
        else:
            changed[place:place] = chance.choice([b"\xc7\x00\x01", b"\xc1", b"\xdd\x7f\xff\xff\xff", b"\x91" * 50])
    return bytes(changed)


@pytest.mark.parametrize(("load", "data"), [seed[1:] for seed in SEEDS], ids=[seed[0] for seed in SEEDS])
def test_a_mutated_payload_is_read_or_refused(load: Callable[[Any], object], data: bytes) -> None:
    """Thousands of damaged payloads raise RemoteProtocolError, or hold another value, and nothing else."""
    chance = random.Random(20240229)
    refused = 0
    for _ in range(ROUNDS):
        damaged = mutated(chance, data)
        try:
            load(damaged if chance.random() < 0.8 else [damaged[:7], memoryview(damaged)[7:]])
        except RemoteProtocolError:
            refused += 1
    assert refused > ROUNDS / 10


def test_noise_is_refused() -> None:
    """Bytes without any structure do no harm either."""
    chance = random.Random(7)
    for _ in range(2_000):
        noise = chance.randbytes(chance.randrange(60))
        for load in (MSGPACK.loads, JSON.loads, load_failure):
            try:
                load(noise)
            except RemoteProtocolError:
                pass
