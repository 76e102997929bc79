"""Runs seeds; of one that fails it finds a shorter course that fails in the same way, and tells its story."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Collection, Sequence
from time import process_time

from meshq.testing.chaos import Chaos, Summary
from meshq.testing.ledger import SimFailure

SHRINK_S = 20.0
"""Seconds of processor time that a failing seed is shrunk for, at most."""
_NUMBERS = re.compile(r"\b[0-9a-f]{8}\b|\d+(\.\d+)?(e-?\d+)?")
_LAST_LINES = 8
_SHOWN = 40


def run_seed(seed: int, keep: Collection[str] | None = None) -> Summary:
    """Run a seed, or what is kept of its course, of which nothing more is left out then.

    Raises SimFailure with the story of the shortest course that fails in the same way, and how to see it again.
    """
    chaos = Chaos(seed, keep=keep)
    try:
        return chaos.run()
    except Exception as error:
        raise SimFailure(_tell(chaos, error, SHRINK_S if keep is None else 0.0)) from error


def _tell(chaos: Chaos, error: Exception, shrink_s: float) -> str:
    seed, all_items = chaos.seed, chaos.deeds.items
    items = shrink(chaos, error, shrink_s) if shrink_s else all_items
    last = Chaos(seed, trace=True, keep=items)
    story = _fate(last) or error
    actions = {str(step.number): step.action for step in last.steps}
    shown = [f"{item} {actions[item.partition('.')[0]]}" for item in items[:_SHOWN]]
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return (
        f"seed {seed}: {_words(story)}\n"
        f"{len(items)} events of {len(all_items)} make it fail: {', '.join(shown)}{more}\n"
        f"replay: {replay_command(seed, items)}"
    )


def _fate(chaos: Chaos) -> Exception | None:
    """Return what goes wrong."""
    try:
        chaos.run()
    except Exception as error:
        return error
    return None


def _words(error: Exception) -> str:
    if isinstance(error, SimFailure):
        return str(error)
    return "".join(traceback.format_exception(error)[-_LAST_LINES:]).rstrip()


def way_of(error: Exception) -> str:
    """Return how a course fails, without what differs from one to the other: numbers, ids and names."""
    if isinstance(error, SimFailure):
        return _NUMBERS.sub("#", str(error).partition("\n")[0])
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name} of {frames[-1].filename}"


def replay_command(seed: int, items: Sequence[str]) -> str:
    """Return the command that runs what is left of a seed again."""
    return f"python -m meshq.testing.sim --start {seed} --seeds 1 --keep {','.join(items)}"


# ---------------------------------------------------------------------- shrinking


def shrink(chaos: Chaos, error: Exception, within_s: float) -> list[str]:
    """Return as few items of a failed course as were found, within some seconds, to fail in the same way."""
    seed, way = chaos.seed, way_of(error)
    until = process_time() + within_s

    def fails(items: Collection[str]) -> bool:
        fate = None if process_time() > until else _fate(Chaos(seed, keep=items))
        return fate is not None and way_of(fate) == way

    items = chaos.deeds.items
    task = chaos.deeds.items_of.get(getattr(error, "task", None) or b"")
    alone = [item for item in items if item == task or "." not in item]
    if task is not None and fails(alone):
        items = alone
    return minimal(items, fails)


def minimal(items: Sequence[str], fails: Callable[[Collection[str]], bool]) -> list[str]:
    """Return items that still fail, and no longer do without any one of them (Zeller's delta debugging)."""
    left, size = list(items), max(1, len(items) // 2)
    while True:
        before = len(left)
        for start in range((len(left) - 1) // size * size, -1, -size):  # the last first: it has done its part
            fewer = left[:start] + left[start + size :]
            if fewer != left and fails(fewer):
                left = fewer
        if size == 1 and len(left) == before:
            return left
        size = max(1, min(size // 2, len(left) // 2))
