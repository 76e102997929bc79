"""The options of a call as a node reads them."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from meshq.core.terms import Terms, known_options, read_terms


def test_options_that_ask_nothing_of_the_node_have_no_terms() -> None:
    """So that their attempts are as quick as plain ones."""
    assert read_terms({}) is None
    assert read_terms({"chunk": True, "ignore_result": True}) is None
    assert read_terms({"chunk": True, "priority": 7}) is not None


def test_what_means_nothing_here_is_not_kept() -> None:
    """No budget counts options: a peer that sends a megabyte of them with each call must not fill the node."""
    good = {
        "chunk": True, "countdown": 3, "expires": 0.5, "rate_limit": "30/m", "time_limit": None,
        "retry_for": ["builtins.OSError"], "max_retries": 3, "tags": ["gpu"],
    }  # fmt: skip
    assert known_options(good) is good
    assert (
        known_options({**good, "junk": b"x" * 700_000, "priority": ["x"] * 9, "ignore_result": "x" * 65}) == good
    )


@pytest.mark.parametrize("key", ["retry_for", "tags"])
@pytest.mark.parametrize("names", [["a"] * 17, ["a" * 251], [1], "a", 3, None])
def test_lists_are_of_a_few_names(key: str, names: Any) -> None:
    """Types to retry for, and tags; what is something else is not kept."""
    assert known_options({key: names}) == {}


def test_what_is_said_and_what_is_not() -> None:
    """None stands for what the call leaves to the function, or to the node."""
    said = Terms(
        {
            "countdown": 3, "expires": 4.5, "priority": 9, "rate_limit": "30/m", "soft_time_limit": 2,
            "time_limit": 2.5,
        }
    )  # fmt: skip
    assert (said.countdown_s, said.expires_s, said.priority, said.rate) == (3.0, 4.5, 9, 0.5)
    assert (said.soft_limit, said.hard_limit) == (2.0, 2.5)
    unsaid = Terms({})
    assert (unsaid.countdown_s, unsaid.expires_s, unsaid.priority, unsaid.rate) == (None, None, None, None)
    assert (unsaid.soft_limit, unsaid.hard_limit, unsaid.goes_alone) == (None, None, False)


def test_a_call_may_lift_the_limits_of_its_function() -> None:
    """None as a value is not the same as no word of it."""
    lifted = Terms({"rate_limit": None, "soft_time_limit": None, "time_limit": None})
    assert (lifted.rate, lifted.soft_limit, lifted.hard_limit) == (0.0, inf, inf)
    assert Terms({"rate_limit": 0}).rate == 0.0


@pytest.mark.parametrize("value", ["x", True, nan, -1, -0.5, [], {}, None, b"1"])
def test_what_is_no_option_is_not_said(value: Any) -> None:
    """A peer may send anything; owners check what their users write."""
    terms = Terms({"countdown": value, "expires": value, "priority": value, "soft_time_limit": value or 0})
    assert (terms.countdown_s, terms.expires_s, terms.priority, terms.soft_limit) == (None, None, None, None)
    assert not Terms({"rate_limit": value}).rate


@pytest.mark.parametrize("value", [inf, 1e300, 2**63])
def test_durations_beyond_reason_are_long(value: float) -> None:
    """Sums with them stay numbers that a clock can be compared with."""
    assert Terms({"countdown": value}).countdown_s == 1e9


def test_priorities_are_whole_numbers_from_0_to_9() -> None:
    """Others count as none."""
    assert [Terms({"priority": value}).priority for value in (0, 9, 10, 5.5, -1)] == [0, 9, None, None, None]


def test_durations_count_from_the_arrival() -> None:
    """What has no countdown may start at once, and what has no expiry never expires."""
    terms = Terms({"countdown": 3.0, "expires": 5.0})
    terms.begin(100.0)
    assert (terms.start_at, terms.expires_at) == (103.0, 105.0)
    assert (terms.alarm_at(100.0), terms.alarm_at(103.0)) == (103.0, 105.0)
    plain = Terms({"countdown": 0.0})
    plain.begin(100.0)
    assert (plain.start_at, plain.expires_at, plain.alarm_at(100.0)) == (-inf, inf, inf)


def test_what_expires_before_its_time_comes() -> None:
    """There is no use in waiting for its time."""
    terms = Terms({"countdown": 5.0, "expires": 3.0})
    terms.begin(100.0)
    assert terms.alarm_at(100.0) == 103.0


def test_what_is_left_for_the_next_holder() -> None:
    """Durations go on counting; the other options are passed on as they are."""
    options = {"countdown": 3.0, "expires": 5.0, "priority": 7}
    terms = Terms(options)
    terms.begin(100.0)
    assert terms.options_left(options, 101.0) == {"countdown": 2.0, "expires": 4.0, "priority": 7}
    assert terms.options_left(options, 200.0) == {"countdown": 0.0, "expires": 0.0, "priority": 7}
    assert terms.options_left({"priority": 7}, 200.0) == {"priority": 7}
    assert options["countdown"] == 3.0
