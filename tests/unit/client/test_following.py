"""One task of another process: what is made of the nodes' answers, round by round."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.client.asking import Report
from meshq.client.following import (
    DOUBT_S,
    FIRST_PAUSE_S,
    OWNED_DOUBT_S,
    SILENT_DOUBT_S,
    Followed,
    error_of_try,
)
from meshq.errors import MeshqError, ResultGone, TaskLost, WorkerLost
from meshq.ids import format_id, new_task_id
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Status
from meshq.protocol.retries import RetryAsked, dump_retry

TASK = new_task_id()
OWNER = b"8 bytes!"
UNKNOWN = Report()
QUEUED, STARTED = Report("QUEUED", -1, owner=OWNER), Report("STARTED", -1, owner=OWNER)
DONE = Report("DONE", Status.OK, "msgpack", b"\x2a")
FAILED = Report("FAILURE", Status.FAILURE, "msgpack", b"")
DIED = Report("LOST", Status.WORKER_LOST, "", b"exit code 3", owner=OWNER)
ASKS = Report("RETRY", Status.RETRY, "msgpack", dump_retry(RetryAsked(dump_failure(KeyError("k")))), owner=OWNER)
SILENT = {"far@h": "no reply in time"}


class Life:
    """A task that is followed, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.followed = Followed(TASK, self.now)

    def ask(self, *reports: Report, missing: dict[str, str] | None = None, present: tuple[bytes, ...] = ()) -> Any:
        """Have the nodes n0, n1… answer so; return what is made of it."""
        self.followed.begin()
        for number, report in enumerate(reports):
            self.followed.take(f"n{number}@h", report)
        return self.followed.conclude(missing or {}, present, self.now)

    def lasts(self, *reports: Report, **more: Any) -> tuple[float, Any]:
        """Ask twice a second until there is an end; return after how many seconds that is, and the end."""
        began_at = self.now
        while (end := self.ask(*reports, **more)) is None:
            self.now += 0.5
            assert self.now < began_at + 2 * OWNED_DOUBT_S
        return self.now - began_at, end


@pytest.fixture
def life() -> Life:
    """Return one that has just begun."""
    return Life()


def test_the_value_is_the_end(life: Life) -> None:
    """Whichever node has it, and whatever others say; no other answer would change it."""
    life.followed.begin()
    assert not life.followed.take("n0@h", FAILED)
    assert life.followed.take("n1@h", DONE)
    assert not life.followed.take("n2@h", UNKNOWN)
    assert life.followed.conclude(SILENT, (), life.now) == DONE


@pytest.mark.parametrize("other", [UNKNOWN, QUEUED, STARTED, DIED, ASKS])
def test_a_failure_is_the_end(life: Life, other: Report) -> None:
    """Known when all have answered."""
    assert life.ask(other, FAILED) == FAILED
    assert life.ask(FAILED, other) == FAILED


@pytest.mark.parametrize("last", [DIED, ASKS, UNKNOWN])
def test_what_another_node_has_of_it_counts_more(life: Life, last: Report) -> None:
    """Than that a worker died, that a try failed, or that nothing is known."""
    for _ in range(20):
        life.now += 1.0
        assert life.ask(last, QUEUED, last) is None
    assert str(life.followed.state) == "QUEUED"
    assert life.ask(STARTED, last) is None
    assert str(life.followed.state) == "STARTED"


def test_what_no_node_knows_is_given_up(life: Life) -> None:
    """After a second and a half, naming who was asked; later where one is silent, who is named too."""
    seconds, end = life.lasts(UNKNOWN, UNKNOWN)
    assert seconds == DOUBT_S
    assert isinstance(end, ResultGone)
    assert format_id(TASK) in str(end)
    assert str(end).endswith("Asked: n0@h, n1@h")
    life = Life()
    seconds, end = life.lasts(UNKNOWN, missing=SILENT)
    assert seconds == SILENT_DOUBT_S
    assert str(end).endswith("Asked: n0@h. Not asked: far@h (no reply in time)")


