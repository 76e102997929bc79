"""What control commands take: each value checked in the same words by the caller and by the node.

A check returns the value as it is used from then on, and raises ``ConfigError``, which says what would be right.
"""

from __future__ import annotations

import signal as signals
import uuid
from collections.abc import Iterable
from typing import Any

from meshq.config.settings import MAX_SLOTS
from meshq.core.asked import OWNER_BYTES
from meshq.errors import ConfigError
from meshq.ids import parse_task_id
from meshq.tasks.names import is_name
from meshq.tasks.options import parse_rate

MAX_SECONDS = 86_400.0
"""The longest timeout of a command: a day."""
MAX_IDS = 5_000
"""How many tasks one command may be about: its reply, some 64 bytes for each, has to be sent too.
``Control.revoke`` makes several commands of a longer list."""
MAX_ASKED_IDS = 500
"""How many tasks one ``query_task`` or ``result`` may ask for: it is answered with a row for each, and each is
looked for among all clients."""


def check_signal(name: object) -> str:
    """Return the name of a signal without SIG."""
    text = name.upper().removeprefix("SIG") if isinstance(name, str) else ""
    if f"SIG{text}" not in signals.Signals.__members__:
        raise ConfigError(f"{name!r} is not the name of a signal: give TERM, KILL, INT, USR1, …")
    return text


def check_flag(value: object) -> bool:
    """Return a yes or no."""
    if not isinstance(value, bool):
        raise ConfigError(f"{value!r} is neither true nor false")
    return value


def check_timeout(timeout: object) -> float:
    """Return the seconds that a command may take."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= MAX_SECONDS:
        raise ConfigError(f"timeout must be a number of seconds above 0, at most a day (got {timeout!r})")
    return float(timeout)


def check_limit(limit: object) -> int | None:
    """Return the number of replies that are enough."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit must be a whole number from 1, or None (got {limit!r})")
    return limit


def check_pattern(pattern: object) -> str:
    """Return a glob on NAME@HOST; "" for none."""
    if pattern is not None and not isinstance(pattern, str):
        raise ConfigError(f"pattern must be text, such as 'web*', or None (got {pattern!r})")
    return pattern or ""


def check_task_name(name: object) -> str:
    """Return the name of a task function; MODULE:NAME counts as MODULE.NAME."""
    text = name.replace(":", ".", 1) if isinstance(name, str) else ""
    if not is_name(text):
        raise ConfigError(f"{name!r} is not the name of a task: give one as in photos.thumbnail")
    return text


def check_rate(rate: object) -> float:
    """Return a rate, given as N, "N/s", "N/m" or "N/h", in tasks a second; 0: no limit."""
    return parse_rate(rate)


def check_seconds(seconds: object) -> float | None:
    """Return a time limit in seconds; None for none."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise ConfigError(f"{seconds!r} is not a time limit: give seconds above 0, or None for no limit")
    return float(seconds)


def check_order(soft: float | None, hard: float | None) -> None:
    """Refuse a soft limit that comes after the hard one."""
    if soft is not None and hard is not None and soft > hard:
        raise ConfigError(f"soft ({soft:g} s) must not be above hard ({hard:g} s)")


def check_slots(slots: object) -> int:
    """Return a number of slots."""
    if isinstance(slots, bool) or not isinstance(slots, int) or not 1 <= slots <= MAX_SLOTS:
        raise ConfigError(f"a node has 1 to {MAX_SLOTS} slots (got {slots!r})")
    return slots


def task_ids(value: Any) -> list[bytes]:
    """Return one task id, or several, as their 16 bytes each."""
    if isinstance(value, str | bytes | uuid.UUID):
        return [parse_task_id(value)]
    if not isinstance(value, Iterable):
        raise ConfigError(f"{value!r} is neither a task id nor a list of them")
    return [parse_task_id(item) for item in value]


def check_ids(value: object) -> list[bytes]:
    """Return the task ids of one command."""
    return _at_most(MAX_IDS, task_ids(value))


def check_asked_ids(value: object) -> list[bytes]:
    """Return the task ids that one command asks for."""
    return _at_most(MAX_ASKED_IDS, task_ids(value))


def check_task(value: object) -> bytes:
    """Return the id of one task."""
    return parse_task_id(value)  # type: ignore[arg-type]


def check_offset(value: object) -> int:
    """Return where in a payload to begin, in bytes."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{value!r} is no offset: give a number of bytes, 0 or more")
    return value


def check_owners(value: object) -> list[bytes]:
    """Return what stands for the owners that one command asks for."""
    if not isinstance(value, list) or len(value) > MAX_ASKED_IDS or not all(map(_is_owner, value)):
        raise ConfigError(f"owners are a list of at most {MAX_ASKED_IDS} times {OWNER_BYTES} bytes")
    return value


def _is_owner(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == OWNER_BYTES


def _at_most(limit: int, tasks: list[bytes]) -> list[bytes]:
    if len(tasks) > limit:
        raise ConfigError(f"a command takes at most {limit} ids (got {len(tasks)}): give several commands")
    return tasks
