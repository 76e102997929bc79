"""Garbage collection in the process of a node, which runs no code but ours."""

from __future__ import annotations

import gc

THRESHOLDS = 50_000, 20, 50
"""How many objects more than before start a collection of the youngest, and so on. A node with a full queue holds
some 20,000 that are no garbage, and what it lets go of holds no cycles: with Python's own 700 each of these was
looked at again and again, for a tenth of the node's time."""


def spare_collections() -> None:
    """Look at what start-up has made never again, and at the rest seldom.

    For the whole process: not where a user's code runs too, such as a worker, or a client with a node in a thread.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
