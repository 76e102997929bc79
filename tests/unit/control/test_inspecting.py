"""``Inspect``: what each method asks, and the shape of what it returns."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from control_harness import Port

from meshq.control.control import Control

UID = uuid.UUID(int=7)


def answering(**values: Any) -> Port:
    """Return a mesh of nodes a, b… that answer so; node z is silent."""
    return Port(lambda _: ({f"{name}@h": value for name, value in values.items()}, {"z@h": "unreachable"}))


@pytest.mark.parametrize("method", ["active", "reserved", "scheduled", "registered", "stats", "revoked", "conf"])
def test_values_are_handed_out_by_node(method: str) -> None:
    """Without the wrapping of replies, but for errors; who is silent is in ``missing``."""
    port = answering(a={"ok": [1]}, b={"error": "no"}, c="odd")
    inspected = getattr(Control(port).inspect(), method)()
    assert inspected == {"a@h": [1], "b@h": {"error": "no"}, "c@h": "odd"}
    assert inspected.missing == {"z@h": "unreachable"}
    assert port.given == [(method, {})]


@pytest.mark.parametrize(("method", "value"), [("ping", {"ok": "pong", "slots": 2}), ("report", {"ok": "a text"})])
def test_pings_and_reports_are_handed_out_as_they_are(method: str, value: dict[str, Any]) -> None:
    """As users of Celery know them."""
    assert getattr(Control(answering(a=value)).inspect(), method)() == {"a@h": value}


def test_silence_is_an_empty_dict() -> None:
    """Never None."""
    assert Control(Port()).inspect().active() == {}


def test_tasks_are_asked_for_by_ids_and_lists_of_them() -> None:
    """In whichever form an id is given."""
    port = answering(a={"ok": {}})
    inspect = Control(port).inspect()
    inspect.query_task(str(UID), [UID, UID.bytes])
    inspect.query_task()
    assert port.given == [("query_task", {"ids": [UID.bytes] * 3}), ("query_task", {"ids": []})]


def test_all_methods_ask_whom_inspect_was_given() -> None:
    """``inspect`` takes the same keywords as any command; the callback gets the replies as they came."""
    port, seen = answering(a={"ok": [1]}), []
    inspect = Control(port).inspect(["a"], 2.0, pattern="a*", limit=1, callback=seen.append)
    inspect.active()
    inspect.stats()
    assert [command[4:] for command in port.commands] == [(["a"], "a*", True, 2.0)] * 2
    assert seen == [{"a@h": {"ok": [1]}}] * 2
