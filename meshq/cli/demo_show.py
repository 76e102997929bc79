"""What the demo shows: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_PLAIN_STEPS = 4


class Show:
    """Prints the demo's lines."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)

    def step(self, text: str) -> None:
        """Begin a part."""
        self.console.print(f"\n{text}", style="bold", markup=False)

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line of a part."""
        self.console.print(f"  {text}" if text else "", style=style, markup=False)


class Bars:
    """The progress of a job: one bar for the whole, one for the share of each who takes part."""

    def __init__(self, show: Show, what: str, total: int) -> None:
        self.shares: Counter[str] = Counter()
        self._show = show
        self._total = total
        self._live = show.console.is_terminal
        self._progress = Progress(
            TextColumn("  {task.description:<12}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} files"),
            TimeElapsedColumn(),
            console=show.console,
            disable=not self._live,
        )
        self._whole = self._progress.add_task(what, total=total)
        self._rows: dict[str, TaskID] = {}

    @property
    def done(self) -> int:
        """How much of the job is done."""
        return self.shares.total()

    def add(self, name: str) -> None:
        """Count one file that ``name`` has done."""
        self.shares[name] += 1
        if self._live:
            if name not in self._rows:
                self._rows[name] = self._progress.add_task(name, total=self._total)
            self._progress.advance(self._rows[name])
            self._progress.advance(self._whole)
        elif self.done * _PLAIN_STEPS // self._total > (self.done - 1) * _PLAIN_STEPS // self._total:
            self._show.say(f"{self.done:,} of {self._total:,} files: {self.describe()}")

    def describe(self) -> str:
        """Return the share of each in words."""
        return ", ".join(f"{name} {count:,}" for name, count in sorted(self.shares.items()))

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
