"""Run many seeds: ``python -m meshq.testing.sim --seeds 1000 --jobs 2``. Exits with 1 where one fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic
from typing import NamedTuple

from meshq.testing.chaos import Summary
from meshq.testing.course import read_items
from meshq.testing.ledger import SimFailure
from meshq.testing.shrink import run_seed

_AT_A_TIME = 10
"""Seeds that one process is given at a time: some half a second of work."""


class _Fate(NamedTuple):
    """What a seed came to; ``story`` where it has failed."""

    seed: int
    summary: Summary
    story: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds, tell of each that fails, and sum up."""
    options = _parser().parse_args(arguments)
    seeds = range(options.start, options.start + options.seeds)
    began = monotonic()
    failed: list[int] = []
    sums = [0, 0, 0]
    ran = 0
    for fate in _fates(seeds, options.keep, options.jobs):
        ran += 1
        if fate.story:
            print(f"{fate.story}\n", flush=True)
            failed.append(fate.seed)
            if len(failed) >= options.stop_at:
                break
        sums = [total + count for total, count in zip(sums, fate.summary[:3], strict=True)]
    seconds = monotonic() - began
    tasks, starts, events = sums
    rate = f"{ran / seconds:.1f} seeds/s, {events / seconds:,.0f} events/s"
    print(f"{ran} seeds, {tasks} tasks, {starts} runs, {events} events in {seconds:.1f} s: {rate}")
    print(f"failed: {failed}" if failed else "all is well")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m meshq.testing.sim", description="Run seeds of the simulator.")
    parser.add_argument("--seeds", type=_positive, default=100, help="how many (default 100)")
    parser.add_argument("--start", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes to share them out to (default 1)")
    parser.add_argument("--keep", type=read_items, help="of each course these steps and tasks only, as 3,7.0,12")
    parser.add_argument("--stop-at", type=_positive, default=5, help="give up after so many failures (default 5)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(f"{number} is not above 0")
    return number


def _fates(seeds: range, keep: list[str] | None, jobs: int) -> Iterator[_Fate]:
    """Yield what becomes of each seed, in their order."""
    if jobs == 1:
        yield from (_run(seed, keep) for seed in seeds)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        chunks = [seeds[first : first + _AT_A_TIME] for first in range(0, len(seeds), _AT_A_TIME)]
        try:
            for fates in pool.map(_run_all, chunks, [keep] * len(chunks)):
                yield from fates
        finally:
            pool.shutdown(cancel_futures=True)


def _run_all(seeds: range, keep: list[str] | None) -> list[_Fate]:
    return [_run(seed, keep) for seed in seeds]


def _run(seed: int, keep: list[str] | None) -> _Fate:
    try:
        return _Fate(seed, run_seed(seed, keep))
    except SimFailure as failure:
        return _Fate(seed, Summary(0, 0, 0, 0.0), str(failure))


if __name__ == "__main__":
    sys.exit(main())