def test_a_moment_without_trace_is_no_harm(life: Life) -> None:
    """As on the way from one node to another."""
    for _ in range(5):
        assert life.ask(UNKNOWN) is None
        life.now += DOUBT_S - 0.1
        assert life.ask(UNKNOWN) is None
        assert life.ask(QUEUED) is None


def test_nothing_is_concluded_where_nobody_answers(life: Life) -> None:
    """It is another matter how long that may last."""
    for _ in range(100):
        life.now += 1.0
        assert life.ask(missing=SILENT) is None
    assert life.followed.heard_at == 100.0
    life.ask(UNKNOWN)
    assert life.followed.heard_at == life.now


def test_what_was_known_and_is_not_is_lost(life: Life) -> None:
    """It may have run."""
    assert life.ask(STARTED) is None
    seconds, end = life.lasts(UNKNOWN)
    assert (seconds, type(end)) == (DOUBT_S, TaskLost)
    assert end.maybe_executed
    assert "none knows it any more" in str(end)


def test_a_worker_that_died_is_the_end_where_nobody_tries_again(life: Life) -> None:
    """Until then the state is RETRY."""
    assert life.ask(DIED) is None
    assert str(life.followed.state) == "RETRY"
    seconds, end = life.lasts(DIED, UNKNOWN)
    assert (seconds, type(end)) == (DOUBT_S, WorkerLost)
    assert "(exit code 3), and nobody tries it again" in str(end)


@pytest.mark.parametrize("last", [DIED, ASKS, UNKNOWN])
def test_while_its_owner_is_there_much_is_waited_for(life: Life, last: Report) -> None:
    """It may have to wait for its next try; but not for ever."""
    assert life.ask(STARTED) is None
    seconds, _ = life.lasts(last, present=(OWNER,))
    assert seconds == OWNED_DOUBT_S


def test_what_the_owner_has_taken_note_of_may_be_its_last_word(life: Life) -> None:
    """That of a task which has killed three workers looks as that of one which has killed the first."""
    assert life.ask(STARTED) is None
    seconds, end = life.lasts(DIED._replace(owner=b""), present=(OWNER,))
    assert (seconds, type(end)) == (SILENT_DOUBT_S, WorkerLost)


def test_a_try_that_failed_is_the_end_where_nobody_tries_again(life: Life) -> None:
    """The error is what the task has raised, with a note."""
    seconds, end = life.lasts(ASKS)
    assert (seconds, end) == (DOUBT_S, ASKS)
    error = error_of_try(end, TASK)
    assert type(error) is KeyError
    assert format_id(TASK) in error.__notes__[0]
    assert isinstance(error_of_try(end._replace(payload=b"junk"), TASK), MeshqError)


@pytest.mark.parametrize("report", [DONE, FAILED, ASKS])
def test_what_had_no_room_in_the_answer_is_asked_for_at_once(life: Life, report: Report) -> None:
    """It is no end before it is there."""
    left_out = report._replace(payload=b"", left_out=True)
    for _ in range(5):
        life.now += 1.0
        assert life.ask(left_out) is None
    life.followed.wait(life.now, 1.0)
    assert life.followed.is_due(life.now)


def test_a_value_that_is_kept_goes_before_one_that_is_gone(life: Life) -> None:
    """Whichever node answers first; where none has it, it is gone."""
    gone = DONE._replace(gone=True, payload=b"")
    assert life.ask(gone, DONE, gone) == DONE
    assert life.ask(gone, gone) == gone
    assert life.followed.holder == "n0@h"


def test_it_is_asked_for_ever_more_seldom(life: Life) -> None:
    """The pauses double up to the longest; what is almost due goes along with others."""
    pauses = []
    for _ in range(6):
        life.followed.wait(life.now, 0.25)
        pauses.append(life.followed.ask_at - life.now)
    assert pauses == pytest.approx([FIRST_PAUSE_S, 0.04, 0.08, 0.16, 0.25, 0.25])
    assert not life.followed.is_due(life.now)
    assert life.followed.is_due(life.now + 0.2)
    life.followed.begin()
    assert not life.followed.is_due(life.now + 1.0)
