"""How long the state machines of hypothesis are run: shortly and always alike, or as long as one likes."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_STEPS = 50


def machine_settings(examples: int) -> settings:
    """Return settings for so many examples, the same each time; MESHQ_EXAMPLES asks for as many others."""
    asked = int(os.environ.get("MESHQ_EXAMPLES", "0"))
    return settings(
        max_examples=asked or examples,
        stateful_step_count=_STEPS,
        derandomize=not asked,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
