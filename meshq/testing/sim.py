"""Run many seeds: ``python -m meshq.testing.sim --seeds 1000 --start 0``. Exits with 1 where one fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from meshq.testing.chaos import run_seed
from meshq.testing.ledger import SimFailure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds, tell of each that fails, and sum up."""
    parser = argparse.ArgumentParser(prog="python -m meshq.testing.sim", description="Run seeds of the simulator.")
    parser.add_argument("--seeds", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--start", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--stop-at", type=int, default=5, help="give up after so many failures (default 5)")
    options = parser.parse_args(arguments)
    failed: list[int] = []
    tasks = starts = events = 0
    seconds = 0.0
    for seed in range(options.start, options.start + options.seeds):
        try:
            summary = run_seed(seed)
        except SimFailure as failure:
            print(f"{failure}\n", flush=True)
            failed.append(seed)
            if len(failed) >= options.stop_at:
                break
        else:
            tasks, starts, events = tasks + summary.tasks, starts + summary.starts, events + summary.events
            seconds += summary.seconds
    rate = f"{options.seeds / seconds:.1f} seeds/s, {events / seconds:,.0f} events/s" if seconds else "none ran"
    print(f"{options.seeds} seeds, {tasks} tasks, {starts} runs, {events} events: {rate}")
    print(f"failed: {failed}" if failed else "all is well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
