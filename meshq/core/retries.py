"""Tasks that have failed and asked for another try: they wait here, at their owner, and may go to any node then.

A retry is not a death: the two are counted apart. Each pause is twice the one before, and cut short at random, so
that what failed together does not come back together; a task may ask for a pause of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from meshq.core.accounts import NodeAccount
from meshq.core.candidates import Rng
from meshq.core.losses import last_word
from meshq.core.owned import Ending, Outcome, OwnedTask, TaskState
from meshq.core.owning import OwnerEffect, RetryPlanned
from meshq.core.routing import Router
from meshq.core.timers import Timers
from meshq.protocol.failures import FAILURE_SERIALIZER
from meshq.protocol.payload import Payload
from meshq.protocol.retries import RetryAsked, load_retry

MAX_PAUSE_S = 600.0
"""What pauses double up to."""
LEAST_SHARE = 0.5
"""Of a pause, what a jitter leaves of it at least."""
_DOUBLINGS = 64


class Retries:
    """The tasks of one owner that wait for their next try. Without ``rng`` no pause is shortened."""

    def __init__(
        self,
        tasks: Mapping[bytes, OwnedTask],
        router: Router,
        settle: Callable[[OwnedTask, Outcome], None],
        effects: list[OwnerEffect],
        rng: Rng | None,
    ) -> None:
        self._tasks = tasks
        self._router = router
        self._settle = settle
        self._effects = effects
        self._rng = rng
        self.timers: Timers[bytes] = Timers()
        """When tasks go out again."""

    def on_result(self, task: OwnedTask, node: NodeAccount, payload: Payload, now: float) -> None:
        """Take a task back whose attempt has asked for another; it ends where it has had all that it may."""
        asked = load_retry(payload)
        if task.retries >= asked.most:
            self._settle(task, Outcome(Ending.FAILURE, FAILURE_SERIALIZER, asked.failure))
            return
        pause_s = self._pause(asked, task.retries)
        task.retries += 1
        outcome = last_word(task, now)
        if outcome is not None:
            self._settle(task, outcome)
            return
        node.let_go(task)
        task.state = TaskState.RETRY
        self.timers.set(task.id, now + pause_s)
        self._effects.append(RetryPlanned(task.id, pause_s))

    def tick(self, now: float) -> None:
        """Let the tasks go out again whose pause is over."""
        for task_id in self.timers.pop_due(now):
            task = self._tasks[task_id]
            task.since = now  # or it might be given up at once, for nodes that were not there while it paused
            self._router.wait(task, now)

    def _pause(self, asked: RetryAsked, retries: int) -> float:
        if asked.delay is not None:
            return asked.delay
        pause_s = min(asked.backoff * 2.0 ** min(retries, _DOUBLINGS), MAX_PAUSE_S)
        if asked.jitter and self._rng is not None:
            pause_s *= self._rng.uniform(LEAST_SHARE, 1.0)
        return pause_s
