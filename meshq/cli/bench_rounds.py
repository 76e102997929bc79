"""Rounds of ``meshq bench``: the sides in turn, so that a machine that is slow for a while is so for all."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from meshq.cli.bench_measures import Scale
from meshq.cli.bench_parts import Figure, Measured, Part
from meshq.cli.bench_sides import Side


class Line(NamedTuple):
    """One figure of all sides. The median is that of the rounds; a ratio, that of the first side to another, too.

    ``ratios`` are those of each pair in one round: medians of ratios, not ratios of medians.
    """

    figure: Figure
    medians: dict[str, float | None]
    ratios: dict[str, float | None]
    rounds: dict[str, list[float]]


class Findings(NamedTuple):
    """What came of a part: its lines, and what the first side told beside them in the last round."""

    lines: list[Line]
    more: Measured


def run_part(
    part: Part, sides: Sequence[Side], scale: Scale, tell: Callable[[int, int, str], None] = lambda *_: None
) -> Findings:
    """Measure the sides in turn, as often as ``scale`` says; the first one is compared with the others.

    ``tell`` is told the number of the round, how many there are, and the side that is at work.
    """
    taking_part = list(sides) if part.compared else [sides[0]]
    count = 1 if part.once else scale.rounds
    rounds: list[dict[str, Measured]] = []
    for number in range(count):
        measured: dict[str, Measured] = {}
        for side in taking_part if number % 2 == 0 else reversed(taking_part):
            tell(number + 1, count, side.name)
            gc.collect()  # none of them pays for what another has left
            measured[side.name] = part.measure(side, scale, number)
        rounds.append(measured)
    figures, names = part.figures(scale), [side.name for side in taking_part]
    told = rounds[-1][names[0]]
    more = {key: value for key, value in told.items() if key not in {figure.key for figure in figures}}
    return Findings([_line(figure, names, rounds) for figure in figures], more)


def _line(figure: Figure, names: Sequence[str], rounds: Sequence[dict[str, Measured]]) -> Line:
    first, *others = names
    values = {name: _known([each[name][figure.key] for each in rounds]) for name in names}
    pairs = {
        name: [(each[first][figure.key], each[name][figure.key]) for each in rounds]
        for name in others
    }  # fmt: skip
    ratios = {name: _known([ours / theirs for ours, theirs in pairs[name] if ours and theirs]) for name in others}
    return Line(figure, _medians(values), _medians(ratios), values)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _medians(values: dict[str, list[float]]) -> dict[str, float | None]:
    return {name: statistics.median(found) if found else None for name, found in values.items()}
