"""What each part of a task's way costs, beside another version or an earlier run.

``python tests/bench/parts.py`` prints microseconds a task. ``--base DIR`` runs another checkout in turn with this
one, so that whatever the machine does meanwhile it does to both, and prints ratios: above 1 this one is slower.
``--save FILE`` and ``--against FILE`` compare with an earlier run, whose machine may have been busier.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]

Round = dict[str, Any]
"""Part → its microseconds a task, or the text that says why there are none."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if a part is slower than ``--fail-above`` allows."""
    asked = _parser().parse_args(args)
    checkouts = [ROOT, asked.base.resolve()] if asked.base else [ROOT]
    rounds: list[list[Round]] = []
    for number in range(asked.rounds):
        order = range(len(checkouts)) if number % 2 == 0 else reversed(range(len(checkouts)))
        found = {index: _run(checkouts[index], asked.only) for index in order}
        rounds.append([found[index] for index in range(len(checkouts))])
    medians = {name: _median([each[0].get(name) for each in rounds]) for name in rounds[0][0]}
    if asked.save:
        asked.save.write_text(json.dumps(medians, indent=2) + "\n", encoding="utf-8")
    if asked.base:
        base = {name: _median([each[1].get(name) for each in rounds]) for name in medians}
        ratios = {name: _median([_ratio(each[0], each[1], name) for each in rounds]) for name in medians}
    else:
        base = json.loads(asked.against.read_text(encoding="utf-8")) if asked.against else {}
        ratios = {name: _ratio(medians, base, name) for name in medians}
    _show(medians, base, ratios, rounds)
    slower = [name for name, ratio in ratios.items() if ratio is not None and ratio > asked.fail_above]
    if slower:
        print(f"slower than {asked.fail_above:g} times the base: {', '.join(slower)}", file=sys.stderr)
    return 1 if slower else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="DIR", help="another checkout, to be run in turn")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the medians here")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with what --save has written")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="a part; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="medians of so many [default: 5]")
    parser.add_argument(
        "--fail-above", type=float, default=float("inf"), metavar="RATIO", help="exit with 1 if a part is slower"
    )
    return parser


def _run(checkout: Path, only: Sequence[str]) -> Round:
    """Time the parts of one checkout, in a fresh process there, as its workers look for modules where they are."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MESHQ_")}
    done = subprocess.run(
        [sys.executable, str(HERE.parent / "timed_parts.py"), *only],
        cwd=checkout, env={**env, "PYTHONPATH": str(checkout)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: Round = json.loads(done.stdout)
    return found


def _median(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float)]
    return statistics.median(numbers) if numbers else None


def _ratio(these: Round, those: Round, name: str) -> float | None:
    ours, theirs = these.get(name), those.get(name)
    return ours / theirs if isinstance(ours, int | float) and isinstance(theirs, int | float) and theirs else None


def _show(
    medians: dict[str, float | None], base: Round, ratios: dict[str, float | None], rounds: list[list[Round]]
) -> None:
    width = max(map(len, medians))
    print(f"{'µs a task':<{width}}  {'here':>8}  {'base':>8}  {'ratio':>6}")
    for name, ours in medians.items():
        theirs, ratio = base.get(name), ratios[name]
        cells = [f"{_number(ours, 2):>8}", f"{_number(theirs, 2):>8}", f"{_number(ratio, 3):>6}"]
        print("  ".join([f"{name:<{width}}", *cells]).rstrip())
    for index, which in enumerate(("here", "base")):
        for name, found in rounds[0][index].items() if index < len(rounds[0]) else ():
            if isinstance(found, str):
                print(f"{which}: {name}: {found}", file=sys.stderr)


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


if __name__ == "__main__":
    sys.exit(main())
