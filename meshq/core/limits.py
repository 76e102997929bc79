"""How long runs may take: past the soft limit a run is told so, past the hard one its worker is killed.

Rules. What a call brings counts more than what a command has set, and that more than what the function declares.
The clock starts when the run comes to the head of its slot, and the limits in force at that moment are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

from meshq.core.dispatch import Dispatch
from meshq.core.held import Held, Intent
from meshq.core.holding import HolderEffect, KillWorker, SoftLimit, TimeLimitSet
from meshq.core.slots import Slot
from meshq.core.terms import Terms
from meshq.core.timers import Timers

_Pair = tuple[float | None, float | None]
"""The soft and the hard limit in seconds."""


class _Clock(NamedTuple):
    """The deadlines of the run at the head of a slot."""

    run: int
    soft_at: float
    hard_at: float
    hard_s: float


class Limits:
    """The time limits of functions and of runs; ``effects`` is where the holder gathers what it asks for."""

    def __init__(self, dispatch: Dispatch, effects: list[HolderEffect]) -> None:
        self._dispatch = dispatch
        self._effects = effects
        self._declared: dict[str, _Pair] = {}
        self._set: dict[str, _Pair] = {}
        """Set by command; the shell lets only functions through that the node offers."""
        self._has_calls = False
        """Whether a call has ever brought limits of its own."""
        self.is_in_use = False
        """Whether there is anything to watch for."""
        self._heads: dict[int, int] = {}
        """Slot → the run at its head, when that was last looked at."""
        self._clocks: dict[int, _Clock] = {}
        self.timers: Timers[int] = Timers()

    # ------------------------------------------------------------------ which limits there are

    def declare(self, options: Mapping[str, dict[str, Any]]) -> None:
        """Learn what functions declare of themselves; limits set by command stay."""
        pairs = {name: (of.get("soft_time_limit"), of.get("time_limit")) for name, of in options.items()}
        self._declared = {name: pair for name, pair in pairs.items() if pair != (None, None)}
        self._use()

    def on_time_limit_set(self, event: TimeLimitSet, now: float) -> None:
        """Change a function's limits, for all runs that have not started."""
        self._set[event.function] = (event.soft, event.hard)
        if self._set[event.function] == self._declared.get(event.function, (None, None)):
            del self._set[event.function]
        self._use()

    def notice(self, terms: Terms) -> None:
        """Take note of a call that may have limits of its own."""
        if not self._has_calls and (terms.soft_limit is not None or terms.hard_limit is not None):
            self._has_calls = True
            self._use()

    def limits_of(self, function: str) -> tuple[float | None, float | None]:
        """Return a function's soft and hard limit in seconds."""
        return self._set.get(function) or self._declared.get(function, (None, None))

    def _use(self) -> None:
        """Begin to watch, if there is anything to watch for; what runs already has no limit."""
        if not self.is_in_use and self._is_wanted():
            self.is_in_use = True
            self._heads = {slot.number: head.run for slot in self._dispatch.slots if (head := slot.head())}

    def _is_wanted(self) -> bool:
        return bool(self._declared or self._set or self._has_calls or self._clocks)

    # ------------------------------------------------------------------ the clocks

    def watch(self, now: float) -> None:
        """Set the clock for the runs that have come to the head of their slots; forget those that ended."""
        heads = self._heads
        for slot in self._dispatch.slots:
            head = slot.head()
            if heads.get(slot.number, 0) != (0 if head is None else head.run):
                self._follow(slot, head)
        self.is_in_use = self._is_wanted()

    def _follow(self, slot: Slot, head: Held | None) -> None:
        self.forget(slot.number)
        if head is None:
            return
        self._heads[slot.number] = head.run
        soft_s, hard_s = self._limits_for(head)
        first_s = min(soft_s, hard_s)
        if first_s < inf:
            since = slot.head_since
            self._clocks[slot.number] = _Clock(head.run, since + soft_s, since + hard_s, hard_s)
            self.timers.set(slot.number, since + first_s)

    def _limits_for(self, held: Held) -> tuple[float, float]:
        soft, hard = self.limits_of(held.function)
        if held.terms is not None:
            soft = soft if held.terms.soft_limit is None else held.terms.soft_limit
            hard = hard if held.terms.hard_limit is None else held.terms.hard_limit
        return inf if soft is None else soft, inf if hard is None else hard

    def forget(self, slot: int) -> None:
        """Stop the clock of a slot, whose run has ended, or whose worker is gone."""
        self._heads.pop(slot, None)
        if self._clocks.pop(slot, None) is not None:
            self.timers.cancel(slot)

    def story(self, held: Held) -> str:
        """Say what became of a run whose worker was killed for it."""
        seconds = self._clocks[held.slot].hard_s
        return f"{held.function} ran past its time limit of {seconds:g} s, and its worker was killed"

    # ------------------------------------------------------------------ when time is over

    def tick(self, now: float) -> None:
        """End, or warn, the runs whose time is over."""
        for slot in self.timers.pop_due(now):
            clock = self._clocks[slot]
            if clock.hard_at <= now:
                self._kill(self._dispatch.slots.all[slot], clock.run)
                continue
            self._effects.append(SoftLimit(slot, clock.run))
            if clock.hard_at < inf:
                self.timers.set(slot, clock.hard_at)

    def _kill(self, slot: Slot, run: int) -> None:
        slot.runs[run].intent = Intent.TIME_LIMIT
        slot.signalled = run
        self._effects.append(KillWorker(slot.number))
