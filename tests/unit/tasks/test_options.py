"""The options of tasks: checked where they are written."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import msgpack
import pytest

from meshq.errors import ConfigError
from meshq.tasks import TaskOptions, parse_rate, task


def options(**changes: Any) -> TaskOptions:
    """Return checked options."""
    return TaskOptions().changed(changes)


def test_good_options_are_kept() -> None:
    """Values are brought to one form, and None means the default."""
    one = uuid.uuid4()
    made = options(
        soft_time_limit=1, time_limit=1, rate_limit="100/m", max_retries=3, retry_for=OSError, priority=9,
        expires=3, countdown=2.5, tags={"b", "a"}, delivery="at-most-once", ignore_result=True,
        serializer="json", task_id=one.hex,
    )  # fmt: skip
    assert (made.soft_time_limit, made.time_limit, made.rate_limit) == (1.0, 1.0, "100/m")
    assert (made.retry_for, made.tags, made.task_id) == ((OSError,), ("a", "b"), str(one))
    assert made.changed({"priority": None, "tags": None}) == made._replace(priority=None, tags=())


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "two words"},
        {"bind": 1},
        {"soft_time_limit": 0},
        {"time_limit": -1},
        {"time_limit": "3"},
        {"time_limit": float("inf")},
        {"time_limit": True},
        {"rate_limit": "5/x"},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"retry_for": "OSError"},
        {"retry_for": [KeyboardInterrupt]},
        {"retry_for": [OSError] * 17},
        {"retry_backoff": -1},
        {"retry_jitter": 1},
        {"idempotency_key": ""},
        {"idempotency_key": b"k"},
        {"idempotency_key": "\ud800"},
        {"tags": {"\ud800"}},
        {"idempotency_key": "k" * 1001},
        {"priority": 10},
        {"priority": -1},
        {"priority": True},
        {"expires": -1},
        {"countdown": "soon"},
        {"tags": "gpu"},
        {"tags": [1]},
        {"tags": [""]},
        {"tags": [str(number) for number in range(17)]},
        {"delivery": "exactly-once"},
        {"ignore_result": "no"},
        {"serializer": "a b"},
        {"task_id": "xyz"},
    ],
    ids=str,
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    """The error names the option and the value."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"^task option {name}.*"):
        options(**wrong)


@pytest.mark.parametrize("name", ["soft_time_limit", "time_limit", "expires", "countdown", "rate_limit"])
def test_a_whole_number_can_be_too_large(name: str) -> None:
    """One that no float can hold is as wrong as infinity."""
    with pytest.raises(ConfigError, match=f"^task option {name}"):
        options(**{name: 10**400})


def test_limits_must_fit_each_other() -> None:
    """A soft limit above the hard one would never act, however the two came together."""
    with pytest.raises(ConfigError, match=r"soft_time_limit \(5 s\) must not be above time_limit \(3 s\)"):
        options(time_limit=3, soft_time_limit=5)
    with pytest.raises(ConfigError, match="must not be above"):
        options(soft_time_limit=5).changed({"time_limit": 3})


def test_a_task_must_not_expire_before_it_may_start() -> None:
    """Such a task would never run, however the two came together."""
    with pytest.raises(ConfigError, match=r"expires \(3 s\) must be above countdown \(5 s\): the task would"):
        options(expires=3).changed({"countdown": 5})
    with pytest.raises(ConfigError, match=r"expires \(5 s\) must be above countdown"):
        options(countdown=5, expires=5)
    assert options(countdown=0, expires=0).expires == 0.0
    assert options(countdown=5, expires=5.1).expires == 5.1


def test_a_rate_becomes_what_can_travel() -> None:
    """Whatever kind of number it was given as."""
    assert type(options(rate_limit=Decimal("2.5")).rate_limit) is float
    assert [options(rate_limit=rate).rate_limit for rate in (3, 0.5, "5/m")] == [3, 0.5, "5/m"]


def test_unknown_options_are_refused() -> None:
    """A misspelt option is an error that lists the options."""
    with pytest.raises(ConfigError, match="no task option 'timelimit'; the options are name, bind,"):
        options(timelimit=3)
    with pytest.raises(ConfigError, match="no task option 'overrides'"):
        options(overrides=("time_limit",))


@pytest.mark.parametrize("wrong", [{"task_id": uuid.uuid4()}, {"countdown": 3}])
def test_what_fits_one_call_is_not_for_the_decorator(wrong: dict[str, Any]) -> None:
    """A task id for all calls of a function makes no sense."""
    with pytest.raises(ConfigError, match=r"is for one call: give it with \.options"):
        task(**wrong)


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [(0, 0), (2, 2), (0.5, 0.5), ("3", 3), ("3/s", 3), ("30/m", 0.5), ("36 / h", 0.01), ("0/m", 0), (1e-5, 1e-5)],
)
def test_rates(rate: object, per_second: float) -> None:
    """A rate is tasks a second, or text with a unit; 0 lifts the limit."""
    assert parse_rate(rate) == pytest.approx(per_second)


@pytest.mark.parametrize("wrong", ["", "fast", "5/x", "5/", "/s", "-1/s", -1, "nan", "inf", True, None, [1]])
def test_wrong_rates(wrong: object) -> None:
    """What is no rate is answered with the forms that are."""
    with pytest.raises(ConfigError, match="is not a rate: give N, 'N/s', 'N/m' or 'N/h'"):
        parse_rate(wrong)


def test_only_what_differs_goes_to_the_wire() -> None:
    """A node gets plain values, and nothing for what is at its default or its own affair."""
    assert TaskOptions().to_wire() == {}
    wire = options(name="a.b", task_id=uuid.uuid4(), tags={"gpu"}, retry_for=(OSError,), priority=0).to_wire()
    assert wire == {"tags": ["gpu"], "retry_for": ["builtins.OSError"], "priority": 0}
    assert msgpack.unpackb(msgpack.packb(wire)) == wire
