"""What a task knows of itself, in a real worker."""

from __future__ import annotations

import pytest
from workers_harness import Node, outcome

from meshq import current_task
from meshq.ids import format_id
from meshq.tasks import running


@pytest.mark.parametrize("threaded", [False, True])
def test_a_task_knows_itself(node: Node, threaded: bool) -> None:
    """Its id, name, attempt, node, and how long it may still run; its threads know it too."""
    first = node.make("who", threaded)
    second = node.make("who", threaded)._replace(attempt=7, options={"retries": 2, "time_limit": None})
    node.run([first, second])
    node.until(lambda: second.run in node.dones())
    name = "worker_tasks.who"
    assert outcome(node.dones()[first.run]) == [format_id(first.task), name, 1, 0, "", True]
    assert outcome(node.dones()[second.run]) == [format_id(second.task), name, 7, 2, "", False]


def test_a_chunk_s_items_know_their_task(node: Node) -> None:
    """They are one task."""
    chunk = node.make("who", [False, True])._replace(options={"chunk": True})
    node.run([chunk])
    node.until(lambda: chunk.run in node.dones())
    assert [value[0] for value in outcome(node.dones()[chunk.run])[0]] == [format_id(chunk.task)] * 2


def test_there_is_none_outside_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a client, in a worker between two tasks, and where a control command runs."""
    assert current_task() is None
    monkeypatch.setattr(running, "node", "node@h")
    assert current_task() is None
    monkeypatch.setattr(running, "node", None)
    monkeypatch.setattr(running, "row", [1, b"t" * 16, 1, "f", "msgpack", b"", None])
    assert current_task() is None


def test_what_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the prompt, and where it is past its limit."""
    monkeypatch.setattr(running, "node", "node@h")
    monkeypatch.setattr(running, "row", [1, b"t" * 16, 3, "m.f", "msgpack", b"", {"time_limit": 0.5}])
    me = current_task()
    assert me is not None
    assert me.remaining == 0.0
    assert repr(me) == f"<CurrentTask m.f {format_id(b't' * 16)}, attempt 3>"
