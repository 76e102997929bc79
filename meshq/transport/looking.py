"""Whether a short wait begins with looking again and again or is slept through: what has turned out shorter.

Who sleeps has to be woken, which takes a third of a round trip; who looks needs a core, which the one he waits for
may need too. Which of the two is longer depends on the machine and on what else runs there, so both are tried.
"""

from __future__ import annotations

import random

SPIN_S = 0.001
"""How long a look lasts at most: a round trip takes 0.3 ms, and up to 0.9 where it takes long to be woken."""
_FEWEST, _MOST = 2, 64
"""After so many short waits in a row one that may turn out to be as short is spent looking; after a look in vain
it takes twice as many, up to the most, so that what is lost stays small beside what those waits were for. After
one that has paid it takes half as many: were it one fewer, one in vain of thirty had most waits slept through."""
TRIAL, HOLD = 64, 448
"""So many waits, some of them slept through, show which is shorter; for so many after that it holds."""
_KEPT = 0.875
"""How much of what earlier trials have shown counts beside the next."""
_MARGIN = 1.1
"""One must be so much shorter than the other to take its place: looking takes a core, and figures vary."""
_MOST_S, _LONGEST_S = 0.002, 0.006
"""A wait counts as so much at most, as a few of 4 ms would outweigh all others; one that takes longer not at all:
whoever has the core has given it back by then."""

_random = random.Random()
"""Of its own, as users seed the one of the module."""


class Looking:
    """Decides of each wait whether it is to begin with a look. Pure: it is told how long waits have taken."""

    def __init__(self) -> None:
        self._short = 0
        """How many waits in a row have ended within ``SPIN_S``."""
        self._enough = _FEWEST
        """How many it takes for the next one to be worth a look."""
        self._seconds, self._waits = [0.0, 0.0], [0.0, 0.0]
        """Of the waits of trials, those without a look and those with one."""
        self._pays = True
        self._on_trial, self._left, self._trial = False, HOLD, 0  # the first waits are longer for other reasons

    def wanted(self) -> bool:
        """Whether a wait that begins now is to begin with a look."""
        if self._short < self._enough:
            return False
        return bool(self._trial & 1) if self._on_trial else self._pays

    def waited(self, seconds: float, looked: bool, in_vain: bool) -> None:
        """Take note of a wait that might begin with a look; ``in_vain`` where it did and nothing was found."""
        if self._short >= self._enough:
            self._note(seconds, looked)
        if looked:
            self._enough = min(2 * self._enough, _MOST) if in_vain else max(self._enough // 2, _FEWEST)
        self._short = self._short + 1 if seconds < SPIN_S and not in_vain else 0

    def _note(self, seconds: float, looked: bool) -> None:
        if self._on_trial:
            self._trial >>= 1
            if seconds < _LONGEST_S:
                self._seconds[looked] += min(seconds, _MOST_S)
                self._waits[looked] += 1
        self._left -= 1
        if not self._left:
            self._end_trial() if self._on_trial else self._begin_trial()

    def _begin_trial(self) -> None:
        """Sleep and look in no order, as some waits are longer than others by turns."""
        self._on_trial, self._left, self._trial = True, TRIAL, _random.getrandbits(TRIAL)

    def _end_trial(self) -> None:
        self._on_trial, self._left = False, HOLD
        slept, looked = (
            seconds / max(waits, 1.0) for seconds, waits in zip(self._seconds, self._waits, strict=True)
        )
        self._pays = looked <= _MARGIN * slept if self._pays else _MARGIN * looked <= slept
        self._seconds = [_KEPT * seconds for seconds in self._seconds]
        self._waits = [_KEPT * waits for waits in self._waits]
