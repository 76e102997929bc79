"""When, how soon after others and for how long an attempt may run: its options, read once as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from meshq.errors import ConfigError
from meshq.tasks.options import MAX_TAGS, MAX_TYPES, PRIORITIES, parse_rate

if TYPE_CHECKING:
    from meshq.core.rates import Bucket

DEFAULT_PRIORITY = 5
_FAR_S = 1e9
"""Longer than any node runs; larger durations count as this."""
_ACT_HERE = frozenset(
    {"countdown", "expires", "key", "once", "priority", "rate_limit", "soft_time_limit", "time_limit"}
)
_FOR_THE_WORKER = {
    "chunk",
    "ignore_result",
    "max_retries",
    "retry_for",
    "retry_backoff",
    "retry_jitter",
    "retries",
}
_KNOWN = _ACT_HERE | _FOR_THE_WORKER | {"deaths", "tags"}
_PLAIN = frozenset({int, float, bool, type(None)})
_LONGEST_TEXT = 64
"""Characters of a rate. The threat: a peer that sends a megabyte of options, which no budget counts, with a call.
"""
_LONGEST_NAME = 250
"""Characters of a tag, or of the name of an exception's type, for the same reason."""
_LISTS = {"retry_for": MAX_TYPES, "tags": MAX_TAGS}
"""The options that are lists of names, with how many these may be."""


class Terms:
    """What one call's options ask of the node; None stands for what they do not say.

    Owners check what they send; what is none of the values allowed is taken as not said. ``rate`` is in runs a
    second, and 0 lifts the function's limit for this call. The time limits are in seconds, ``inf`` lifts them.
    """

    __slots__ = (
        "bucket", "countdown_s", "expires_at", "expires_s", "hard_limit", "is_keyed", "number", "once",
        "overtaken", "priority", "rate", "soft_limit", "start_at",
    )  # fmt: skip

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.countdown_s = _seconds(options.get("countdown"))
        self.expires_s = _seconds(options.get("expires"))
        self.priority = _priority(options.get("priority"))
        self.rate = _rate(options["rate_limit"]) if "rate_limit" in options else None
        self.soft_limit = _limit(options, "soft_time_limit")
        self.hard_limit = _limit(options, "time_limit")
        self.once = options.get("once") is True
        """Whether it must never run a second time, even where nothing has come of the first."""
        self.is_keyed = options.get("key") is True
        """Whether its id stands for a key: a value that the id has had is its own, whoever has asked for it."""
        self.start_at = -inf
        self.expires_at = inf
        self.bucket: Bucket | None = None
        """The rate limit that it is queued or parked under, or was started under."""
        self.number = 0
        """Its place in the order of those that came under a rate limit; 0 while it has none."""
        self.overtaken = False
        """Whether it was queued once and had to step back, for a client that could make use of the token."""

    @property
    def goes_alone(self) -> bool:
        """Whether it is to start as soon as it is given to a worker, and nothing is to go ahead behind it."""
        return self.bucket is not None and self.bucket.goes_alone

    def begin(self, now: float) -> None:
        """Count the durations from now on."""
        if self.countdown_s:
            self.start_at = now + self.countdown_s
        if self.expires_s is not None:
            self.expires_at = now + self.expires_s

    def alarm_at(self, now: float) -> float:
        """Return when the time of an attempt that waits has come, or is over; ``inf`` for never."""
        return min(self.start_at, self.expires_at) if self.start_at > now else self.expires_at

    def options_left(self, options: dict[str, Any], now: float) -> dict[str, Any]:
        """Return the options for whoever takes the attempt over now, with what is left of the durations."""
        left = dict(options)
        if "countdown" in left:
            left["countdown"] = max(0.0, self.start_at - now)
        if "expires" in left:
            left["expires"] = max(0.0, self.expires_at - now)
        return left


def known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of a call's options that mean something here; whatever else a peer sends is not kept."""
    if _KNOWN.issuperset(options) and all(map(_is_small, options, options.values())):
        return options
    return {key: value for key, value in options.items() if key in _KNOWN and _is_small(key, value)}


def _is_small(key: str, value: Any) -> bool:
    if key in _LISTS:
        is_short = type(value) is list and len(value) <= _LISTS[key]
        return is_short and all(type(name) is str and len(name) <= _LONGEST_NAME for name in value)
    return type(value) in _PLAIN or (type(value) is str and len(value) <= _LONGEST_TEXT)


def read_terms(options: Mapping[str, Any]) -> Terms | None:
    """Return what the options ask of the node, or None where that is nothing."""
    return None if _ACT_HERE.isdisjoint(options) else Terms(options)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any) -> float | None:
    return float(min(value, _FAR_S)) if _is_number(value) and value >= 0 else None


def _limit(options: Mapping[str, Any], key: str) -> float | None:
    return inf if key in options and options[key] is None else _seconds(options.get(key)) or None


def _priority(value: Any) -> int | None:
    return int(value) if _is_number(value) and value in PRIORITIES else None


def _rate(value: Any) -> float | None:
    if value is None:
        return 0.0
    try:
        return parse_rate(value) if _is_number(value) or isinstance(value, str) else None
    except ConfigError:
        return None
