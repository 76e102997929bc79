"""From a call to the task that its owner keeps: what of its options travels."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from client_harness import Handler

from meshq.client.calls import make_future
from meshq.core.owned import OwnedTask
from meshq.errors import EncodingError
from meshq.ids import keyed_task_id
from meshq.tasks import TaskOptions, task
from meshq.tasks.options import PLAIN


@task(name="tests.limited", rate_limit="5/s", time_limit=60, expires=30, priority=3, tags={"gpu"})
def limited() -> None:
    """Do nothing, under limits."""


def call(options: TaskOptions, **words: Any) -> OwnedTask:
    """Return the task of a call without arguments."""
    return make_future(Handler(), "tests.f", (), {}, options, **words)


def test_a_plain_call_has_no_options() -> None:
    """Neither on the wire nor for its owner."""
    made = call(PLAIN)
    assert (made.options, made.tags, made.serializer, made.detached) == (None, frozenset(), "msgpack", False)
    assert call(PLAIN, chunked=True, detached=True).options == {"chunk": True}


def test_what_a_function_declares_is_known_to_nodes() -> None:
    """Only what its owner needs, too, goes with each call."""
    made = call(limited.settings)
    assert (made.options, made.tags) == ({"expires": 30.0, "priority": 3}, {"gpu"})


def test_what_a_call_has_otherwise_is_sent() -> None:
    """Also None, which lifts a limit, and what is given as it was declared, as it counts more than a command."""
    changed = limited.options(
        rate_limit=2, time_limit=None, soft_time_limit=4, ignore_result=True, expires=0, priority=9, countdown=0
    )
    assert call(changed.settings).options == {
        "rate_limit": 2, "time_limit": None, "soft_time_limit": 4.0, "ignore_result": True,
        "expires": 0.0, "priority": 9,
    }  # fmt: skip
    same = limited.options(rate_limit="5/s", countdown=1.5)
    assert call(same.settings).options == {"rate_limit": "5/s", "expires": 30.0, "priority": 3, "countdown": 1.5}
    assert call(same.settings, chunked=True).options == {
        "chunk": True, "rate_limit": "5/s", "expires": 30.0, "priority": 3, "countdown": 1.5,
    }  # fmt: skip


def test_options_that_are_no_nodes_business() -> None:
    """An id, tags and a serializer make a task, and are not sent as options."""
    one = uuid.uuid4()
    made = call(TaskOptions().changed({"task_id": one, "tags": {"a"}, "serializer": "json"}))
    assert (made.id, made.tags, made.serializer, made.options) == (one.bytes, {"a"}, "json", None)


def test_the_tags_of_a_detached_task_go_with_it() -> None:
    """The node that accepts it may send it on to another one that has them."""
    made = call(TaskOptions().changed({"tags": {"b", "a"}}), detached=True)
    assert (made.tags, made.options) == ({"a", "b"}, {"tags": ["a", "b"]})
    assert call(limited.settings, detached=True).options == {"expires": 30.0, "priority": 3, "tags": ["gpu"]}


def test_at_most_once_is_told_to_the_node_and_kept_by_the_owner() -> None:
    """Whether the function declares it or the call does; the other way of delivery is nothing to tell."""
    assert call(TaskOptions().changed({"delivery": "at-most-once"})).options == {"once": True}
    assert call(TaskOptions().changed({"delivery": "at-least-once"})).options is None


def test_arguments_that_cannot_travel_are_refused() -> None:
    """Here, not at the node."""
    with pytest.raises(EncodingError):
        make_future(Handler(), "tests.f", (object(),), {}, PLAIN)


class Broken(Exception):
    """An error of a test."""


def test_retries_are_sent_where_the_call_has_them_otherwise() -> None:
    """Nodes know what the function declares; types travel by name."""

    @task(name="tests.flaky", max_retries=5, retry_for=OSError, retry_backoff=0.5)
    def flaky() -> None: ...

    assert call(flaky.settings).options is None
    assert call(flaky.options(max_retries=2, retry_jitter=False).settings).options == {
        "max_retries": 2, "retry_jitter": False,
    }  # fmt: skip
    own = f"{Broken.__module__}.Broken"
    assert call(flaky.options(retry_for=[Broken, OSError]).settings).options == {
        "retry_for": [own, "builtins.OSError"],
    }  # fmt: skip
    assert call(flaky.options(retry_for=(), max_retries=None).settings).options == {
        "retry_for": [], "max_retries": None,
    }  # fmt: skip


def test_the_key_of_a_call_makes_its_id() -> None:
    """The same in each process, and another for another function."""
    options = TaskOptions().changed({"idempotency_key": "invoice 7"})
    made = call(options)
    assert (made.id, made.options) == (keyed_task_id("tests.f", "invoice 7"), {"key": True})
    assert made.id.hex() == "aaeb1e7f88cdd3770b8dc3ea372c6622"
    assert make_future(Handler(), "tests.g", (), {}, options).id != made.id


@task(name="tests.careful", delivery="at-most-once")
def careful() -> None:
    """Do nothing, once."""


def test_a_delivery_that_is_given_for_the_call_is_told() -> None:
    """As it counts more than what the function declares, here or, unknown to us, at its node."""
    assert call(careful.settings).options == {"once": True}
    assert call(careful.options(delivery="at-least-once").settings).options == {"once": False}
    assert call(limited.options(delivery="at-most-once", expires=0).settings).options is not None
    plain = limited.options(delivery="at-least-once", expires=None, priority=None)
    assert call(plain.settings).options == {"once": False}
    assert call(plain.options(priority=2).settings).options == {"once": False, "priority": 2}
