"""Values as they are typed at a shell: JSON where they parse, else a string."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from meshq.errors import ConfigError


def value_of(text: str) -> Any:
    """Return ``text`` as JSON where it parses, else as it is. NaN and Infinity are no JSON, and stay text."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def text_of(value: Any) -> str:
    """Return a task's result as it is printed: a string as it is, anything else as Python shows it."""
    return value if isinstance(value, str) else repr(value)


def object_of(flag: str, text: str | None) -> dict[str, Any]:
    """Return the JSON object that was given to ``flag``, {} for none. Raises ``ConfigError``."""
    try:
        value = {} if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{flag} must be a JSON object: {error} (got {text!r})") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{flag} must be a JSON object, such as '{{\"size\": 64}}' (got {text!r})")
    return value


def named_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return what ``K=V`` pairs say. Raises ``ConfigError``."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"an argument of a control command is written K=V (got {pair!r})")
        values[name] = value_of(text)
    return values


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
