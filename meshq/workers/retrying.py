"""Whether a task that has raised is to be tried again, as its options and ``Retry`` itself say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshq.errors import LONGEST_DELAY_S, Retry
from meshq.protocol.retries import RetryAsked

MOST = 3
"""Retries of a task that says nothing of how many it may have."""
_BACKOFF_S = 1.0


def retry_of(
    error: BaseException, declared: Mapping[str, Any], given: Mapping[str, Any] | None
) -> tuple[RetryAsked, BaseException] | None:
    """Return what is asked of the owner, and what the task fails with if it gets no other try; None for no retry.

    ``declared`` is what the function says, ``given`` what the call does; types are compared by their names, with
    those that the error's type is derived from. The items of a chunk fail on their own.
    """
    options = declared if given is None else {**declared, **given}
    delay, cause = None, error
    if options.get("chunk"):
        return None
    if isinstance(error, Retry):
        delay, cause = error.delay, error.__cause__ or error
    elif not _is_among(options.get("retry_for"), error):
        return None
    backoff, jitter = options.get("retry_backoff"), options.get("retry_jitter")
    return RetryAsked(b"", delay, _most(options), _pause(backoff), jitter is not False), cause


def is_last(asked: RetryAsked, given: Mapping[str, Any] | None) -> bool:
    """Whether the task has had all its retries; then its node keeps what it fails with, for whoever asks."""
    retries = 0 if given is None else given.get("retries")
    return (retries if type(retries) is int else 0) >= asked.most


def _most(options: Mapping[str, Any]) -> int:
    most = options.get("max_retries")
    if type(most) is int:
        return most
    return 0 if options.get("once") else MOST  # what must not run twice is repeated only where that is said


def _is_among(names: Any, error: BaseException) -> bool:
    if type(names) is not list or not names:
        return False
    return any(f"{cls.__module__}.{cls.__qualname__}" in names for cls in type(error).__mro__)


def _pause(value: Any) -> float:
    is_pause = type(value) in (int, float) and value >= 0
    return float(min(value, LONGEST_DELAY_S)) if is_pause else _BACKOFF_S
