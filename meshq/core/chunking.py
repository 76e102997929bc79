"""How many calls of a cheap function go into one task, by the time that they have taken so far.

A chunk is to keep a worker busy for some milliseconds: then what a task costs besides its run no longer counts,
and the work is still spread evenly over workers of different speed, to the end.
"""

from __future__ import annotations

CHUNK_S = 0.005
"""How long a chunk is to take: fifty times what a task costs, and too short to be waited for."""
MOST_CALLS = 16_384
"""Calls of some 100 ns, as ``x + 1`` takes, gain nothing from larger chunks."""
MOST_BYTES = 256 * 1024
"""What the arguments of a chunk, or its results, may take up, as far as that is known before."""
GROWTH = 8
"""How much larger than one that is known a chunk may be: the next calls may be others."""


class Chunking:
    """The size of the next chunk. ``size`` is 1 until something is known, and where calls are not cheap."""

    def __init__(self) -> None:
        self.size = 1
        self.is_known = False
        """Whether a chunk has come back."""

    @property
    def is_cheap(self) -> bool:
        """Whether calls are known to be worth putting together."""
        return self.size > 1

    def observe(self, calls: int, seconds: float, size_bytes: int) -> None:
        """Take note of a chunk: how long its calls took, and what its arguments and results took up."""
        self.is_known = True
        if not calls:
            return
        by_time = CHUNK_S * calls / max(seconds, 1e-9)
        by_bytes = MOST_BYTES * calls / max(size_bytes, 1)
        grown = max(self.size, GROWTH * calls)
        self.size = max(1, int(min(by_time, by_bytes, grown, MOST_CALLS)))
