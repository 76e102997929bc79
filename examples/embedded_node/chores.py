"""The tasks of this example. The program does not import them to offer them: its workers do."""

import os

from meshq import task


@task
def wash(plate: int) -> tuple[int, int]:
    """Wash a plate; return it, and the process that washed it."""
    return plate, os.getpid()
