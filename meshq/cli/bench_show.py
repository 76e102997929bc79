"""How the figures of ``meshq bench`` are shown: a table for people, a dict for JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from meshq.cli.bench_rounds import Findings, Line
from meshq.cli.output import print_table
from meshq.config.settings import cpu_count


def machine() -> dict[str, Any]:
    """Return what there is to know of this machine."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": cpu_count(),
    }


def parts_json(found: Mapping[str, Findings]) -> dict[str, Any]:
    """Return each part's ``figures``, by their key, with the ``unit``, the median and the rounds of each side."""
    return {
        name: {"figures": {line.figure.key: _line_json(line) for line in findings.lines}, **findings.more}
        for name, findings in found.items()
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "unit": line.figure.unit,
        "less_is_better": line.figure.less_is_better,
        "medians": line.medians,
        "ratios": line.ratios,
        "rounds": line.rounds,
    }


def print_figures(found: Mapping[str, Findings], names: Sequence[str]) -> None:
    """Print the table of all parts; ``names`` are those of the sides, the first of which is compared."""
    first, *others = names
    columns = ["FIGURE", "UNIT", first, *[column for name in others for column in (name, "RATIO")]]
    print_table(columns, [_row(line, first, others) for findings in found.values() for line in findings.lines])


def _row(line: Line, first: str, others: Sequence[str]) -> list[str]:
    figure = line.figure
    row = [figure.label, figure.unit + (", less is better" if figure.less_is_better else "")]
    row.append(_number(line.medians.get(first)))
    for name in others:
        ratio = line.ratios.get(name)
        row += [
            _number(line.medians.get(name)),
            "-" if ratio is None else f"{ratio:.2{'f' if ratio >= 0.1 else 'g'}}",
        ]
    return row


def _number(value: float | None) -> str:
    """Return a number with three digits that count, or "-" for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
