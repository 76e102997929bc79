"""Whether a task that has raised is tried again: its type, its options, and what it says itself."""

from __future__ import annotations

from typing import Any

import pytest
from workers_harness import Node

from meshq import Retry
from meshq.protocol.failures import load_failure
from meshq.protocol.messages import Status
from meshq.protocol.retries import RetryAsked, load_retry
from meshq.workers.retrying import retry_of

OS_ERROR = {"retry_for": ["builtins.OSError"]}


def asked(
    error: BaseException, declared: dict[str, Any], given: dict[str, Any] | None = None
) -> RetryAsked | None:
    """Return what is asked of the owner."""
    found = retry_of(error, declared, given)
    return None if found is None else found[0]


def test_what_is_declared() -> None:
    """Types and those derived from them, with 3 retries and pauses of a second where nothing else is said."""
    assert asked(ConnectionError(), OS_ERROR) == RetryAsked(b"", None, 3, 1.0, True)
    assert asked(ValueError(), OS_ERROR) is None
    assert asked(ValueError(), {}) is None
    declared = {**OS_ERROR, "max_retries": 9, "retry_backoff": 0.5, "retry_jitter": False}
    assert asked(OSError(), declared) == RetryAsked(b"", None, 9, 0.5, False)


def test_the_call_counts_more() -> None:
    """None of it lifts what is declared."""
    given = {"retry_for": ["builtins.ValueError"], "max_retries": None, "retry_backoff": 0}
    assert asked(OSError(), {**OS_ERROR, "max_retries": 9}, given) is None
    assert asked(ValueError(), {**OS_ERROR, "max_retries": 9}, given) == RetryAsked(b"", None, 3, 0.0, True)


def test_a_task_asks_itself() -> None:
    """Whatever is declared; what it fails with in the end is what it was raised from, or that it asked."""
    assert asked(Retry(delay=2.5), {}) == RetryAsked(b"", 2.5, 3, 1.0, True)
    cause, retry = ValueError("why"), Retry("later")
    assert retry_of(retry, {}, None) == (RetryAsked(b"", None, 3, 1.0, True), retry)
    retry.__cause__ = cause
    assert retry_of(retry, {"max_retries": 0}, None) == (RetryAsked(b"", None, 0, 1.0, True), cause)


def test_items_of_a_chunk_are_not_tried_again() -> None:
    """As the others of the chunk would be as well."""
    assert asked(Retry(), {}, {"chunk": True}) is None


@pytest.mark.parametrize(
    "wrong", [{"retry_for": "x"}, {"max_retries": "x"}, {"retry_backoff": "x"}, {"retry_backoff": float("nan")}]
)
def test_what_makes_no_sense_is_not_said(wrong: dict[str, Any]) -> None:
    """A peer may send anything, and the worker lives on."""
    assert asked(Retry(), {}, wrong) == RetryAsked(b"", None, 3, 1.0, True)


@pytest.mark.parametrize("delay", [-1, float("nan"), "1", True, 1e10])
def test_a_pause_is_a_number_of_seconds(delay: Any) -> None:
    """A wrong one is told where it is written."""
    with pytest.raises(ValueError, match="Retry: delay must be a number of seconds"):
        Retry(delay=delay)


def test_a_worker_asks(node: Node) -> None:
    """The run ends with the question, in which its failure is, and the worker goes on."""
    numbers = node.run([node.make("again", 2.5), node.make("again", None), node.make("echo", 1)])
    node.until(lambda: numbers[-1] in node.dones())
    first, second = (node.dones()[number] for number in numbers[:2])
    assert (first.status, second.status) == (Status.RETRY, Status.RETRY)
    said = load_retry(first.payload)
    assert said[1:] == (2.5, 3, 1.0, True)
    failure = load_failure(said.failure)
    assert (type(failure), str(failure), failure.delay) == (Retry, "not yet", 2.5)  # type: ignore[attr-defined]
    said = load_retry(second.payload)
    assert said[1:] == (None, 3, 1.0, True)
    failure = load_failure(said.failure)
    assert (type(failure), str(failure)) == (ConnectionError, "no line")
    assert "in again" in str(failure.__cause__)


def test_the_last_try_fails_as_any_other_task(node: Node) -> None:
    """Its node keeps that for whoever asks, which a question is not kept for."""
    options: list[dict[str, Any]] = [{"max_retries": 0}, {"retries": 3}, {"retries": 2}, {"retries": "many"}]
    numbers = node.run([node.make("again", None)._replace(options=each) for each in options])
    node.until(lambda: numbers[-1] in node.dones())
    dones = [node.dones()[number] for number in numbers]
    assert [done.status for done in dones] == [Status.FAILURE] * 2 + [Status.RETRY] * 2
    assert [str(load_failure(done.payload)) for done in dones[:2]] == ["no line"] * 2


def test_what_must_not_run_twice_is_tried_again_only_where_that_is_said() -> None:
    """A number of retries says it, and types alone do not."""
    once = {"once": True}
    assert asked(OSError(), OS_ERROR, once) == RetryAsked(b"", None, 0, 1.0, True)
    assert asked(OSError(), {**OS_ERROR, "max_retries": 2}, once) == RetryAsked(b"", None, 2, 1.0, True)
