"""The task of this example: it takes its time."""

import time

from meshq import SoftTimeLimitExceeded, task


@task
def bake(what: str, seconds: float) -> str:
    """Bake something for so long. When the time is up it is taken out early."""
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return f"{what}, underdone"
    return what
