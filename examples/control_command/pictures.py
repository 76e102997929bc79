"""A task that keeps what it has made on the node's disk, and a control command that looks after that."""

import os
import tempfile
from pathlib import Path

from meshq import control_command, task

CACHE = Path(tempfile.gettempdir()) / f"pictures-of-{os.getuid()}"


@task
def develop(number: int) -> str:
    """Make a picture, unless it is there already; return its file's name."""
    CACHE.mkdir(exist_ok=True)
    file = CACHE / f"{number}.txt"
    if not file.exists():
        file.write_text(f"picture {number}\n")
    return file.name


@control_command
def cache(clear: bool = False) -> dict[str, int]:
    """Count the pictures on this host, and how many bytes they take; with ``clear`` remove them."""
    files = list(CACHE.glob("*.txt"))
    found = {"pictures": len(files), "bytes": sum(file.stat().st_size for file in files)}
    if clear:
        for file in files:
            file.unlink()
        CACHE.rmdir()
    return found
