"""Which nodes a control command is for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from meshq.errors import ConfigError


def matches(name: str, destination: Collection[str], pattern: str) -> bool:
    """Tell whether a node, by its NAME@HOST, is meant: by NAME, HOST or NAME@HOST, and by the glob."""
    short, _, host = name.partition("@")
    named = not destination or not {short, host, name}.isdisjoint(destination)
    return named and (not pattern or fnmatchcase(name, pattern) or fnmatchcase(short, pattern))


def check_destination(destination: Sequence[str] | None) -> list[str]:
    """Return the destination as a list; ``None`` and an empty one mean all nodes. Raises ``ConfigError``."""
    if destination is None:
        return []
    is_many = isinstance(destination, Iterable) and not isinstance(destination, str | bytes)
    names = list(destination) if is_many else []  # read once: nothing is left in an iterator after that
    if not is_many or not all(isinstance(name, str) for name in names):
        advice = f"; give [{destination!r}]" if isinstance(destination, str) else ""
        raise ConfigError(f"destination must be a list of NAME, HOST or NAME@HOST (got {destination!r}{advice})")
    if "" in names:
        raise ConfigError(f"destination has an empty name: give NAME, HOST or NAME@HOST (got {names!r})")
    return names
