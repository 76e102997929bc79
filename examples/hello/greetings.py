"""A module of task functions. ``meshq node greetings`` offers them to the mesh."""

import os
import platform

from meshq import task


@task
def hello(name: str) -> str:
    """Greet somebody, and say where this ran."""
    print(f"greeting {name}")  # appears in the node's log, with the id of the task
    return f"Hello, {name}! (from {platform.node()}, process {os.getpid()})"
