"""Whether this process was forked since: cheaper to ask for each task than the system's process id."""

from __future__ import annotations

import os


class Forks:
    """Counts the forks between this program's start and this process."""

    count = 0


def _forked() -> None:
    Forks.count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
