"""The course of a scenario as a list of steps, each with chance of its own, so that any can be left out."""

from __future__ import annotations

from collections.abc import Collection
from random import Random
from typing import NamedTuple


class Step(NamedTuple):
    """One thing that is done, after ``wait_s`` virtual seconds."""

    number: int
    wait_s: float
    action: str


class Keep:
    """Which steps of a course are taken, and which tasks of those that submit some. None keeps all.

    An item is the number of a step, ``"7"``, or one of its tasks, ``"7.12"``.
    """

    def __init__(self, items: Collection[str] | None = None) -> None:
        self._items = None if items is None else frozenset(items)
        self._steps = frozenset(item.partition(".")[0] for item in items or ())

    def has(self, step: Step) -> bool:
        """Whether the step is taken, maybe with a part of its tasks only."""
        return self._items is None or str(step.number) in self._steps

    def has_task(self, step: Step, number: int) -> bool:
        """Whether the step submits this task of its."""
        if self._items is None:
            return True
        return f"{step.number}.{number}" in self._items or str(step.number) in self._items


def read_items(text: str) -> list[str]:
    """Return the items of ``3,7.0,7.12``. Raises ValueError where there are none, or others than such."""
    items = [item.strip() for item in text.split(",")]
    for item in items:
        index, dot, number = item.partition(".")
        if not index.isdecimal() or (dot and not number.isdecimal()):
            raise ValueError(f"{item!r} is no step like 7, and no task of a step like 7.12")
    return items


def plan(rng: Random, weights: dict[str, float], seconds: float) -> list[Step]:
    """Draw a course: nodes and clients at once, then one thing after the other for so many virtual seconds."""
    actions = ["join"] * rng.randint(1, 4) + ["arrive"] * rng.randint(1, 3)
    steps = [Step(number, 0.0, action) for number, action in enumerate(actions)]
    names, odds = list(weights), list(weights.values())
    while seconds > 0.0:
        wait_s = rng.expovariate(1.5)
        seconds -= wait_s
        steps.append(Step(len(steps), wait_s, rng.choices(names, odds)[0]))
    return steps
