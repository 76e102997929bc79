"""Control commands of a user's own."""

from __future__ import annotations

import os
import time
from typing import Any

from meshq import control_command, task


@control_command
def tell(**given: Any) -> dict[str, Any]:
    """Tell in which process this runs, and with what."""
    return {"pid": os.getpid(), **given}


@control_command(name="fails")
def fail() -> None:
    """Raise an error."""
    raise LookupError("nothing there")


@control_command
def hang() -> None:
    """Take for ever."""
    time.sleep(600)


@control_command
def strange() -> Any:
    """Return what is not plain data."""
    return {1, 2}


@task
def pid() -> int:
    """Tell which process this is."""
    return os.getpid()
