"""Virtual time: what is to happen, in the order of its time and then of its planning."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from math import inf, nextafter
from typing import Any

Action = Callable[[], None]

# Far more than happens at once in any scenario.
_MAX_AT_ONCE = 200_000


class Agenda:
    """The clock and the event heap of a simulation; ``now`` is in virtual seconds.

    ``origins`` says what a process adds to that, by its name: clocks of different hosts have nothing in common.
    """

    def __init__(self, start: float = 100.1) -> None:
        # Not 0: the sums of a real clock are rounded too, and a machine must not take 0 for "never".
        self.now = start
        self.events = 0
        self.origins: Callable[[str], float] = lambda _: 0.0
        self.on_turn: Callable[[Any], None] | None = None
        """Called with each process that has been at work, if it is set: so that every step is looked at."""
        self._heap: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    def at(self, when: float, action: Action) -> None:
        """Plan an action; one in the past happens next."""
        heapq.heappush(self._heap, (max(when, self.now), next(self._numbers), action))

    def later(self, seconds: float, action: Action) -> None:
        """Plan an action some time from now."""
        self.at(self.now + seconds, action)

    def seen_by(self, name: str) -> Clock:
        """Return the clock of a process."""
        return Clock(self, self.origins(name))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass until the condition holds, looking after each event; return whether it came to hold.

        Without a condition all the time passes. Raises RuntimeError where events go on without time passing.
        """
        end = self.now + seconds
        stuck = 0
        while self._heap and self._heap[0][0] <= end:
            when, _, action = heapq.heappop(self._heap)
            stuck = stuck + 1 if when == self.now else 0
            if stuck > _MAX_AT_ONCE:
                raise RuntimeError(f"{stuck} events at {self.now:.3f}: time stands still")
            self.now = when
            self.events += 1
            action()
            if until is not None and until():
                return True
        self.now = end
        return until is not None and until()


class Clock:
    """The agenda as one process sees it: whose clock began at another moment, and means nothing to others."""

    def __init__(self, agenda: Agenda, origin: float) -> None:
        self._agenda = agenda
        self._origin = origin

    @property
    def now(self) -> float:
        """The time, by this clock."""
        return self._agenda.now + self._origin

    def at(self, when: float, action: Action) -> None:
        """Plan an action, at a time by this clock."""
        at = when - self._origin
        while at + self._origin < when:  # it was rounded down, and this clock would not have come to it yet
            at = nextafter(at, inf)
        self._agenda.at(at, action)

    def later(self, seconds: float, action: Action) -> None:
        """Plan an action some time from now."""
        self._agenda.later(seconds, action)
