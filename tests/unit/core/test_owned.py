"""A task as its owner keeps it."""

from __future__ import annotations

from meshq.core.owned import STATE_OF_ENDING, Ending, OwnedTask, TaskState


def test_a_new_task_is_pending_and_nowhere() -> None:
    """A task begins unsent, uncharged and wanted."""
    task = OwnedTask(b"i" * 16, "f", "json", b"args", detached=True, options={"n": 1}, tags=frozenset({"gpu"}))
    given = (task.id, task.function, task.serializer, task.payload, task.detached, task.options, task.tags)
    assert given == (b"i" * 16, "f", "json", b"args", True, {"n": 1}, {"gpu"})
    assert (task.state, task.attempt, task.node, task.accepted, task.deaths) == (
        TaskState.PENDING, 0, None, False, None,
    )  # fmt: skip
    assert (task.priority, task.due_at, task.expires_at, task.parked) == (5, None, None, False)
    assert not task.withdrawing
    assert not task.revoked


def test_each_ending_has_a_final_state() -> None:
    """However a task ends, it is in a state in which nothing more happens to it."""
    final = {TaskState.DONE, TaskState.FAILURE, TaskState.REVOKED, TaskState.EXPIRED, TaskState.LOST}
    assert set(STATE_OF_ENDING) == set(Ending)
    assert set(STATE_OF_ENDING.values()) == final


def test_states_are_their_names() -> None:
    """Users compare states with plain text."""
    assert all(state == state.name for state in TaskState)


def test_the_story_of_a_task() -> None:
    """What its attempts came to: deaths, each with its words, and failures that were tried again."""
    task = OwnedTask(b"i" * 16, "f", "json", b"args")
    assert task.story() == ""
    task.retries = 1
    assert task.story() == "1 try that failed"
    task.deaths, task.retries = ["killed by signal 9", "killed by signal 11"], 2
    assert task.story() == "killed by signal 9; killed by signal 11; 2 tries that failed"


def test_tasks_of_a_kind() -> None:
    """What decides which nodes can run a task."""
    tagged = OwnedTask(b"i" * 16, "f", "json", b"args", tags=frozenset({"gpu"}))
    assert tagged.kind == ("f", "json", frozenset({"gpu"}))
    assert OwnedTask(b"j" * 16, "f", "json", b"other", detached=True).kind == ("f", "json", frozenset())
