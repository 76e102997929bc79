"""Tasks for pictures. One of them needs what only some nodes have."""

import os

from meshq import task


@task(tags={"gpu"})
def draw(scene: str) -> tuple[str, int]:
    """Draw a scene: only on nodes that were started with ``--tag gpu``."""
    return f"a drawing of {scene}", os.getppid()


@task
def preview(scene: str) -> tuple[str, int]:
    """Sketch a scene: on any node that offers this module."""
    return f"a sketch of {scene}", os.getppid()  # a worker's parent process is its node
