"""What a node keeps of tasks that are over, so that any process may ask for it."""

from __future__ import annotations

import time
from operator import itemgetter
from typing import Any

import pytest
from holder_conversation import task
from hypothesis import given
from hypothesis import strategies as st

from meshq.core import kept as module
from meshq.core.kept import KEPT_S, MAX_PAYLOAD_BYTES, Kept
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import Payload


def ended(
    number: int,
    status: int = Status.OK,
    payload: Payload = b"value",
    attempt: int = 1,
    serializer: str = "msgpack",
) -> Result:
    """Return the result of an attempt."""
    return Result(task(number), attempt, status, serializer, payload, 0.5)


def without_value(number: int, status: int = Status.OK) -> Result:
    """Return what is left of a result whose value is not kept."""
    return Result(task(number), 1, status, "", b"", 0.0)


def found(kept: Kept, number: int, now: float = 0.0) -> Result | None:
    """Return what is kept of a task."""
    return kept.find(task(number), now)


def test_a_result_is_found_again() -> None:
    """With its attempt, status, serializer and payload; a task that nobody knows of is not found."""
    kept = Kept()
    kept.put(ended(1, Status.FAILURE, b"sorry", attempt=3, serializer="json"), 0.0)
    kept.put(Result(task(2), 1, Status.REVOKED, "", b""), 0.0)
    assert found(kept, 1) == Result(task(1), 3, Status.FAILURE, "json", b"sorry", 0.0)
    assert found(kept, 2) == Result(task(2), 1, Status.REVOKED, "", b"", 0.0)
    assert found(kept, 3) is None


def test_a_payload_in_pieces_is_kept_as_bytes_of_its_own() -> None:
    """The buffers that it came in may be parts of much larger ones."""
    kept = Kept()
    kept.put(ended(1, payload=[b"ab", memoryview(b"-cd-")[1:3]]), 0.0)
    result = found(kept, 1)
    assert result is not None
    assert (type(result.payload), result.payload) == (bytes, b"abcd")


@pytest.mark.parametrize("large", [bytes(MAX_PAYLOAD_BYTES + 1), [bytes(MAX_PAYLOAD_BYTES), b"x"]])
def test_of_a_large_result_only_the_state_is_kept(large: Payload) -> None:
    """Its value is gone, and that of an earlier result of the task is not taken for it."""
    kept = Kept()
    kept.put(ended(1), 0.0)
    kept.put(ended(1, payload=large), 0.0)
    assert found(kept, 1) == without_value(1)
    kept.put(ended(2, payload=bytes(MAX_PAYLOAD_BYTES)), 0.0)
    assert found(kept, 2) == ended(2, payload=bytes(MAX_PAYLOAD_BYTES))._replace(seconds=0.0)


def test_the_later_result_of_a_task_counts() -> None:
    """Also where the earlier one was kept long before; but a lost worker does not hide what came of the task."""
    kept = Kept()
    kept.put(ended(1, Status.WORKER_LOST), 0.0)
    kept.put(ended(2, Status.FAILURE), 0.0)
    kept.put(ended(3), 0.0)
    later = 1_000.0
    kept.put(ended(4), later)
    for number in (1, 2):
        kept.put(ended(number, payload=b"later", attempt=2), later)
    kept.put(ended(3, Status.WORKER_LOST, payload=b"dead", attempt=2), later)
    kept.put(ended(5, Status.WORKER_LOST, attempt=2), later)
    kept.put(ended(5, Status.WORKER_LOST, attempt=3), later)
    for number in (1, 2):
        assert found(kept, number, later) == ended(number, payload=b"later", attempt=2)._replace(seconds=0.0)
    assert found(kept, 3, later) == ended(3)._replace(seconds=0.0)
    assert found(kept, 5, later) == ended(5, Status.WORKER_LOST, attempt=3)._replace(seconds=0.0)


