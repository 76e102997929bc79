"""The figures of the scorecard: what was measured, and what it should have been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One line of the table; ``row`` is that of the scorecard which docs/guarantees.md shows."""

    row: str
    what: str
    value: str
    goal: str
    missed: bool


_all: list[Figure] = []


class Figures:
    """The figures of one test."""

    def __init__(self) -> None:
        self._own: list[Figure] = []

    def tell(self, row: str, what: str, value: float, unit: str = "") -> None:
        """Note a figure that has no goal."""
        self._note(Figure(row, what, _text(value, unit), "", False))

    def exactly(self, row: str, what: str, value: float, goal: float, unit: str = "") -> None:
        """Note a figure that must be this."""
        self._note(Figure(row, what, _text(value, unit), _text(goal, unit), value != goal))

    def at_most(self, row: str, what: str, value: float, goal: float, unit: str = "") -> None:
        """Note a figure that must not be higher."""
        self._note(Figure(row, what, _text(value, unit), f"≤ {_text(goal, unit)}", not value <= goal))

    def at_least(self, row: str, what: str, value: float, goal: float, unit: str = "") -> None:
        """Note a figure that must not be lower."""
        self._note(Figure(row, what, _text(value, unit), f"≥ {_text(goal, unit)}", not value >= goal))

    def check(self) -> None:
        """Fail if a goal was missed."""
        missed = [line(figure) for figure in self._own if figure.missed]
        assert not missed, "\n" + "\n".join(missed)

    def _note(self, figure: Figure) -> None:
        self._own.append(figure)
        _all.append(figure)
        print(line(figure), flush=True)


def line(figure: Figure) -> str:
    """Return a figure as a line of the table."""
    verdict = "MISSED" if figure.missed else ("ok" if figure.goal else "")
    return f"{figure.row:>5}  {figure.what:<62} {figure.value:>12}  {figure.goal:>12}  {verdict}".rstrip()


def table() -> list[str]:
    """Return the lines of all figures of this run, by row."""
    return [
        line(figure) for figure in sorted(_all, key=lambda figure: [int(n) for n in figure.row.split("-")[:1]])
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share (0 to 1) of the values do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def _text(value: float, unit: str) -> str:
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{number} {unit}".rstrip()
