"""One task of another process, as it is followed by its id: what nodes say of it, and what is made of that.

Its owner may be gone, or live elsewhere. A result stands when a node has it. That the worker died, that the task
asked for another try, that no node knows it, is the end only where nobody tries it again: so each of these must
hold for a while, which is longer where a node is silent, and much longer where the owner is seen to be there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from meshq.client.asking import UNKNOWN, Report
from meshq.client.outcomes import error_of
from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.errors import ResultGone, TaskLost, WorkerLost
from meshq.ids import format_id
from meshq.protocol.failures import FAILURE_SERIALIZER
from meshq.protocol.messages import Status
from meshq.protocol.retries import load_retry

DOUBT_S = 1.5
"""For how long nobody may know a task: it may be on its way from one node to another."""
SILENT_DOUBT_S = 5.0
"""The same where a node does not answer: by then its owner has given it up, and has sent its tasks elsewhere."""
OWNED_DOUBT_S = 900.0
"""The same while its owner is there: it may pause for up to 10 minutes between two tries."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.25
"""Between two askings. The longest grows with the number of tasks; see ``attaching``."""

_RANKS = {UNKNOWN: 0, "PENDING": 3, "RETRY": 3, "QUEUED": 4, "STARTED": 5, "DONE": 7}
_END = 6
_NOT_FOR_GOOD: dict[int, int] = {Status.RETRY: 1, Status.WORKER_LOST: 2}
"""What ends a try, and the task only if nobody makes another; each with its rank."""


class Followed:
    """A task, and what is known of it. Times are instants of the monotonic clock."""

    __slots__ = (
        "answered",
        "ask_at",
        "asked",
        "doubted_at",
        "found",
        "heard_at",
        "holder",
        "id",
        "known",
        "owner",
        "pause_s",
        "state",
    )  # fmt: skip

    def __init__(self, task_id: bytes, now: float) -> None:
        self.id = task_id
        self.ask_at = self.heard_at = now
        self.pause_s = FIRST_PAUSE_S
        self.asked = False
        """Whether an asking is under way."""
        self.known = False
        """Whether a node has had it, at any time."""
        self.owner = b""
        """What stands for its owner, once a node has said so."""
        self.doubted_at: float | None = None
        """Since when it looks as if nothing more were to come."""
        self.state = TaskState.PENDING
        """Where it is, as far as nodes know."""
        self.forget()

    # ------------------------------------------------------------------ when it is asked for

    def is_due(self, now: float) -> bool:
        """Whether it is to be asked for now, or soon enough to go along with others that are."""
        return not self.asked and self.ask_at <= now + self.pause_s / 2

    def wait(self, now: float, longest_s: float) -> None:
        """Have it asked for again after a pause; at once where its value only had no room in the answer."""
        self.ask_at = now if self.found.left_out else now + self.pause_s
        self.pause_s = min(2 * self.pause_s, longest_s)

    # ------------------------------------------------------------------ one asking

    def begin(self) -> None:
        """Begin an asking."""
        self.asked = True
        self.forget()

    def forget(self) -> None:
        """Know nothing, as where there was no node to ask: what was found before may be there no more."""
        self.found = Report()
        self.holder = ""
        """Who has said what is found."""
        self.answered: list[str] = []

    def take(self, name: str, report: Report) -> bool:
        """Take a node's answer; tell whether it is the value itself, which no other answer would change."""
        self.answered.append(name)
        self.owner = report.owner or self.owner
        if (_rank(report), not report.gone) > (_rank(self.found), not self.found.gone) or not self.holder:
            self.found, self.holder = report, name
        return report.state == "DONE" and not (report.gone or report.left_out)

    def conclude(
        self, missing: Mapping[str, str], present: Collection[bytes], now: float
    ) -> Report | BaseException | None:
        """Return the end of the task, now that all have answered but the ``missing``; None: ask again later.

        ``present`` stands for the owners that nodes have within reach. The end is a report, or an error.
        """
        self.asked = False
        if self.answered:
            self.heard_at = now
        rank = _rank(self.found)
        if rank >= _END:
            return None if self.found.left_out else self.found
        self.known |= rank > 0
        if rank > max(_NOT_FOR_GOOD.values()):
            self.state = TaskState(self.found.state)
        elif rank > 0:
            self.state = TaskState.RETRY
        if rank > max(_NOT_FOR_GOOD.values()) or not self.answered or self.found.left_out:
            self.doubted_at = None
            return None
        if self.doubted_at is None:
            self.doubted_at = now
        if now - self.doubted_at < self._doubt_s(bool(missing), self.owner in present):
            return None
        return self._give_up(", ".join(f"{name} ({why})" for name, why in missing.items()))

    def _doubt_s(self, is_any_silent: bool, is_owned: bool) -> float:
        """Return for how long what is found now must hold to be the end."""
        if not is_owned:
            return SILENT_DOUBT_S if is_any_silent else DOUBT_S
        # What its owner has acknowledged may well be the last word: that the worker died for the third time.
        is_acknowledged = self.found.status == Status.WORKER_LOST and not self.found.owner
        return SILENT_DOUBT_S if is_acknowledged else OWNED_DOUBT_S

    def _give_up(self, silent: str) -> Report | BaseException:
        """Return why nothing more is to come."""
        if self.found.status == Status.RETRY:
            return self.found
        name = f"task {format_id(self.id)}"
        asked = f"Asked: {', '.join(self.answered)}" + (f". Not asked: {silent}" if silent else "")
        if self.found.status == Status.WORKER_LOST:
            story = self.found.payload.decode("utf-8", "replace")
            return WorkerLost(
                f"{name} is lost: the worker died under it ({story}), and nobody tries it again. {asked}"
            )
        if self.known:
            text = "may have run: a node had it, none knows it any more, and nobody is seen to try it again"
            return TaskLost(f"{name} {text}. {asked}", maybe_executed=True)
        return ResultGone(
            f"no node knows {name}: it never reached one, or still waits in the process that has submitted it, or "
            f"ended more than an hour ago, or was forgotten. {asked}"
        )


def _rank(report: Report) -> int:
    return _NOT_FOR_GOOD.get(report.status) or _RANKS.get(report.state, _END)


def error_of_try(report: Report, task_id: bytes) -> BaseException:
    """Return what a task has raised that asked for another try, and that nobody tries again."""
    outcome = Outcome(Ending.FAILURE, FAILURE_SERIALIZER, load_retry(report.payload).failure)
    error = error_of(OwnedTask(task_id, "", "", b""), outcome)
    error.add_note(f"task {format_id(task_id)} asked for another try, and its owner is not there to make it")
    return error