KINDS: list[dict[str, Any]] = [
    {},
    {"payload": b""},
    {"payload": bytes(2_000)},
    {"payload": bytes(MAX_PAYLOAD_BYTES + 1)},
    {"payload": [b"in", b"pieces"]},
    {"status": Status.FAILURE, "serializer": "json"},
    {"status": Status.WORKER_LOST, "attempt": 2},
]


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(KINDS)), unique_by=itemgetter(0))))
def test_many_are_kept_as_each_would_be_alone(batches: list[list[tuple[int, dict[str, Any]]]]) -> None:
    """Whatever they are: also when there is hardly room, and those before make it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_STATES", 100)
        together, alone = Kept(), Kept()
    for now, batch in enumerate(batches):
        results = [ended(number, **kind) for number, kind in batch]
        together.put_all(results, float(now))
        for result in results:
            alone.put(result, float(now))
    assert [found(together, number) for number in range(10)] == [found(alone, number) for number in range(10)]


def test_many_that_come_at_once_stay_within_the_bounds() -> None:
    """The oldest make room for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_STATES", 1_000)
        patch.setattr(module, "MAX_BYTES", 4_000_000)
        kept = Kept()
    for first in range(0, 6_000, 30):
        kept.put_all([ended(first + number, payload=bytes(1_000)) for number in range(30)], 0.0)
    there = [number for number in range(6_000) if found(kept, number) is not None]
    assert 900 <= len(there) <= 1_000
    assert there == list(range(6_000 - len(there), 6_000))


def test_what_is_forgotten_is_gone() -> None:
    """In each of the places where something of it may be; the caller hears whether there was anything."""
    kept = Kept()
    kept.put(ended(1, payload=b"first"), 0.0)
    kept.put(ended(2), 1_000.0)
    kept.put(ended(1), 2_000.0)
    assert kept.forget(task(1))
    assert not kept.forget(task(1))
    assert found(kept, 1, 2_000.0) is None
    assert found(kept, 2, 2_000.0) is not None


@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_a_result_is_kept_for_an_hour_and_not_for_ever(steps: int) -> None:
    """However the hour is filled."""
    kept = Kept()
    kept.put(ended(0), 0.0)
    kept.put(ended(1), 0.0)
    for step in range(1, steps + 1):
        kept.put(ended(step + 1), KEPT_S * step / steps)
    assert found(kept, 1, KEPT_S) == ended(1)._replace(seconds=0.0)
    kept.put(ended(0), KEPT_S * 1.2)
    assert found(kept, 0, KEPT_S * 1.2 + KEPT_S - 1.0) is not None
    assert found(kept, 1, KEPT_S * 1.2 + KEPT_S) is None


@pytest.mark.parametrize("over_s", [0.0, 3_590.0])
def test_the_number_of_states_is_bounded(monkeypatch: pytest.MonkeyPatch, over_s: float) -> None:
    """The oldest make room, a few at a time, whether they come at once or over most of an hour."""
    monkeypatch.setattr(module, "MAX_STATES", 1_000)
    kept = Kept()
    for number in range(3_000):
        kept.put(ended(number), over_s * number / 3_000)
    there = [number for number in range(3_000) if found(kept, number, over_s) is not None]
    assert 900 <= len(there) <= 1_000
    assert there == list(range(3_000 - len(there), 3_000))


def test_the_bytes_of_values_are_bounded_and_their_states_outlive_them() -> None:
    """Of 100 MB some 60 are kept, those of the latest results; of the others, that they are done."""
    kept = Kept()
    payload = bytes(MAX_PAYLOAD_BYTES)
    count = 100 * 1024**2 // MAX_PAYLOAD_BYTES
    for number in range(count):
        kept.put(ended(number, payload=payload), 0.0)
    results = [found(kept, number) for number in range(count)]
    values = [number for number, result in enumerate(results) if result is not None and result.payload]
    assert values == list(range(count - len(values), count))
    assert 0.9 * module.MAX_BYTES <= len(values) * MAX_PAYLOAD_BYTES <= module.MAX_BYTES
    assert results[0] == without_value(0)


def test_keeping_a_result_takes_no_time() -> None:
    """Each task passes here: well under a microsecond, with all generations full and going."""
    kept = Kept()
    results = [ended(number) for number in range(100_000)]
    for number, result in enumerate(results):
        kept.put(result._replace(task=task(number + 1_000_000)), 0.0)
    began_at = time.perf_counter()
    for result in results:
        kept.put(result, 0.0)
    assert time.perf_counter() - began_at < 0.5
