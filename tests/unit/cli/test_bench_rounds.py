"""How rounds of ``meshq bench`` become figures, and what an ideal schedule is; nothing is timed here."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.cli.bench_measures import Scale, ideal_makespan, naps, percentile
from meshq.cli.bench_parts import PARTS, Figure, Part
from meshq.cli.bench_rounds import run_part
from meshq.cli.bench_show import parts_json, print_figures
from meshq.cli.bench_sides import Side

FIGURE = Figure("speed", "how fast", "m/s")


def make_side(name: str) -> Side:
    """Return a side that does nothing."""
    return Side(name, 1, lambda function: function, lambda *_: None, lambda _: None, lambda *_: [])


def make_part(told: dict[str, list[Any]], *, compared: bool = True, once: bool = False) -> tuple[Part, list[str]]:
    """Return a part that finds these values, by side, round after round; and the order in which it is asked."""
    order: list[str] = []

    def measure(side: Side, scale: Scale, number: int) -> dict[str, Any]:
        order.append(side.name)
        return {"speed": told[side.name][number], "number": number}

    return Part(measure, lambda scale: (FIGURE,), compared, once), order


def test_sides_take_turns_and_pairs_are_compared() -> None:
    """Each round measures all sides, every other one in reverse; a ratio is the median of those of the rounds."""
    part, order = make_part({"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 40.0]})
    findings = run_part(part, [make_side("a"), make_side("b")], Scale(rounds=3))
    assert order == ["a", "b", "b", "a", "a", "b"]
    (line,) = findings.lines
    assert line.medians == {"a": 20.0, "b": 10.0}
    assert line.ratios == {"b": 2.0}
    assert line.rounds == {"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 40.0]}
    assert findings.more == {"number": 2}


def test_what_only_a_mesh_can_do_is_not_asked_of_others() -> None:
    """A part that is not compared is measured on the first side alone, and once if one round is enough."""
    part, order = make_part({"a": [1.0]}, compared=False, once=True)
    findings = run_part(part, [make_side("a"), make_side("b")], Scale(rounds=3))
    assert order == ["a"]
    assert findings.lines[0].ratios == {}


def test_what_could_not_be_measured_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that a side has not is None in JSON, and a dash in the table."""
    part, _ = make_part({"a": [12.5], "b": [None]})
    findings = {"part": run_part(part, [make_side("a"), make_side("b")], Scale(rounds=1))}
    figures = parts_json(findings)["part"]["figures"]
    assert figures["speed"]["medians"] == {"a": 12.5, "b": None}
    assert figures["speed"]["ratios"] == {"b": None}
    print_figures(findings, ["a", "b"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["how", "fast", "m/s", "12.5", "-", "-"]


def test_each_figure_has_one_place() -> None:
    """No two figures of a part share a key, at whatever scale."""
    for part in PARTS.values():
        keys = [figure.key for figure in part.figures(Scale())]
        assert len(set(keys)) == len(keys)


def test_an_ideal_schedule() -> None:
    """Each run begins, in order, at whichever worker is free first."""
    assert ideal_makespan([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert ideal_makespan([1.0, 1.0, 5.0], 2) == 6.0
    assert ideal_makespan([1.0, 2.0], 1) == 3.0


def test_sleeps_are_the_same_each_time() -> None:
    """The same seed gives the same sleeps, another one others, with about the mean that was asked for."""
    assert naps(200, 0.01, 1) == naps(200, 0.01, 1) != naps(200, 0.01, 2)
    assert 0.007 < sum(naps(200, 0.01, 1)) / 200 < 0.013


def test_percentiles() -> None:
    """The percentile is one of the values, the largest at most."""
    assert percentile(list(range(200)), 99) == 198
    assert percentile([1.0], 99) == 1.0
